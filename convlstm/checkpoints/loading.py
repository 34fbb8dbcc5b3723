"""Loading of a checkpoint's weights and training state into a model and an optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convlstm.arguments import check_flags
from convlstm.backend import files
from convlstm.backend.blas import warn_if_too_late
from convlstm.checkpoints import tensors
from convlstm.checkpoints.build import TRUSTED, build
from convlstm.checkpoints.frozen import frozen_names, recorded_patterns
from convlstm.checkpoints.own_runs import trusted_packages
from convlstm.checkpoints.replaced import again_if_replaced
from convlstm.checkpoints.search import find, run_of
from convlstm.checkpoints.verification import (
    CONFIG,
    EMA,
    MAPS,
    MODEL,
    OPTIMIZER,
    STATE,
    CheckpointError,
    compare,
    damaged,
    read_checksums,
    read_config,
    read_state,
    regular_file,
    verify,
)

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_unflatten


def _fitting(path: Path, tree: Any, owner: str) -> dict[str, mx.array]:
    """Returns the arrays of a file by name.

    Raises:
        CheckpointError: Their names, shapes or types are not those of the tree; the message lists the differences.
    """
    try:
        arrays = tensors.read(path)
    except (OSError, tensors.TensorFileError) as error:
        raise damaged(path, error) from error
    expected = tensors.named(tree)
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
    return arrays


def _kind(array: mx.array) -> str:
    return f"{tuple(array.shape)} {str(array.dtype).removeprefix('mlx.core.')}"


@again_if_replaced
def load_weights(folder: Path, model: nn.Module, *, ema: bool = False) -> None:
    """Puts a checkpoint's weights into a model.

    Args:
        folder: The checkpoint's folder.
        model: The model.
        ema: True for the averaged weights. Default: False.

    Raises:
        CheckpointError: The checkpoint is damaged, its weights do not fit the model, or it has no averaged weights.
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


@again_if_replaced
def read_ema(folder: Path, model: nn.Module) -> dict[str, mx.array] | None:
    """Returns the averaged weights of a checkpoint by name, or None if it has none.

    Raises:
        CheckpointError: They are damaged, or do not fit the model's trainable weights.
    """
    checksums = read_checksums(folder)
    if checksums is None or EMA not in checksums:
        return None
    path = regular_file(folder, EMA)
    compare(path, checksums[EMA], files.record(path))
    # Layers that were frozen have no average.
    try:
        patterns = recorded_patterns(read_config(folder))
    except ValueError as error:
        raise damaged(folder / CONFIG, error) from error
    trained = tensors.named(model.trainable_parameters())
    frozen = set(frozen_names(trained, patterns))
    return _fitting(path, {name: array for name, array in trained.items() if name not in frozen}, "model")


@again_if_replaced
def read_maps(folder: Path) -> dict[str, np.ndarray]:
    """Returns the arrays of a checkpoint's data, fixed fields and climatology, by name; empty if it has none.

    Raises:
        CheckpointError: They are damaged.
    """
    checksums = read_checksums(folder)
    if checksums is None or MAPS not in checksums:
        return {}
    path = regular_file(folder, MAPS)
    compare(path, checksums[MAPS], files.record(path))
    try:
        return {name: np.array(array.astype(mx.float32)) for name, array in tensors.read(path).items()}
    except (OSError, tensors.TensorFileError) as error:
        raise damaged(path, error) from error


