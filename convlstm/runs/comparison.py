"""Comparison of configurations: which values differ between runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

# They name the run, or say how it was begun and shown, and nothing about what was trained.
APART = ("output", "name", "resume", "logger")


def differences(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The dotted keys whose values are not the same in all configurations.

    What one class takes and another does not is told by the class alone: where sections have different `_target_`, only
    keys that all of them have are compared. Of keys that take their value from another, such as `schedule.steps` from
    `trainer.max_steps`, there is one.
    """
    keys = dict.fromkeys(key for config in configs for key in config if key.partition(".")[0] not in APART)
    found = [key for key in keys if len(set(_values(configs, key))) > 1 and not _follows_from_class(configs, key)]
    return [key for key in found if not any(_taken_from(configs, key, other) for other in found)]


def _values(configs: Sequence[Mapping[str, Any]], key: str) -> list[str]:
    return [json.dumps(config.get(key, ...), default=str) for config in configs]


def _taken_from(configs: Sequence[Mapping[str, Any]], key: str, other: str) -> bool:
    """Whether a key has the values of another one that has a longer name, or the same one at a higher place."""
    own, name = key.rpartition(".")[2], other.rpartition(".")[2]
    higher = own == name and other.count(".") < key.count(".")
    return (higher or (own != name and name.endswith(f"_{own}"))) and _values(configs, key) == _values(configs, other)


def _follows_from_class(configs: Sequence[Mapping[str, Any]], key: str) -> bool:
    parent = key.rpartition(".")[0]
    return (
        not key.endswith("._target_")
        and any(key not in config for config in configs)
        and len(set(_values(configs, f"{parent}._target_"))) > 1
    )
