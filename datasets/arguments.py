"""Checks of the data sets' arguments, which may come from a configuration."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from numbers import Real
from pathlib import Path
from typing import Any, SupportsIndex

from convlstm.arguments import check_whole
from convlstm.datasets.remote import mirror
from convlstm.datasets.remote_addresses import is_address

import numpy as np

# An epoch is a list of its batches; frames are counted in 32 bits.
MOST_SEQUENCES, MOST_FRAMES, MOST_PIXELS = 10_000_000, 100_000, 65_536
_MOST_MINUTES = 1_000_000_000


def is_number(value: Any) -> bool:
    """Returns True for a real number that a float can hold, infinite ones included, but not for True and False."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        float(value)
    except OverflowError:  # a whole number of more than 300 digits
        return False
    return True


def number(owner: str, name: str, value: float, least: float, most: float) -> float:
    """Returns a number from `least` to `most`, or raises ValueError."""
    if not is_number(value) or not least <= value <= most:
        raise ValueError(f"[{owner}] '{name}' must be a number from {least:g} to {most:g} but got {value!r}.")
    return float(value)


def minutes(owner: str, name: str, value: float) -> float:
    """Returns a number of minutes above 0, at most two thousand years, or raises ValueError."""
    if not is_number(value) or not 0 < value < math.inf:
        raise ValueError(f"[{owner}] '{name}' must be a number of minutes above 0 but got {value!r}.")
    if value > _MOST_MINUTES:
        raise ValueError(f"[{owner}] '{name}' must be at most {_MOST_MINUTES:,} minutes but got {value!r}.")
    return float(value)


def number_range(
    owner: str, name: str, value: float | Sequence[float], least: float, most: float
) -> tuple[float, float]:
    """Returns `(low, high)` between `least` and `most`, from two numbers or one for both, or raises ValueError."""
    ends = list(value) if isinstance(value, Sequence) else [value, value]
    if len(ends) != 2 or not all(map(is_number, ends)) or not least <= ends[0] <= ends[1] <= most:
        raise ValueError(
            f"[{owner}] '{name}' must be a number from {least:g} to {most:g}, or a range (low, high) of them, but got "
            f"{value!r}."
        )
    return float(ends[0]), float(ends[1])


def sides(owner: str, name: str, value: int | Sequence[int], least: int = 1) -> tuple[int, int]:
    """Returns height and width of a frame, each at least `least`, from two numbers or one for both."""
    given: list[Any] = list(value) if isinstance(value, Sequence) else [value, value]
    if len(given) != 2 or not all(isinstance(side, SupportsIndex) for side in given):
        raise ValueError(f"[{owner}] '{name}' must be a whole number or (height, width) but got {value!r}.")
    height, width = (check_whole(owner, name, side, least, MOST_PIXELS) for side in given)
    return height, width


def split_shares(owner: str, value: Sequence[float]) -> dict[str, float]:
    """Returns the shares of train, validation and test by split."""
    shares = list(value) if _is_list(value) else []
    if len(shares) != 3 or not all(is_number(s) and s >= 0 for s in shares) or not math.isclose(sum(shares), 1):
        raise ValueError(
            f"[{owner}] 'split' must be the shares of train, validation and test, none negative, with the sum 1, but "
            f"got {value!r}."
        )
    return dict(zip(("train", "validation", "test"), map(float, shares), strict=True))


def split_dates(owner: str, value: Sequence[str]) -> list[np.datetime64]:
    """Returns the times (UTC) at which validation and test begin."""
    dates: list[np.datetime64] = []
    with suppress(ValueError):
        dates = [np.datetime64(str(date), "s") for date in value] if _is_list(value) else []
    if len(dates) != 2 or not dates[0] < dates[1]:
        raise ValueError(
            f"[{owner}] 'split_dates' must be the dates on which validation and test begin, such as ['2019-01-01', "
            f"'2019-06-01'], but got {value!r}."
        )
    return dates


def rising(owner: str, name: str, value: Sequence[float], positive: bool = True) -> list[float]:
    """Returns numbers, each above the one before, or raises ValueError; `positive` allows only those above 0."""
    numbers = list(value) if _is_list(value) else []
    valid = all(is_number(n) and math.isfinite(n) and (n > 0 or not positive) for n in numbers)
    if not numbers or not valid or sorted(set(numbers)) != numbers:
        kind = "positive numbers" if positive else "numbers"
        raise ValueError(f"[{owner}] '{name}' must be {kind}, each above the one before, but got {value!r}.")
    return [float(n) for n in numbers]


def paths(owner: str, name: str, value: str | Sequence[str]) -> list[Path]:
    """Returns one or several paths, without duplicates and with the home folder filled in."""
    given = [value] if isinstance(value, str | Path) else list(value) if _is_list(value) else []
    if not given:
        raise ValueError(f"[{owner}] '{name}' must be a path or a list of paths but got {value!r}.")
    return list(dict.fromkeys(path(owner, name, one) for one in given))


def path(owner: str, name: str, value: Any) -> Path:
    """Returns a path with the home folder filled in, or raises ValueError.

    The address of a Zarr store becomes the folder of `convlstm.datasets.remote.mirror`, which has further errors.
    """
    if is_address(value):
        return mirror(value)
    if isinstance(value, str | Path) and str(value) and "\0" not in str(value):
        with suppress(RuntimeError):  # the home folder of a user who does not exist
            return Path(value).expanduser()
    raise ValueError(f"[{owner}] '{name}' must be a path but got {value!r}.")


def texts(owner: str, name: str, value: Any) -> list[str]:
    """Returns texts, from a list of them or one, or raises ValueError."""
    given = (
        [value]
        if isinstance(value, str)
        else list(value)
        if isinstance(value, Iterable) and not isinstance(value, Mapping)
        else None
    )
    if given is None or not all(isinstance(text, str) for text in given):
        raise ValueError(f"[{owner}] '{name}' must be a text or a list of texts but got {value!r}.")
    return given


def options(owner: str, name: str, value: Any) -> dict[str, Any]:
    """Returns options by their names, none for None, or raises ValueError."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"[{owner}] '{name}' must be options by name, such as {{units: mm/h}}, but got {value!r}.")
    return dict(value)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