@again_if_replaced
def restore(folder: Path, model: nn.Module, optimizer: optim.Optimizer) -> dict[str, Any]:
    """Restores a model and an optimizer from a checkpoint, and returns its training state.

    The optimizer keeps its own learning rate, so that a run can resume with another one. Averaged weights are left
    out, since a model is not trained with them; `read_ema` returns them.

    Raises:
        CheckpointError: Something is damaged or does not fit. The model and the optimizer are unchanged.
    """
    verify(folder)
    state = read_state(folder)
    weights = _fitting(folder / MODEL, model.parameters(), "model")
    slots = _fitting(folder / OPTIMIZER, optimizer.state, "optimizer")
    updates = state["step"] - state.get("skipped", 0)
    if "step" in slots and slots["step"].item() != updates:
        raise damaged(folder, f"{STATE} is at step {updates}, {OPTIMIZER} at step {slots['step'].item()}")
    model.update(tree_unflatten(list(weights.items())))
    # The rate of a schedule is computed anew at every update; until then it is the checkpoint's.
    constant = {"learning_rate"} & set(optimizer.state) - set(optimizer._schedulers)
    rates = {name: optimizer.state[name] for name in constant}
    optimizer.state = tree_unflatten(list((slots | rates).items()))
    return state


def load(path: str | Path, *, trusted: Sequence[str] = TRUSTED, ema: bool | None = None) -> nn.Module:
    """Returns the model of a checkpoint, ready to forecast: `load("runs/mine")(inputs, horizon)`.

    Args:
        path: A run's folder, of which the best checkpoint is taken, a checkpoint's folder, "nowcast" for the model that
            comes with the package, or "owner/name@revision" for one of the hub, see `convlstm.checkpoints.hub`.
        trusted: Packages whose classes the checkpoint's configuration may name, beside those of a run that this user
            has trained by `train` in the same folder. Default: convlstm and mlx.nn.
        ema: True for the averaged weights (`trainer.ema`), False for the plain ones. Default: None, the averaged ones
            if there are any.

    Raises:
        CheckpointError: There is no checkpoint, it is damaged, or its weights do not fit its configuration.
        UntrustedTargetError: Its configuration names something other than a class of a trusted package.
        ValueError: A class does not take the arguments in its configuration, or an argument has another type.
    """
    _check_arguments(trusted, ema)
    warn_if_too_late()
    return _load_all(find(path), trusted, ema).model


@dataclass(frozen=True)
class Loaded:
    """A checkpoint's model, configuration and training state, all of the same save.

    Attributes:
        folder: The checkpoint's folder.
        model: The model, ready to forecast.
        config: The configuration.
        state: The training state.
        trusted: Packages whose classes the configuration may name.
    """

    folder: Path
    model: nn.Module
    config: dict[str, Any]
    state: dict[str, Any]
    trusted: tuple[str, ...]


def load_all(path: str | Path, *, trusted: Sequence[str] = TRUSTED, ema: bool | None = None) -> Loaded:
    """Returns a checkpoint's model with its configuration and its training state.

    The arguments and the errors are those of `load`.
    """
    _check_arguments(trusted, ema)
    return _load_all(find(path), trusted, ema)


def _check_arguments(trusted: Any, ema: Any) -> None:
    """Raises ValueError if an argument of `load` has another type."""
    packages = trusted if isinstance(trusted, Sequence) and not isinstance(trusted, str | bytes) else [None]
    if not all(isinstance(package, str) and package for package in packages):
        raise ValueError(f"[load] 'trusted' must be a list of packages but got {trusted!r}.")
    if ema is not None:
        check_flags("load", ema=ema)


@again_if_replaced
def _load_all(folder: Path, trusted: Sequence[str], ema: bool | None) -> Loaded:
    verify(folder)
    config = read_config(folder)
    trusted = (*trusted, *trusted_packages(run_of(folder.resolve()), config))
    return Loaded(folder, _load(folder, config["model"], trusted, ema), config, read_state(folder), trusted)


def _load(folder: Path, description: dict[str, Any], trusted: Sequence[str], ema: bool | None) -> nn.Module:
    try:
        model = build(description, trusted, nn.Module)
    except ValueError:
        raise
    except Exception as error:  # of any class: the arguments are a stranger's
        raise CheckpointError(f"'{folder / CONFIG}' describes a model that cannot be built: {error}.") from error
    if not isinstance(model, nn.Module):
        raise CheckpointError(f"'{folder / CONFIG}' does not describe a model but a {type(model).__name__}.")
    load_weights(folder, model, ema=EMA in (read_checksums(folder) or {}) if ema is None else ema)
    model.eval()
    return model
