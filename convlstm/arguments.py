"""Checks of arguments: what may come from a configuration."""

from __future__ import annotations

import math
from typing import Any

MOST = 1 << 20
"""Channels and sizes beyond it are slips; MLX's shapes end not far above, and without saying which was too large."""


def check_whole(owner: str, name: str, value: Any, least: int = 1, most: int = MOST) -> int:
    """A whole number within a range.

    Args:
        owner: Who asks, for the error.
        name: The argument.
        value: What was given.
        least, most: The range. Default: from 1 to `MOST`.

    Raises:
        ValueError: It is no such number.
    """
    if type(value) is not int or value < least:
        raise ValueError(f"[{owner}] '{name}' must be at least {least} but got {value!r}.")
    if value > most:
        raise ValueError(f"[{owner}] '{name}' must be at most {most:,} but got {value:,}.")
    return value


def check_number(owner: str, name: str, value: Any, least: float = -math.inf, most: float = math.inf) -> float:
    """A finite number within a range; ValueError where it is none."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"[{owner}] '{name}' must be a finite number but got {value!r}.")
    if not least <= value <= most:
        bounds = f"at least {least:g}" if value < least else f"at most {most:g}"
        raise ValueError(f"[{owner}] '{name}' must be {bounds} but got {value!r}.")
    return float(value)


def check_flags(owner: str, **flags: Any) -> None:
    """ValueError where one of the arguments is neither True nor False."""
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise ValueError(f"[{owner}] '{name}' must be True or False but got {value!r}.")
