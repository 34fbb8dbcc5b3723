"""Checkpoints: a folder with `model.safetensors`, `optimizer.safetensors`, `state.json` and `config.yaml`.

A checkpoint is written beside its place and then renamed into it, so that what is found under its name is whole.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convlstm.build import TRUSTED, build

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import yaml
from mlx.utils import tree_flatten, tree_unflatten

MODEL, OPTIMIZER, STATE, CONFIG = FILES = ("model.safetensors", "optimizer.safetensors", "state.json", "config.yaml")
FOLDER = "checkpoints"


class CheckpointError(ValueError):
    """A checkpoint is not there, is incomplete or damaged, or does not fit."""


def save(
    folder: str | Path, model: nn.Module, optimizer: optim.Optimizer, state: dict[str, Any], config: dict[str, Any]
) -> None:
    """Writes a checkpoint to `folder`; the one that was there becomes `<folder>.previous` until the next is written.

    Args:
        folder: Where it goes; its parent is made if it does not exist.
        model, optimizer: Whose weights and state are kept.
        state: What JSON can hold: the step and all else that training needs to go on.
        config: The resolved configuration, from which `load` builds the model.
    """
    folder = Path(folder)
    beside, previous = folder.with_name(folder.name + ".tmp"), folder.with_name(folder.name + ".previous")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    # Sorted, so that the same state is the same file whether or not a run was interrupted.
    mx.save_safetensors(str(beside / MODEL), dict(sorted(_named(model.parameters()).items())))
    mx.save_safetensors(str(beside / OPTIMIZER), dict(sorted(_named(optimizer.state).items())))
    (beside / STATE).write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
    (beside / CONFIG).write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    for path in beside.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    if folder.exists():
        shutil.rmtree(previous, ignore_errors=True)
        folder.rename(previous)
    beside.rename(folder)


def find(path: str | Path, prefer: Sequence[str] = ("best", "last")) -> Path:
    """The checkpoint folder that a path means.

    Args:
        path: A checkpoint's folder, a run's folder, or the `checkpoints` folder in it.
        prefer: Which checkpoint of a run to take, the first that exists.

    Raises:
        CheckpointError: There is none, or files are missing from it.
    """
    path = Path(path).expanduser()
    if not path.exists() and not path.with_name(path.name + ".previous").exists():
        raise CheckpointError(f"'{path}' does not exist. Give a run's folder or a checkpoint's folder.")
    places = [path] + [base / name for base in (path / FOLDER, path) for name in prefer]
    for place in places:
        # Between the two renames of `save` the checkpoint before is the one that exists.
        for candidate in (place, place.with_name(place.name + ".previous")):
            if any((candidate / name).exists() for name in FILES[:3]):
                missing = [name for name in FILES if not (candidate / name).is_file()]
                if missing:
                    raise CheckpointError(
                        f"the checkpoint '{candidate}' is incomplete, without {', '.join(missing)}. Use another one."
                    )
                return candidate
    raise CheckpointError(
        f"'{path}' holds no checkpoint: neither {', '.join(FILES)} nor a folder {FOLDER}/{' or '.join(prefer)}. Give a "
        "run's folder or a checkpoint's folder."
    )


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of a checkpoint."""
    try:
        config = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CheckpointError(f"'{folder / CONFIG}' is damaged: {error}. Use another checkpoint.") from error
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise CheckpointError(f"'{folder / CONFIG}' has no section 'model', so it describes no model.")
    return config


def read_state(folder: Path) -> dict[str, Any]:
    """The training state of a checkpoint."""
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"'{folder / STATE}' is damaged: {error}. Use another checkpoint.") from error
    step = state.get("step") if isinstance(state, dict) else None
    if type(step) is not int or step < 0:
        raise CheckpointError(f"'{folder / STATE}' is damaged: it names no step. Use another checkpoint.")
    return state


def _named(tree: Any) -> dict[str, mx.array]:
    return tree_flatten(tree, destination={})  # type: ignore[return-value]


def _arrays(path: Path) -> dict[str, mx.array]:
    try:
        arrays: dict[str, mx.array] = mx.load(str(path), format="safetensors")  # type: ignore[assignment]
        mx.eval(arrays)
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(f"'{path}' is damaged: {error}. Use another checkpoint.") from error
    return arrays


def _fitting(path: Path, tree: Any, owner: str) -> dict[str, mx.array]:
    """The arrays of a file, by name; CheckpointError where they do not fit the tree."""
    arrays = _arrays(path)
    _check_fit(path, arrays, _named(tree), owner)
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


def load_weights(folder: Path, model: nn.Module) -> None:
    """Puts a checkpoint's weights into a model; CheckpointError where they do not fit."""
    model.update(tree_unflatten(list(_fitting(folder / MODEL, model.parameters(), "model").items())))


def restore(folder: Path, model: nn.Module, optimizer: optim.Optimizer) -> dict[str, Any]:
    """Puts a checkpoint's weights and optimizer state into place and returns its training state.

    The learning rate stays the optimizer's own, so that a run can go on with another one.

    Raises:
        CheckpointError: Something is damaged or does not fit; the model and the optimizer are as they were.
    """
    state = read_state(folder)
    weights = _fitting(folder / MODEL, model.parameters(), "model")
    slots = _fitting(folder / OPTIMIZER, optimizer.state, "optimizer")
    if "step" in slots and slots["step"].item() != state["step"]:
        raise CheckpointError(
            f"'{folder}' is damaged: {STATE} is at step {state['step']}, {OPTIMIZER} at step {slots['step'].item()}. "
            "Use another checkpoint."
        )
    model.update(tree_unflatten(list(weights.items())))
    own = {"learning_rate": optimizer.state["learning_rate"]} if "learning_rate" in optimizer.state else {}
    optimizer.state = tree_unflatten(list((slots | own).items()))
    return state


def load(path: str | Path, *, trusted: Sequence[str] = TRUSTED) -> nn.Module:
    """The model of a checkpoint, ready to forecast: `load("runs/mine")(inputs, horizon)`.

    Args:
        path: A run's folder (its best checkpoint is taken) or a checkpoint's folder.
        trusted: Packages whose classes the checkpoint's configuration may name. Default: convlstm, datasets,
            mlx.nn and mlx.optimizers.

    Raises:
        CheckpointError: There is no checkpoint, or it is damaged, or its weights do not fit its configuration.
        UntrustedTargetError: Its configuration names something that is not a class of a trusted package.
    """
    folder = find(path)
    description = read_config(folder)["model"]
    try:
        model = build(description, trusted, nn.Module)
    except (TypeError, AttributeError) as error:
        raise CheckpointError(f"'{folder / CONFIG}' describes a model that cannot be built: {error}.") from error
    if not isinstance(model, nn.Module):
        raise CheckpointError(f"'{folder / CONFIG}' does not describe a model but a {type(model).__name__}.")
    load_weights(folder, model)
    model.eval()
    return model
