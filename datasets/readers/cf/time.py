"""Times in CF files: numbers of a unit since a date."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from convlstm.datasets.readers.cf.variable import Variable
from convlstm.datasets.readers.errors import UnreadableError

import numpy as np

_SECONDS = {"day": 86400, "d": 86400, "hour": 3600, "hr": 3600, "h": 3600, "minute": 60, "min": 60}
_SECONDS |= {"second": 1, "sec": 1, "s": 1}
_FRACTIONS = {"millisecond": 1e-3, "ms": 1e-3, "microsecond": 1e-6, "us": 1e-6, "nanosecond": 1e-9, "ns": 1e-9}
_SINCE = re.compile(
    r"\s*(\w+)\s+since\s+(\d{1,4})-(\d{1,2})-(\d{1,2})(?:[T\s]\s*(\d{1,2})(?::(\d{1,2}))?(?::(\d{1,2})(?:\.\d*)?)?)?"
    r"\s*(UTC|GMT|Z|[-+]\d{1,2}:?(?:\d{2})?)?\s*",
    re.IGNORECASE,
)
_CALENDARS = ("", "standard", "gregorian", "proleptic_gregorian")


def decode_times(values: np.ndarray, variable: Variable) -> np.ndarray:
    """Returns datetime64[s] for numbers in the units of `variable`; NaT where a number is missing.

    Raises:
        UnreadableError: If the units or the calendar are not understood.
    """
    values = np.asarray(values)
    if values.dtype.kind == "M":
        return values.astype("datetime64[s]")
    units, calendar = variable.text("units"), variable.text("calendar").lower()
    match = _SINCE.fullmatch(units[:200])
    unit = match.group(1).lower() if match else ""
    lengths = _SECONDS | _FRACTIONS
    unit = unit if unit in lengths else unit.removesuffix("s")
    if match is None or unit not in lengths:
        raise UnreadableError(f"has times in {units!r}, not in a unit from days to nanoseconds since a date")
    if calendar not in _CALENDARS:
        raise UnreadableError(f"has times of the calendar {calendar!r}, but only the standard calendar is understood")
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[1:7])
    origin = datetime(year, month, day, hour, minute, second) - _offset(match.group(8))
    seconds = values.astype(np.float64) * lengths[unit]
    fill = variable.attributes.get("_FillValue", variable.attributes.get("missing_value"))
    known = np.isfinite(seconds)
    if fill is not None and not isinstance(fill, str):
        known &= values != fill
    # Days as floats are inexact by microseconds.
    times = np.datetime64(origin, "s") + np.round(np.where(known, seconds, 0)).astype("timedelta64[s]")
    return np.where(known, times, np.datetime64("NaT", "s"))


def minutes_of(differences: np.ndarray) -> np.ndarray:
    """Returns differences of times as minutes, float64."""
    return differences / np.timedelta64(60, "s")


def _offset(zone: str | None) -> timedelta:
    if not zone or zone[0] not in "+-":
        return timedelta()
    digits = zone[1:].replace(":", "")
    hours, minutes = int(digits[:2]), int(digits[2:] or 0)
    return (-1 if zone[0] == "-" else 1) * timedelta(hours=hours, minutes=minutes)
