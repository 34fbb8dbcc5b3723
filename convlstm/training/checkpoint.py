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

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import yaml
from mlx.utils import tree_flatten, tree_unflatten

from convlstm.build import TRUSTED, build

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
    mx.save_safetensors(str(beside / MODEL), dict(tree_flatten(model.parameters())))
    mx.save_safetensors(str(beside / OPTIMIZER), dict(tree_flatten(optimizer.state)))
    (beside / STATE).write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
    (beside / CONFIG).write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    for path in beside.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    if folder.exists():
        shutil.rmtree(previous, ignore_errors=True)
        os.rename(folder, previous)
    os.rename(beside, folder)


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
                        f"the checkpoint '{candidate}' is incomplete: {', '.join(missing)} is missing. Use another one."
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
        raise CheckpointError(f"'{folder / CONFIG}' cannot be read: {error}.") from error
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise CheckpointError(f"'{folder / CONFIG}' has no section 'model', so it describes no model.")
    return config


def read_state(folder: Path) -> dict[str, Any]:
    """The training state of a checkpoint."""
    try:
        return json.loads((folder / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"'{folder / STATE}' cannot be read: {error}.") from error


def _arrays(path: Path) -> dict[str, mx.array]:
    try:
        arrays = mx.load(str(path))
        mx.eval(arrays)
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(f"'{path}' is damaged: {error}. Use another checkpoint.") from error
    return arrays


def _check_fit(path: Path, arrays: dict[str, mx.array], expected: dict[str, mx.array]) -> None:
    """CheckpointError that lists what does not fit, where names or shapes differ."""
    wrong = [f"missing: {name} {tuple(a.shape)}" for name, a in expected.items() if name not in arrays]
    wrong += [f"unexpected: {name} {tuple(a.shape)}" for name, a in arrays.items() if name not in expected]
    wrong += [
        f"{name}: {tuple(a.shape)} in the file, {tuple(expected[name].shape)} in the model"
        for name, a in arrays.items()
        if name in expected and a.shape != expected[name].shape
    ]
    if wrong:
        more = f"\n  ... and {len(wrong) - 8} more" if len(wrong) > 8 else ""
        raise CheckpointError(
            f"'{path}' belongs to another architecture:\n  " + "\n  ".join(wrong[:8]) + more + "\nUse the model's own "
            "configuration, or another checkpoint."
        )


def load_weights(folder: Path, model: nn.Module) -> None:
    """Puts a checkpoint's weights into a model; CheckpointError where they do not fit."""
    arrays = _arrays(folder / MODEL)
    _check_fit(folder / MODEL, arrays, dict(tree_flatten(model.parameters())))
    model.update(tree_unflatten(list(arrays.items())))


def restore(folder: Path, model: nn.Module, optimizer: optim.Optimizer) -> dict[str, Any]:
    """Puts a checkpoint's weights and optimizer state into place and returns its training state."""
    arrays = _arrays(folder / OPTIMIZER)
    _check_fit(folder / OPTIMIZER, arrays, dict(tree_flatten(optimizer.state)))
    load_weights(folder, model)
    optimizer.state = tree_unflatten(list(arrays.items()))
    return read_state(folder)


def load(path: str | Path, *, trusted: Sequence[str] = TRUSTED) -> nn.Module:
    """The model of a checkpoint, ready to forecast: `load("runs/mine")(inputs, horizon)`.

    Args:
        path: A run's folder (its best checkpoint is taken) or a checkpoint's folder.
        trusted: Packages whose classes the checkpoint's configuration may name. Default: convlstm, datasets and mlx.

    Raises:
        CheckpointError: There is no checkpoint, or it is damaged, or its weights do not fit its configuration.
        UntrustedTargetError: Its configuration names something that is not a class of a trusted package.
    """
    folder = find(path)
    model = build(read_config(folder)["model"], trusted)
    if not isinstance(model, nn.Module):
        raise CheckpointError(f"'{folder / CONFIG}' does not describe a model but a {type(model).__name__}.")
    load_weights(folder, model)
    model.eval()
    return model
