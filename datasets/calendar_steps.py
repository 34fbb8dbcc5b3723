"""Steps of calendar months, quarters and years, which are not equally long."""

from __future__ import annotations

import numpy as np

# Days of a mean month, and the most by which a step of whole months differs from its mean.
_MONTH, _SPREAD = 30.436875, 3.2
_DAY = 86400


def months_of(step: float) -> int:
    """Returns the number of months that a step of some minutes may be, or 0: 1 for 28 to 31 days, 12 for 365."""
    days = step / 1440
    if not days > 0:
        return 0
    months = round(days / _MONTH)
    return months if abs(days - months * _MONTH) <= _SPREAD else 0


def on_months(times: np.ndarray) -> bool:
    """Returns True if times (F,) are at the same point of different months: their first, middle or last day, or so."""
    months = times.astype("datetime64[M]")
    if len(times) < 2 or len(np.unique(months)) < len(times):
        return False
    days = (times.astype("datetime64[s]") - months.astype("datetime64[s]")).astype(np.int64) / _DAY
    return bool(days.max() - days.min() <= _SPREAD)


def moved(time: np.datetime64, counts: np.ndarray, step: float, times: np.ndarray) -> np.ndarray:
    """Returns the times some steps after a time, datetime64[s] of the shape of `counts`.

    If the step may be one of months, and the known times are those of a series by month, the steps are months: the
    same day and clock, the last day if the time has the last day of its month, the middle if it is its middle.

    Args:
        time: The time.
        counts: Numbers of steps, negative ones for the past.
        step: Minutes of a step.
        times: Known times of the series, (F,).
    """
    time, counts = time.astype("datetime64[s]"), np.asarray(counts)
    months = months_of(step) if on_months(times) else 0
    if not months:
        return time + counts * np.timedelta64(round(step * 60), "s")
    first, length = _month(np.asarray(time, "datetime64[M]"))
    offset = int((time - first).astype(np.int64))
    firsts, lengths = _month(time.astype("datetime64[M]") + counts * months)
    if 2 * offset == length:
        return firsts + (lengths // 2).astype("timedelta64[s]")
    from_end = length - offset
    if from_end <= _DAY:
        return firsts + (lengths - from_end).astype("timedelta64[s]")
    clock = offset % _DAY
    return firsts + np.minimum(offset, lengths - _DAY + clock).astype("timedelta64[s]")


def _month(month: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first second of months, and their seconds."""
    first = month.astype("datetime64[s]")
    return first, ((month + 1).astype("datetime64[s]") - first).astype(np.int64)
