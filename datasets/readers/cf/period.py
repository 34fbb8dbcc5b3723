"""The times of a CF variable's frames, and the periods of its accumulations."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from convlstm.datasets.readers.cf.axes import Axes, Variables
from convlstm.datasets.readers.cf.time import REAL, decode_times, is_time, minutes_of
from convlstm.datasets.readers.cf.variable import Variable
from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.file_names import time_in_name
from convlstm.datasets.readers.limits import check_times

import numpy as np

# Characters of a text in which a pattern is searched for.
_TEXT = 500
TAKE_DIFFERENCES = (
    "Have their differences taken: reader.accumulated=since_start (of a forecast) or since_midnight (0 UTC of each day)"
)
"""What to do with sums since a start."""
_INTERVAL = re.compile(r"(\d+(?:\.\d+)?)\s*(s|sec|seconds?|m|min|minutes?|h|hr|hours?|d|days?)\b", re.IGNORECASE)
_DURATION = re.compile(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?", re.IGNORECASE)


class FrameTimes(NamedTuple):
    """The times of frames as the file has them, datetime64[s] of (F,), and the begins and ends of their periods.

    `calendar` is that of the file if it is none of the real world.
    """

    times: np.ndarray
    begins: np.ndarray | None = None
    ends: np.ndarray | None = None
    calendar: str = ""


def frame_times(variables: Variables, variable: Variable, axes: Axes, file_name: str) -> FrameTimes:
    """Returns the times of a variable's frames.

    Raises:
        UnreadableError: If there are none, or not one for each frame.
    """
    frames = 1 if axes.frames is None else variable.shape[variable.dimensions.index(axes.frames)]
    check_times(frames)
    time = _time_of(variables, axes.frames, frames)
    if time is None:
        named = time_in_name(file_name)
        if named is None or frames != 1:
            raise UnreadableError("has no variable of times 'since' a date, and no time in its name")
        return FrameTimes(np.array([named]))
    times = np.ravel(decode_times(time.read(), time))
    if len(times) != frames:
        raise UnreadableError(f"has {frames} frames but {len(times)} times")
    calendar = time.text("calendar").lower()[:_TEXT]
    calendar = "" if calendar in ("", *REAL) or time.dtype.kind == "M" else calendar
    start = variables.get("start_time")
    if start is not None and start.shape == time.shape and is_time(start):
        return FrameTimes(times, np.ravel(decode_times(start.read(), start)), times, calendar)
    bounds = variables.get(time.text("bounds"))
    if bounds is not None and bounds.shape == (*time.shape, 2):
        # Bounds have the units of their time.
        limits = decode_times(bounds.read(), time).reshape(-1, 2)
        return FrameTimes(times, limits[:, 0], limits[:, 1], calendar)
    return FrameTimes(times, calendar=calendar)


def periods_of(variable: Variable, found: FrameTimes) -> np.ndarray:
    """Returns the minutes of each accumulation, (F,), from the bounds, an attribute, or the step between the frames.

    Raises:
        UnreadableError: If the period is not known, or all accumulations begin at the same time.
    """
    if found.begins is not None and found.ends is not None:
        check_begins(found)
        periods = minutes_of(found.ends - found.begins)
        if not (periods > 0).all():
            periods = np.full(len(periods), _most_common(periods))
    else:
        written = _period_attribute(variable)
        step = _most_common(minutes_of(np.diff(np.sort(found.times))))
        periods = np.full(len(found.times), step if written is None else written)
    if not (periods.min() > 0 and periods.max() < math.inf):
        period = "an unknown period" if np.isnan(periods[0]) else f"{periods[0]:g} minutes"
        raise UnreadableError(f"has accumulations of {period}. Give the minutes with the option 'step_minutes'")
    return periods


def check_begins(found: FrameTimes) -> None:
    """Raises UnreadableError if sums begin at the same time and end at others."""
    assert found.begins is not None
    pairs = np.unique(np.stack([found.begins, found.ends], axis=1).astype(np.int64), axis=0)  # type: ignore[list-item]
    same = np.flatnonzero((pairs[1:, 0] == pairs[:-1, 0]) & (pairs[:-1, 1] > pairs[:-1, 0]))
    if len(same):
        raise UnreadableError(
            f"has sums of different length that begin at {pairs[same[0], 0].astype('datetime64[s]')}, the start of a "
            f"forecast or of a day, and not one for each frame. {TAKE_DIFFERENCES}"
        )


def _time_of(variables: Variables, dimension: str | None, frames: int) -> Variable | None:
    """Returns the variable of the frames' times: that of the dimension's name, else another one with as many times."""
    names = ["valid_time", "time"] if dimension is None else [dimension]
    known = [variables[name] for name in names if name in variables and is_time(variables[name])]
    others = [v for v in variables.values() if v.text("standard_name") == "time" or v.name in ("valid_time", "time")]
    # The one of the dimension's name is taken even if it does not fit, so that the user learns of it.
    fitting = [v for v in others if is_time(v) and math.prod(v.shape) == frames and v.name != "start_time"]
    return next(iter(known + fitting), None)


def _most_common(values: np.ndarray) -> float:
    unique, counts = np.unique(values, return_counts=True)
    return float(unique[counts.argmax()]) if len(unique) else float("nan")


def _period_attribute(variable: Variable) -> float | None:
    cell = re.search(r"interval:\s*([^)]*)", variable.text("cell_methods")[:_TEXT])
    written = [cell.group(1)] if cell else []
    names = ("accumulation_period", "accumulation_time", "accumulation_interval", "integration_period", "period")
    written += [variable.text(name) for name in names if name in variable.attributes]
    for text in (text[:_TEXT] for text in written):
        duration = _DURATION.fullmatch(text)
        if duration and any(duration.groups()):
            hours, minutes, seconds = (float(part or 0) for part in duration.groups())
            return hours * 60 + minutes + seconds / 60
        interval = _INTERVAL.search(text)
        if interval:
            unit = interval.group(2)[0].lower()
            return float(interval.group(1)) * {"s": 1 / 60, "m": 1.0, "h": 60.0, "d": 1440.0}[unit]
        if re.fullmatch(r"\d+(\.\d+)?", text):
            return float(text)
    return None
