"""The data that `evaluate.py` scores on: those of the command line, or the checkpoint's with some keys changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from convlstm import checkpoints
from convlstm.checkpoints.build import build, check_targets, resolve
from convlstm.cli.program import check_types, fail, instantiate, named
from convlstm.datasets.moving_mnist import MovingMNIST
from convlstm.datasets.transforms import RadarTransform

from omegaconf import DictConfig

# Where something is written and what is fetched is for a person to say, not for a checkpoint.
NOT_ITS_OWN = ("index", "mirrors")
# What does not decide what a model has seen in training.
_NO_DIFFERENCE = {"root", "index", "dtype", "cache_bytes", "prefetch", "threads", "progress"}
_NO_DIFFERENCE |= {"validation_sequences", "test_sequences"}


@runtime_checkable
class Data(Protocol):
    """What a checkpoint's data must be able to do."""

    def size(self, split: str) -> int: ...
    def stream(self, split: str, batch_size: int) -> Iterable[dict[str, Any]]: ...
    def describe(self) -> dict[str, Any]: ...


def build_data(config: DictConfig, changes: dict[str, Any] | None, folder: Path | None, trusted: Sequence[str]) -> Any:
    """The data of the command line, or the checkpoint's with the keys that the command line changes."""
    if folder is None or (changes is not None and "_target_" in changes):
        check_types({"data": changes} if changes else {})
        return instantiate(config, "data")
    saved = checkpoints.read_config(folder)
    if not isinstance(saved.get("data"), dict):
        fail("the checkpoint's config.yaml has no section 'data'. Name the data: data=moving_mnist.")
    changes = changes or {}
    description = {key: value for key, value in saved["data"].items() if key not in NOT_ITS_OWN} | changes
    packages = ("convlstm.datasets", *trusted)
    try:
        # Before anything else looks at what it names.
        check_targets(description := {"_target_": ""} | description, packages, Data, inside=RadarTransform)
        named_by_it = saved["data"].get("root") is not None and "root" not in changes
        if named_by_it and issubclass(resolve(description["_target_"], packages), MovingMNIST):
            description = {"mirrors": []} | description  # nothing is downloaded into a folder that no person has named
        check_types({"data": description})
        return build(description, packages, Data, inside=RadarTransform)
    except (OSError, TypeError, ValueError) as error:
        text = named(str(error), {"data": description}, "data")
        raise ValueError(f"{text}\nThe data are those of '{folder / checkpoints.CONFIG}' and the changes.") from error


def trained_otherwise(models: Iterable[str], folders: list[Path]) -> dict[str, list[str]]:
    """For each run whose data was not the first one's, which is what all are scored on: the keys that differ."""
    if not folders:
        return {}
    first, *others = (checkpoints.read_config(folder).get("data") or {} for folder in folders)
    keys = [
        [key for key in {**first, **other} if key not in _NO_DIFFERENCE and first.get(key) != other.get(key)]
        for other in others
    ]
    return {name: found for name, found in zip(list(models)[1:], keys, strict=False) if found}
