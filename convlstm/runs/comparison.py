"""Comparison of configurations: the values that differ, without keys that do not matter."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

NAMING = ("output", "name", "resume", "logger")
"""Keys that name a run, or say how it was started and where its rows go. They do not change what is learned."""

IRRELEVANT = {
    "data": (
        *("root", "index", "dtype", "cache_bytes", "prefetch", "threads", "progress"),
        *("validation_sequences", "test_sequences", "most_clipped"),
    ),
    "optimizer.learning_rate": ("steps",),
    "optimizer.beta1": ("steps",),
    "schedule": ("steps",),
    "record": ("sequences", "test"),
}
"""Keys by section that do not change what is learned, or that follow from the length of the run.

`record` is a data set's description of itself (`describe()`), as stored in a checkpoint.
"""

FOLLOWS_DATA = "follows the data"
"""Current value of a key that is known once the data have been read. It equals any former value."""

Difference = tuple[str, Any, Any]
"""A dotted key, its former value and its current one; None for a value that is missing."""


ADDED = {
    f"data.{of}{key}": value for of in ("", "shared.") for key, value in {"reverse": False, "rate_factor": 1.0}.items()
}
"""Keys that earlier versions lacked, with the value that is what these did."""


def differences(former: Mapping[str, Any], current: Mapping[str, Any], keys: Sequence[str]) -> list[Difference]:
    """Returns the values below some keys that differ between two configurations, without the `IRRELEVANT` ones.

    Archives are compared by name: they may have moved, and the data's record says if their contents are the same.
    `data.digits=auto` equals any former value, and a key that an earlier version lacked is as that version was.

    Args:
        former: Configuration as nested mappings.
        current: Another one.
        keys: Dotted keys of the sections and values to compare.
    """
    return [d for key in keys for d in _differences(_value_at(former, key), _value_at(current, key), key)]


def _differences(former: Any, current: Any, key: str) -> list[Difference]:
    if isinstance(former, dict) and isinstance(current, dict):
        names = [name for name in {**former, **current} if name not in IRRELEVANT.get(key, ())]
        return [d for name in names for d in _differences(former.get(name), current.get(name), f"{key}.{name}")]
    if key.endswith("archive"):
        same = _file_names(former) == _file_names(current)
    else:
        same = former == current or current == FOLLOWS_DATA or (key, current) == ("data.digits", "auto")
        same = same or (former is None and key in ADDED and current == ADDED[key])
    return [] if same else [(key, former, current)]


def _file_names(archives: Any) -> list[str]:
    paths = archives if isinstance(archives, list) else [] if archives is None else [archives]
    return [Path(str(path)).name for path in paths]


def _value_at(config: Any, key: str) -> Any:
    for name in key.split("."):
        config = config.get(name) if isinstance(config, dict) else None
    return config


def differing_keys(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the dotted keys whose values are not the same in all configurations, without the `NAMING` ones.

    If sections have different `_target_`s, only keys that all of them have are compared: the class implies the others.
    If a key takes its value from another one, such as `schedule.steps` from `trainer.max_steps`, only the latter is
    returned.

    Args:
        configs: Values by dotted key.
    """
    keys = dict.fromkeys(key for config in configs for key in config if key.partition(".")[0] not in NAMING)
    differing = [key for key in keys if len(set(_values(configs, key))) > 1 and not _follows_from_class(configs, key)]
    return [key for key in differing if not any(_taken_from(configs, key, other) for other in differing)]


def _values(configs: Sequence[Mapping[str, Any]], key: str) -> list[str]:
    return [json.dumps(config.get(key, ...), default=str) for config in configs]


def _taken_from(configs: Sequence[Mapping[str, Any]], key: str, other: str) -> bool:
    """Returns True if a key has the values of another one with a longer name, or the same name on a higher level."""
    name, other_name = key.rpartition(".")[2], other.rpartition(".")[2]
    higher = name == other_name and other.count(".") < key.count(".")
    longer = name != other_name and other_name.endswith(f"_{name}")
    return (higher or longer) and _values(configs, key) == _values(configs, other)


def _follows_from_class(configs: Sequence[Mapping[str, Any]], key: str) -> bool:
    """Returns True if a key is missing somewhere because the `_target_`s of its section differ."""
    section = key.rpartition(".")[0]
    return (
        not key.endswith("._target_")
        and any(key not in config for config in configs)
        and len(set(_values(configs, f"{section}._target_"))) > 1
    )
