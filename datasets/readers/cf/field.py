"""The field of rain or reflectivity in a CF file: its frames, times, units and grid."""

from __future__ import annotations

import base64
import math
import re
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

from convlstm.datasets.readers.base import Contents, without_infinity
from convlstm.datasets.readers.cf.grid import find_grid, spatial
from convlstm.datasets.readers.cf.time import decode_times, minutes_of
from convlstm.datasets.readers.cf.variable import Variable
from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.file_names import time_in_name
from convlstm.datasets.readers.grid import field_of
from convlstm.datasets.readers.limits import check_frame, check_times

import numpy as np


class Field(NamedTuple):
    """A field of rain or reflectivity, and the way from its stored numbers to frames."""

    name: str
    attributes: Mapping[str, Any]
    contents: Contents
    frame_bytes: int  # of a frame as stored
    factor: float  # from the variable's units to those of the grid
    flips: tuple[int, ...]  # axes of a frame to flip
    along: int | None  # the dimension that counts the frames
    block: int  # frames that are stored together

    def frame(self, stored: np.ndarray) -> np.ndarray:
        """Returns rows and columns of values from the stored numbers of one frame."""
        values = decode(stored, self.attributes, self.factor)
        return np.flip(without_infinity(values, self.contents.grid.units), self.flips)

    def selection(self, frames: int | slice) -> tuple[int | slice, ...]:
        """Returns the index of frames in the array; all other dimensions before the rows have size 1."""
        leading = 0 if self.along is None else self.along + 1
        return tuple(frames if number == self.along else 0 for number in range(leading))


# Factors to mm/h by unit, as UDUNITS or people write it, in lower case without spaces, carets and stars.
_RATES = {
    "mm/h": 1, "mm/hr": 1, "mm/hour": 1, "mmh-1": 1, "mmhr-1": 1, "mmhour-1": 1, "kgm-2h-1": 1, "kg/m2/h": 1, "mmph": 1,
    "mms-1": 3600, "mm/s": 3600, "kgm-2s-1": 3600, "kg/m2/s": 3600, "kg/(m2s)": 3600, "kg/m2s": 3600,
    "ms-1": 3.6e6, "m/s": 3.6e6, "mmday-1": 1 / 24, "mm/day": 1 / 24, "mmd-1": 1 / 24,
}  # fmt: skip
_AMOUNTS = {"mm": 1, "millimeter": 1, "millimeters": 1, "millimetre": 1, "kgm-2": 1, "kg/m2": 1, "m": 1000}
# Characters of a text in which a pattern is searched for: the time for some patterns grows with their square.
_TEXT = 500
_RAIN = re.compile(r"rain|precip|prcp|reflectivity|dbz", re.IGNORECASE)


def find_field(
    variables: Mapping[str, Variable],
    *,
    file_name: str,
    variable: str | None = None,
    units: str | None = None,
    step_minutes: float | None = None,
) -> Field:
    """Returns the field of rain or reflectivity in a file, with its times and its grid.

    Raises:
        UnreadableError: If there is no such field, there is more than one, or needed information is missing.
    """
    name = _choose(variables, variable)
    field = variables[name]
    check_frame(field.shape[-2:])
    kind, factor = units_of(field.text("units") if units is None else units)
    if kind == "raw" and units not in (None, "raw"):
        raise UnreadableError(f"cannot have the units {units!r}: 'units' must be mm/h, mm, dBZ or the like, or raw")
    along = _along(variables, field)
    times, periods = _times(variables, field, along, file_name)
    if kind == "mm":
        minutes = _period(field, times, periods) if step_minutes is None else step_minutes
        kind, factor = "mm/h", factor * 60 / minutes
    grid, flips = find_grid(variables, field, field_of(kind))
    return Field(
        name=name,
        attributes=field.attributes,
        contents=Contents(times, grid),
        frame_bytes=field.dtype.itemsize * grid.shape[0] * grid.shape[1],
        factor=factor,
        flips=flips,
        along=along,
        block=max(1, field.chunks[along]) if field.chunks and along is not None else 1,
    )


