"""Checks of a command's keys. Each command has a table `KEYS` of the values that each key accepts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from convlstm.cli.configuration import CONFIGS
from convlstm.cli.error_wording import no_such_key, shown, value_at
from convlstm.cli.program import fail

import yaml


@dataclass(frozen=True)
class Values:
    """The values that a key accepts.

    Args:
        words: Description of a valid value, for the error message.
        accepts: Returns True if a value is valid.
    """

    words: str
    accepts: Callable[[Any], bool]


def _is_path(value: Any) -> bool:
    text = str(value)
    return not (value is None or isinstance(value, bool | list | dict) or not text.strip() or "\0" in text)


FLAG = Values("true or false", lambda value: type(value) is bool)
PATH = Values("a path", _is_path)
LAYERS = Values(
    "a list of names of layers, such as freeze=[encoder],",
    lambda value: isinstance(value, list) and all(isinstance(name, str) and name for name in value),
)
PACKAGES = Values(
    "a list of packages, such as trusted=[mine],",
    lambda value: isinstance(value, list) and all(isinstance(name, str) for name in value),
)


def whole(least: int, most: int | None = None) -> Values:
    """Returns the whole numbers from `least` to `most`; if `most` is None, to the largest that MLX takes."""
    words = f"of at least {least}" if most is None else f"from {least} to {most:,}"
    end = (1 << 63) - 1 if most is None else most
    return Values(f"a whole number {words}", lambda value: type(value) is int and least <= value <= end)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


NUMBER = Values("a number", _is_number)
NOT_NEGATIVE = Values("a number of at least 0", lambda value: _is_number(value) and value >= 0)
POSITIVE = Values("a number above 0", lambda value: _is_number(value) and value > 0)


def one_of(*names: str) -> Values:
    """Returns the values that are one of these names."""
    return Values(f"one of {', '.join(names)}", lambda value: value in list(names))


def list_of(item: Values, words: str = "a list", *, least: int = 0) -> Values:
    """Returns the lists of `least` or more items that `item` accepts."""
    return Values(
        words, lambda value: isinstance(value, list) and len(value) >= least and all(map(item.accepts, value))
    )


def either(*kinds: Values, words: str) -> Values:
    """Returns the values that at least one of these kinds accepts."""
    return Values(words, lambda value: any(kind.accepts(value) for kind in kinds))


def optional(kind: Values) -> Values:
    """Returns the values of a kind, and null."""
    return Values(kind.words, lambda value: value is None or kind.accepts(value))


def check(config_name: str, keys: Mapping[str, Values], settings: Mapping[str, Any]) -> None:
    """Ends the program if a key is missing or unknown, or has a value that it does not accept.

    Args:
        config_name: The file in configs/ that has the keys.
        keys: The values that each key accepts, by dotted key.
        settings: The configuration.
    """
    file = yaml.safe_load((CONFIGS / f"{config_name}.yaml").read_text(encoding="utf-8"))
    groups = sorted(path.name for path in CONFIGS.iterdir() if path.is_dir() and path.name != "experiment")
    keys_of_file = {key: value for key, value in file.items() if key not in ("defaults", "hydra")}
    _check_names("", keys_of_file, settings, groups)
    for key, values in keys.items():
        if not values.accepts(value := value_at(settings, key)):
            fail(f"'{key}' must be {values.words} but got {shown(value)}.")


def _check_names(lead: str, file: Mapping[str, Any], settings: Mapping[str, Any], groups: Sequence[str] = ()) -> None:
    """Ends the program if a section lacks a key of the file, or has a key that is neither in the file nor a group."""
    for key in file:
        if key not in settings:
            fail(f"'{lead}{key}' has no value. Give it one: {lead}{key}=VALUE.")
    names = [*file, *groups]
    if not lead and isinstance(below := settings.get("experiment"), dict):
        fail(
            f"the keys of the experiment lie below 'experiment' ({', '.join(map(str, below))}), since its file lacks "
            "the line that puts them at the top. Write this as its first line:  # @package _global_"
        )
    if wrong := [no_such_key(f"{lead}{key}", names) for key in settings if key not in names]:
        fail("\n".join(wrong))
    for key, section in file.items():
        if isinstance(section, dict) and isinstance(settings[key], dict):
            _check_names(f"{lead}{key}.", section, settings[key])
