"""Checks of arguments that a configuration may hold. This module imports only the standard library."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from contextlib import suppress
from numbers import Real
from pathlib import Path
from typing import Any

MOST = 1 << 20
"""Largest number of channels and largest size. Beyond it MLX fails without naming the argument."""


def check_whole(owner: str, name: str, value: Any, least: int = 1, most: int | None = MOST) -> int:
    """Returns a whole number as an int, or raises ValueError if it lies outside its range.

    Args:
        owner: Class or function that has the argument, for the message.
        name: Name of the argument.
        value: Its value. NumPy's whole numbers are allowed, True and False are not.
        least: Lower bound. Default: 1.
        most: Upper bound, or None for none. Default: `MOST`.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least:
        raise ValueError(f"[{owner}] '{name}' must be a whole number of at least {least} but got {value!r}.")
    if most is not None and number > most:
        raise ValueError(f"[{owner}] '{name}' must be at most {most:,} but got {number:,}.")
    return number


def check_wholes(owner: str, name: str, values: Any) -> list[int]:
    """Returns a list of whole numbers from 1 to `MOST`, or raises ValueError."""
    if not isinstance(values, Sequence) or isinstance(values, str | bytes):
        raise ValueError(f"[{owner}] '{name}' must be a list of whole numbers but got {values!r}.")
    return [check_whole(owner, name, value) for value in values]


def check_number(
    owner: str,
    name: str,
    value: Any,
    least: float = -math.inf,
    most: float = math.inf,
    *,
    above: float = -math.inf,
    below: float = math.inf,
) -> float:
    """Returns a number as a float, or raises ValueError if it is not finite or lies outside its range.

    Args:
        owner, name, value: As for `check_whole`.
        least, most: Bounds of the range, both included. Default: none.
        above, below: Bounds of the range, both excluded. Default: none.
    """
    number = math.nan
    if isinstance(value, Real) and not isinstance(value, bool):
        with suppress(OverflowError):  # a whole number of more than 300 digits
            number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"[{owner}] '{name}' must be a finite number but got {value!r}.")
    if not (least <= number <= most and above < number < below):
        limits = {"at least": least, "above": above, "at most": most, "below": below}
        bounds = " and ".join(f"{word} {limit:g}" for word, limit in limits.items() if math.isfinite(limit))
        if math.isfinite(least) and math.isfinite(most):
            bounds = f"at least {least:g}" if number < least else f"at most {most:g}"
        elif math.isfinite(above) and math.isfinite(below):
            bounds = f"between {above:g} and {below:g}"
        raise ValueError(f"[{owner}] '{name}' must be {bounds} but got {value!r}.")
    return number


def check_numbers(owner: str, name: str, values: Any) -> list[float]:
    """Returns a list of numbers as floats, or raises ValueError if it is none or a number is not finite."""
    given = values.tolist() if hasattr(values, "tolist") else values
    if not isinstance(given, Sequence) or isinstance(given, str | bytes):
        raise ValueError(f"[{owner}] '{name}' must be a list of numbers but got {values!r}.")
    return [check_number(owner, name, value) for value in given]


def check_text(owner: str, name: str, value: Any) -> str:
    """Returns a text that is not empty, or raises ValueError. YAML reads `project: 12` as a number."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"[{owner}] '{name}' must be a text but got {value!r}. Put it in quotes.")
    return value


def check_path(owner: str, name: str, value: Any) -> Path:
    """Returns a path, or raises ValueError."""
    if not isinstance(value, str | Path) or "\0" in str(value):
        raise ValueError(f"[{owner}] '{name}' must be a path but got {value!r}.")
    return Path(value)


def check_mapping(owner: str, name: str, value: Any) -> None:
    """Raises ValueError if a value is no dict, or has keys that are no texts."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"[{owner}] '{name}' must be a dict with texts as keys but got {value!r}.")


def check_parts(owner: str, name: str, value: Any, parts: Sequence[str]) -> None:
    """Raises ValueError if a value that is not None lacks one of these attributes and methods."""
    missing = [part for part in parts if value is not None and not hasattr(value, part)]
    if missing:
        raise ValueError(f"[{owner}] '{name}' must have {', '.join(missing)} but got {value!r}.")


def check_flags(owner: str, **flags: Any) -> None:
    """Raises ValueError if one of the arguments is neither True nor False."""
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise ValueError(f"[{owner}] '{name}' must be True or False but got {value!r}.")