def units_of(text: str) -> tuple[str, float]:
    """Returns `"mm/h"`, `"mm"`, `"dBZ"` or `"raw"`, and the factor that converts values in `text` to it."""
    plain = re.sub(r"[\s^*.]|\{.*\}", "", text[:_TEXT]).lower()
    if plain in _RATES:
        return "mm/h", float(_RATES[plain])
    if plain in _AMOUNTS:
        return "mm", float(_AMOUNTS[plain])
    return ("dBZ", 1.0) if plain == "dbz" else ("raw", 1.0)


def decode(stored: np.ndarray, attributes: Mapping[str, Any], factor: float = 1.0) -> np.ndarray:
    """Returns float32 values of stored numbers: scaled, and NaN where the attributes call them missing."""
    if str(attributes.get("_Unsigned", "")).lower() == "true" and stored.dtype.kind == "i":
        stored = stored.view(f"u{stored.dtype.itemsize}")
    missing = np.isnan(stored) if stored.dtype.kind == "f" else np.zeros(stored.shape, bool)
    with np.errstate(invalid="ignore", over="ignore"):  # a code may lie outside the range of the dtype
        codes = [_codes(attributes.get(name), stored.dtype) for name in ("_FillValue", "missing_value")]
    for code in np.concatenate(codes):
        missing |= stored == code
    low, high = (attributes.get(f"valid_{end}") for end in ("min", "max"))
    low, high = attributes.get("valid_range", (low, high))
    if low is not None:
        missing |= stored < np.asarray(low).astype(stored.dtype)
    if high is not None:
        missing |= stored > np.asarray(high).astype(stored.dtype)
    scale, offset = (float(attributes.get(name, default)) for name, default in (("scale_factor", 1), ("add_offset", 0)))
    values = stored * np.float32(scale * factor) + np.float32(offset * factor)
    values[missing] = np.nan
    return values.astype(np.float32, copy=False)


def _codes(value: Any, dtype: np.dtype) -> np.ndarray:
    """Returns fill values as numbers of `dtype`; xarray writes those of floats as base64 into Zarr 3."""
    if value is None:
        return np.zeros(0, dtype)
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            value = struct.unpack("<d", base64.standard_b64decode(value))[0]
    # The code of unsigned numbers may be stored as the signed number of the same bits.
    return np.ravel(np.asarray(value).astype(dtype))


def _choose(variables: Mapping[str, Variable], wanted: str | None) -> str:
    frames = {name: variable for name, variable in variables.items() if _has_frames(name, variable, variables)}
    if wanted is not None:
        if wanted not in frames:
            raise UnreadableError(f"has no frames {wanted!r}; it has {', '.join(frames) or 'none'}")
        return wanted
    # Beside a stack, a field without times is the height of the ground or the like.
    stacks = {name: variable for name, variable in frames.items() if _along(variables, variable) is not None}
    frames = stacks or frames
    known = [name for name, variable in frames.items() if units_of(variable.text("units"))[0] != "raw"]
    for candidates in (
        # Fields named after rain come before fields that may be a height in m or a wind in m/s.
        [n for n in known if _RAIN.search(f"{n} {frames[n].text('standard_name')} {frames[n].text('long_name')}")],
        known,
        list(frames),
    ):
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            raise UnreadableError(f"has several fields: {', '.join(candidates)}. Choose one by the option 'variable'")
    raise UnreadableError(f"has no field of rows and columns; it has {', '.join(variables) or 'nothing'}")


def _has_frames(name: str, variable: Variable, variables: Mapping[str, Variable]) -> bool:
    """Returns True for a field on a map, False for coordinates, their bounds, and fields of further dimensions."""
    if len(variable.dimensions) < 2 or variable.dtype.kind not in "iuf" or name in variable.dimensions:
        return False
    *leading, rows, columns = variable.dimensions
    if rows == columns or not (spatial(variables, rows, "y") and spatial(variables, columns, "x")):
        return False
    if any(other.text("bounds") == name for other in variables.values()):
        return False
    if variable.text("standard_name") in ("latitude", "longitude") or "degrees" in variable.text("units"):
        return False
    return sum(size > 1 for size in variable.shape[:-2]) <= 1 and len(leading) <= 3


