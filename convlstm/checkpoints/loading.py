"""Puts the weights and the training state of a checkpoint into models and optimizers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convlstm.backend import files
from convlstm.checkpoints import tensors
from convlstm.checkpoints.build import TRUSTED, build
from convlstm.checkpoints.search import find
from convlstm.checkpoints.verification import (
    CONFIG,
    EMA,
    MODEL,
    OPTIMIZER,
    STATE,
    CheckpointError,
    checksums,
    compare,
    damaged,
    own,
    read_config,
    read_state,
    verify,
)

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_unflatten


def _arrays(path: Path) -> dict[str, mx.array]:
    try:
        return tensors.read(path)
    except (OSError, tensors.TensorFileError) as error:
        raise damaged(path, error) from error


def _fitting(path: Path, tree: Any, owner: str) -> dict[str, mx.array]:
    """The arrays of a file, by name; CheckpointError where they do not fit the tree."""
    arrays = _arrays(path)
    _check_fit(path, arrays, tensors.named(tree), owner)
    return arrays


def _check_fit(path: Path, arrays: dict[str, mx.array], expected: dict[str, mx.array], owner: str) -> None:
    """CheckpointError that lists what does not fit, where names, shapes or types differ."""
    wrong = [f"missing: {name} {_kind(a)}" for name, a in expected.items() if name not in arrays]
    wrong += [f"unexpected: {name} {_kind(a)}" for name, a in arrays.items() if name not in expected]
    wrong += [
        f"{name}: {_kind(a)} in the file, {_kind(expected[name])} in the {owner}"
        for name, a in arrays.items()
        if name in expected and _kind(a) != _kind(expected[name])
    ]
    if wrong:
        more = f"\n  ... and {len(wrong) - 8} more" if len(wrong) > 8 else ""
        raise CheckpointError(
            f"'{path}' belongs to another {'architecture' if owner == 'model' else owner}:\n  "
            + "\n  ".join(wrong[:8])
            + f"{more}\nUse the configuration that it was trained with, or another checkpoint."
        )


def _kind(array: mx.array) -> str:
    return f"{tuple(array.shape)} {str(array.dtype).removeprefix('mlx.core.')}"


def load_weights(folder: Path, model: nn.Module, *, ema: bool = False) -> None:
    """Puts a checkpoint's weights into a model; CheckpointError where they do not fit.

    Args:
        folder: The checkpoint.
        model: What takes them.
        ema: Whether to take the averaged weights, which must be there. Default: False.
    """
    verify(folder)
    weights = _fitting(folder / MODEL, model.parameters(), "model")
    if ema:
        averaged = read_ema(folder, model)
        if averaged is None:
            raise CheckpointError(
                f"'{folder}' has no averaged weights, {EMA}: it was trained without trainer.ema. Use ema=False."
            )
        weights |= averaged
    model.update(tree_unflatten(list(weights.items())))


def read_ema(folder: Path, model: nn.Module) -> dict[str, mx.array] | None:
    """The averaged weights of a checkpoint by name, or None where it has none.

    Raises:
        CheckpointError: They are damaged, or are not the model's trainable weights.
    """
    known = checksums(folder)
    if known is None or EMA not in known:
        return None
    path = own(folder, EMA)
    compare(path, known[EMA], files.record(path))
    return _fitting(path, model.trainable_parameters(), "model")


def restore(folder: Path, model: nn.Module, optimizer: optim.Optimizer) -> dict[str, Any]:
    """Puts a checkpoint's weights and optimizer state into place and returns its training state.

    The learning rate stays the optimizer's own, so that a run can go on with another one. Averaged weights are not
    the model's while it trains: `read_ema` has them.

    Raises:
        CheckpointError: Something is damaged or does not fit; the model and the optimizer are as they were.
    """
    verify(folder)
    state = read_state(folder)
    weights = _fitting(folder / MODEL, model.parameters(), "model")
    slots = _fitting(folder / OPTIMIZER, optimizer.state, "optimizer")
    made = state["step"] - state.get("skipped", 0)
    if "step" in slots and slots["step"].item() != made:
        raise damaged(folder, f"{STATE} is at step {made}, {OPTIMIZER} at step {slots['step'].item()}")
    model.update(tree_unflatten(list(weights.items())))
    # That of a schedule is computed anew with every step that is made; until then it is the last one's.
    constant = {"learning_rate"} & set(optimizer.state) - set(optimizer._schedulers)
    own = {name: optimizer.state[name] for name in constant}
    optimizer.state = tree_unflatten(list((slots | own).items()))
    return state


def load(path: str | Path, *, trusted: Sequence[str] = TRUSTED, ema: bool | None = None) -> nn.Module:
    """The model of a checkpoint, ready to forecast: `load("runs/mine")(inputs, horizon)`.

    Args:
        path: A run's folder (its best checkpoint is taken) or a checkpoint's folder.
        trusted: Packages whose classes the checkpoint's configuration may name. Default: convlstm and mlx.nn.
        ema: Whether to take the averaged weights of a run that has them (`trainer.ema`). Default: None, which takes
            them where there are any.

    Raises:
        CheckpointError: There is no checkpoint, or it is damaged, or its weights do not fit its configuration.
        UntrustedTargetError: Its configuration names something that is not a class of a trusted package.
    """
    folder = find(path)
    verify(folder)
    description = read_config(folder)["model"]
    try:
        model = build(description, trusted, nn.Module)
    except ValueError:
        raise
    except Exception as error:  # of any kind: it is up to what a stranger wrote
        raise CheckpointError(f"'{folder / CONFIG}' describes a model that cannot be built: {error}.") from error
    if not isinstance(model, nn.Module):
        raise CheckpointError(f"'{folder / CONFIG}' does not describe a model but a {type(model).__name__}.")
    known = checksums(folder)
    load_weights(folder, model, ema=(known is not None and EMA in known) if ema is None else ema)
    model.eval()
    return model
