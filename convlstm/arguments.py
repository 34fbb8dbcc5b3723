"""Checks of arguments that a configuration may hold. This module imports only the standard library."""

from __future__ import annotations

import math
import operator
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


def check_number(owner: str, name: str, value: Any, least: float = -math.inf, most: float = math.inf) -> float:
    """Returns a number as a float, or raises ValueError if it is not finite or lies outside its range.

    Args:
        owner, name, value: As for `check_whole`.
        least, most: Bounds of the range, both included. Default: none.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"[{owner}] '{name}' must be a finite number but got {value!r}.")
    if not least <= value <= most:
        bounds = f"at least {least:g}" if value < least else f"at most {most:g}"
        raise ValueError(f"[{owner}] '{name}' must be {bounds} but got {value!r}.")
    return float(value)


def check_flags(owner: str, **flags: Any) -> None:
    """Raises ValueError if one of the arguments is neither True nor False."""
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise ValueError(f"[{owner}] '{name}' must be True or False but got {value!r}.")