def _along(variables: Mapping[str, Variable], field: Variable) -> int | None:
    """Returns the dimension that counts the frames: one longer than 1, else a dimension of time, else None."""
    leading = list(enumerate(zip(field.dimensions[:-2], field.shape[:-2], strict=True)))
    long = [number for number, (_, size) in leading if size > 1]
    return next(iter(long + [number for number, (name, _) in leading if _is_time(variables, name)]), None)


def _is_time(variables: Mapping[str, Variable], name: str) -> bool:
    coordinate = variables.get(name)
    return name.lower() == "time" or (coordinate is not None and " since " in coordinate.text("units"))


def _times(
    variables: Mapping[str, Variable], field: Variable, along: int | None, file_name: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns the ends of the frames, and their periods in minutes if the file gives them."""
    frames = 1 if along is None else field.shape[along]
    check_times(frames)
    names = ["valid_time", "time"] if along is None else [field.dimensions[along]]
    names += [name for name, v in variables.items() if v.text("standard_name") == "time" and v.text("units")]
    time = next((variables[name] for name in names if name in variables), None)
    if time is None:
        named = time_in_name(file_name)
        if named is None or frames != 1:
            raise UnreadableError("has no variable of times 'since' a date, and no time in its name")
        return np.array([named]), None
    ends = np.ravel(decode_times(time.read(), time))
    if len(ends) != frames:
        raise UnreadableError(f"has {frames} frames but {len(ends)} times")
    start = variables.get("start_time")
    if start is not None and start.shape == time.shape:
        return ends, minutes_of(ends - np.ravel(decode_times(start.read(), start)))
    bounds = variables.get(time.text("bounds"))
    if bounds is not None and bounds.shape == (*time.shape, 2):
        # Bounds have the units of their time.
        limits = decode_times(bounds.read(), time).reshape(-1, 2)
        return limits[:, 1], minutes_of(limits[:, 1] - limits[:, 0])
    return ends, None


_INTERVAL = re.compile(r"(\d+(?:\.\d+)?)\s*(s|sec|seconds?|m|min|minutes?|h|hr|hours?)\b", re.IGNORECASE)
_DURATION = re.compile(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?", re.IGNORECASE)


def _period(field: Variable, times: np.ndarray, periods: np.ndarray | None) -> float:
    """Returns the minutes of accumulation, from the bounds, an attribute, or the step between the frames."""
    if periods is not None and len(periods):
        period = _most_common(periods)
    else:
        written = _period_attribute(field)
        period = _most_common(minutes_of(np.diff(np.sort(times)))) if written is None else written
    if not 0 < period < math.inf:
        raise UnreadableError(
            f"has accumulations of {'an unknown period' if np.isnan(period) else f'{period:g} minutes'}. Give the "
            "minutes with the option 'step_minutes'"
        )
    return period


def _most_common(values: np.ndarray) -> float:
    unique, counts = np.unique(values, return_counts=True)
    return float(unique[counts.argmax()]) if len(unique) else float("nan")


def _period_attribute(field: Variable) -> float | None:
    cell = re.search(r"interval:\s*([^)]*)", field.text("cell_methods")[:_TEXT])
    written = [cell.group(1)] if cell else []
    names = ("accumulation_period", "accumulation_time", "accumulation_interval", "integration_period", "period")
    written += [field.text(name) for name in names if name in field.attributes]
    for text in (text[:_TEXT] for text in written):
        duration = _DURATION.fullmatch(text)
        if duration and any(duration.groups()):
            hours, minutes, seconds = (float(part or 0) for part in duration.groups())
            return hours * 60 + minutes + seconds / 60
        interval = _INTERVAL.search(text)
        if interval:
            unit = interval.group(2)[0].lower()
            return float(interval.group(1)) * {"s": 1 / 60, "m": 1.0, "h": 60.0}[unit]
        if re.fullmatch(r"\d+(\.\d+)?", text):
            return float(text)
    return None
