"""The files of a published checkpoint: weights, configurations without paths of this machine, and a model card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import convlstm
from convlstm import checkpoints
from convlstm.checkpoints.finite import check_finite
from convlstm.checkpoints.own_runs import packages_of
from convlstm.publish.model_card import CARD, model_card

import mlx.optimizers as optim

JSON = "config.json"
NAMES = (*checkpoints.FILES, checkpoints.EMA, "maps.safetensors", checkpoints.CHECKSUMS, JSON, CARD)
"""All files that are ever published."""

# Sections of a run's configuration that say how it was trained; the others name folders and services.
_SECTIONS = ("model", "data", "loss", "optimizer", "schedule", "sampling", "trainer", "freeze", "seed")
_STATE = ("step", "seed", "seconds", "best", "best_step")
# Keys whose values are folders or files, of which the last part is kept, and keys whose values say nothing elsewhere.
_PATHS = ("archive", "validation_archive", "test_archive", "path", "static")
_DROPPED = ("root", "index", "mirrors")


def write(run: str | Path, target: Path, repository: str, licence: str | None = None) -> list[str]:
    """Writes the files of a published checkpoint to a folder, and returns notes on what others need to know.

    The weights are the averaged ones if there are any. The optimizer has not trained anything, so others can start
    from the checkpoint by `init`, but not resume it.

    Args:
        run: A run's folder, of which the best checkpoint is taken, or a checkpoint's folder.
        target: The folder; it must not exist.
        repository: "owner/name", for the card.
        licence: Identifier of the weights' licence, such as "cc-by-4.0". Default: not stated.

    Raises:
        CheckpointError: There is no checkpoint, it is damaged, or it has weights that are not finite.
        FileExistsError: The folder exists.
    """
    loaded = checkpoints.load_all(run)
    check_finite(loaded.model, loaded.folder)
    if target.exists():
        raise FileExistsError(17, "it exists already; choose another folder", str(target))
    config = _without_paths({key: loaded.config[key] for key in _SECTIONS if loaded.config.get(key) is not None})
    state = {key: loaded.state[key] for key in _STATE if key in loaded.state}
    data = loaded.state.get("data")
    state |= {"status": "published", "data": _without_paths(data if isinstance(data, dict) else {})}
    maps = checkpoints.read_maps(loaded.folder)
    checkpoints.save(target, loaded.model, optim.SGD(0.1), state, config, maps=maps)
    document = {
        "model_type": "convlstm",
        "architectures": [type(loaded.model).__name__],
        "convlstm_version": convlstm.__version__,
        **config,
        "record": state["data"],
    }
    (target / JSON).write_text(json.dumps(document, indent=2, default=str) + "\n", encoding="utf-8")
    packages = packages_of(loaded.config)
    card = model_card(
        repository, loaded.model, config, state, checkpoints.run_of(loaded.folder), licence=licence, packages=packages
    )
    (target / CARD).write_text(card, encoding="utf-8")
    notes = [] if licence else ["the card states no licence, so others may not use the weights: --license cc-by-4.0"]
    if packages:
        notes.append(f"its classes are those of {', '.join(packages)}, which others must install, and name as trusted")
    return notes


def _without_paths(value: Any, key: str = "") -> Any:
    """Returns a value of a configuration or a record in which paths are names without their folders."""
    if isinstance(value, Mapping):
        return {_name(str(k)): None if k in _DROPPED else _without_paths(v, str(k)) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_paths(item, key) for item in value]
    if isinstance(value, str):
        return PurePosixPath(value.replace("\\", "/")).name if key in _PATHS else _name(value)
    return value


def _name(text: str) -> str:
    """Returns a text unchanged, but only the last part of a path with a place of its own."""
    placed = text.startswith(("/", "~", "./", "../")) or PureWindowsPath(text).is_absolute()
    return PurePosixPath(text.replace("\\", "/")).name if placed else text
