"""Checks of the loaders' arguments: what may come from a configuration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from numbers import Real
from pathlib import Path
from typing import Any, SupportsIndex

from convlstm.arguments import check_whole

import numpy as np

OWNER = "RadarEcho"


# An epoch is a list of its batches; frames are counted in 32 bits.
MOST_SEQUENCES, MOST_FRAMES, MOST_PIXELS = 10_000_000, 100_000, 65_536


def share(name: str, value: float) -> float:
    """A number from 0 to 1."""
    if not _is_number(value) or not 0 <= value <= 1:
        raise ValueError(f"[{OWNER}] '{name}' must be a share, from 0 to 1, but got {value!r}.")
    return float(value)


def split_shares(value: Sequence[float]) -> dict[str, float]:
    """Shares of train, validation and test."""
    shares = list(value) if _is_list(value) else []
    if len(shares) != 3 or not all(_is_number(s) and s >= 0 for s in shares) or not math.isclose(sum(shares), 1):
        raise ValueError(
            f"[{OWNER}] 'split' must be the shares of train, validation and test, none negative, with the sum 1, but "
            f"got {value!r}."
        )
    return dict(zip(("train", "validation", "test"), map(float, shares), strict=True))


def split_dates(value: Sequence[str]) -> list[np.datetime64]:
    """The times (UTC) at which validation and test begin."""
    dates: list[np.datetime64] = []
    with suppress(ValueError):
        dates = [np.datetime64(str(date), "s") for date in value] if _is_list(value) else []
    if len(dates) != 2 or not dates[0] < dates[1]:
        raise ValueError(
            f"[{OWNER}] 'split_dates' must be the dates on which validation and test begin, such as ['2019-01-01', "
            f"'2019-06-01'], but got {value!r}."
        )
    return dates


def sides(owner: str, name: str, value: int | Sequence[int], least: int = 1) -> tuple[int, int]:
    """Height and width of a frame, each at least ``least``, from one number for both or two."""
    given: list[Any] = list(value) if isinstance(value, Sequence) else [value, value]
    if len(given) != 2 or not all(isinstance(side, SupportsIndex) for side in given):
        raise ValueError(f"[{owner}] '{name}' must be a whole number or (height, width) but got {value!r}.")
    height, width = (check_whole(owner, name, side, least, MOST_PIXELS) for side in given)
    return height, width


def rising(name: str, value: Sequence[float]) -> list[float]:
    """Positive numbers, each above the one before."""
    numbers = list(value) if _is_list(value) else []
    if not numbers or not all(_is_number(n) and n > 0 for n in numbers) or sorted(set(numbers)) != numbers:
        raise ValueError(f"[{OWNER}] '{name}' must be positive numbers, each above the one before, but got {value!r}.")
    return [float(n) for n in numbers]


def paths(name: str, value: str | Sequence[str]) -> list[Path]:
    """One path or several, the home folder filled in, each once."""
    given = [value] if isinstance(value, str | Path) else list(value) if _is_list(value) else []
    if not given or not all(isinstance(path, str | Path) and str(path) for path in given):
        raise ValueError(f"[{OWNER}] '{name}' must be a path or a list of paths but got {value!r}.")
    return list(dict.fromkeys(Path(path).expanduser() for path in given))


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
