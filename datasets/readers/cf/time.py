"""Times in CF files: numbers of a unit since a date of a calendar."""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache
from typing import Any

from convlstm.datasets.readers.base import library
from convlstm.datasets.readers.cf.variable import Variable
from convlstm.datasets.readers.errors import UnreadableError

import numpy as np

REAL = ("standard", "gregorian", "proleptic_gregorian")
"""Calendars whose dates are those of the real world, at least since 1582."""
_TEXT = 200
_LEAST_YEAR = 1583


def is_time(variable: Variable) -> bool:
    """Returns True for a variable of times, which counts from a date or has dates."""
    return variable.dtype.kind == "M" or " since " in variable.text("units")


def decode_times(values: np.ndarray, variable: Variable) -> np.ndarray:
    """Returns datetime64[s] for numbers in the units of `variable`; NaT where a number is missing.

    Dates of other calendars than the real one, such as one without leap days, become the real dates of the same name.

    Raises:
        UnreadableError: If the units or the calendar are not understood, or a date does not exist.
    """
    values = np.asarray(values)
    if values.dtype.kind == "M":
        return values.astype("datetime64[s]")
    units, calendar = (
        variable.text("units")[:_TEXT],
        variable.text("calendar", "standard").lower()[:_TEXT] or "standard",
    )
    if units.lower().startswith(("nanosecond", "ns ")):  # which cftime does not know
        values, units = values / 1000, "microseconds" + units[units.index(" ") :]
    known = np.isfinite(values.astype(np.float64))
    fill = variable.attributes.get("_FillValue", variable.attributes.get("missing_value"))
    if fill is not None and not isinstance(fill, str):
        known &= values != fill
    numbers = np.where(known, values, 0)
    if not known.any():
        return np.full(values.shape, np.datetime64("NaT", "s"))
    first = int(np.floor(numbers[known].min()))
    date, seconds = _origin(units, calendar, first)
    # Days as floats are inexact by microseconds.
    with np.errstate(invalid="ignore"):  # a number may lie outside of all times
        since = np.round((numbers.astype(np.float64) - first) * seconds).astype("timedelta64[s]")
    if calendar in REAL and date.year >= _LEAST_YEAR:
        times = _real(date, calendar) + since
    else:
        unique, places = np.unique(np.where(known, since, since[known].min()), return_inverse=True)
        dates = [_real(date + timedelta(seconds=step), calendar) for step in unique.astype(np.int64).tolist()]
        times = np.array(dates, "datetime64[s]")[places].reshape(values.shape)
    return np.where(known, times, np.datetime64("NaT", "s"))


def minutes_of(differences: np.ndarray) -> np.ndarray:
    """Returns differences of times as minutes, float64."""
    return differences / np.timedelta64(60, "s")


# Cached, since all files of an archive count from the same date.
@lru_cache(maxsize=4096)
def _origin(units: str, calendar: str, first: int) -> tuple[Any, float]:
    """Returns the date of the number `first`, and the seconds of a unit."""
    cftime = library("cftime", "a file with times")
    try:
        date, later = (
            cftime.num2date(number, units, calendar, only_use_cftime_datetimes=True) for number in (first, first + 1)
        )
        return date, (later - date).total_seconds()
    except (ValueError, TypeError, OverflowError, KeyError) as error:
        raise UnreadableError(
            f"has times in {units!r} of the calendar {calendar!r}, which are not understood ({str(error)[:_TEXT]})"
        ) from error


def _real(date: Any, calendar: str) -> np.datetime64:
    """Returns the real date of the same name."""
    text = f"{date.year:04d}-{date.month:02d}-{date.day:02d}T{date.hour:02d}:{date.minute:02d}:{date.second:02d}"
    try:
        return np.datetime64(text, "s")
    except ValueError as error:
        raise UnreadableError(
            f"has a frame of {text} in the calendar {calendar!r}, a date that does not exist. Convert its calendar, as "
            "xarray's convert_calendar does"
        ) from error
