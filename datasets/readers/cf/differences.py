"""Sums since a start, such as that of a forecast, as amounts from one time to the next."""

from __future__ import annotations

from typing import NamedTuple

from convlstm.datasets.readers.cf.axes import Variables
from convlstm.datasets.readers.cf.period import FrameTimes
from convlstm.datasets.readers.cf.time import decode_times, is_time, minutes_of
from convlstm.datasets.readers.errors import UnreadableError

import numpy as np

SINCE = ("since_start", "since_midnight")
"""Values of the readers' option `accumulated`: sums since the start of a forecast, and since 0 UTC of each day."""

# Falls from sum to sum in mm that packing makes: a field of 16 bits with 500 mm counts in steps of 0.01 mm.
ROUNDING = 0.1


class Differences(NamedTuple):
    """Frames that are differences of sums.

    Attributes:
        times: Ends of the periods, datetime64[s] of (F,), rising.
        sums: Number of the sum at the end of each period, (F,).
        bases: Number of the sum at its begin, (F,), or -1 if the sum begins there.
        minutes: Lengths of the periods, (F,).
    """

    times: np.ndarray
    sums: np.ndarray
    bases: np.ndarray
    minutes: np.ndarray


def differences(variables: Variables, found: FrameTimes, since: str) -> Differences:
    """Returns the periods between the times of sums; a sum at the start itself, which is 0, has none.

    The start is that of the time's bounds or the file's forecast reference time. If there is none, the first sum is
    only a base.

    Args:
        variables: All variables of the file.
        found: The times of the sums.
        since: One of `SINCE`.

    Raises:
        UnreadableError: If the bounds give each sum a period of its own, or there is no period.
    """
    ends = found.times if found.ends is None else found.ends
    order = np.argsort(ends, kind="stable")
    ends, begins = ends[order], _begins(variables, found, ends, since)[order]
    if len(ends) > 1 and found.begins is not None and since == SINCE[0] and (begins[1:] >= ends[:-1]).all():
        raise UnreadableError(
            "has sums with a period of their own by the bounds of their times, not sums since a start. Leave out the "
            "option 'accumulated'"
        )
    # Two that are not known are not the same.
    known = ~np.isnat(begins)
    goes_on = np.append(False, (begins[1:] == begins[:-1]) | (~known[1:] & ~known[:-1]))
    starts = np.where(goes_on, np.append(ends[:1], ends[:-1]), begins)
    minutes = minutes_of(ends - starts)
    used = np.flatnonzero(~np.isnat(starts) & (minutes > 0))
    if len(used) == 0:
        raise UnreadableError(
            "has no two sums since the same start, of which the difference could be taken: the sums of several files "
            "must be in one, as 'cat *.grib > all.grib' and xarray's open_mfdataset make it"
        )
    bases = np.where(goes_on, np.append(-1, order[:-1]), -1)
    return Differences(ends[used], order[used], bases[used], minutes[used])


def _begins(variables: Variables, found: FrameTimes, ends: np.ndarray, since: str) -> np.ndarray:
    """Returns the start of each sum, NaT where it is unknown."""
    if since == SINCE[1]:
        # The sum of 0 UTC is that of the day before.
        return (ends - np.timedelta64(1, "s")).astype("datetime64[D]").astype("datetime64[s]")
    if found.begins is not None:
        return found.begins
    for variable in variables.values():
        if variable.text("standard_name") == "forecast_reference_time" and is_time(variable):
            starts = np.ravel(decode_times(variable.read(), variable))
            if len(starts) in (1, len(ends)):
                return np.broadcast_to(starts, ends.shape)
    return np.full(len(ends), np.datetime64("NaT", "s"))


def difference(values: np.ndarray, base: np.ndarray, rounding: float) -> np.ndarray:
    """Returns the amounts between two sums; falls of at most `rounding` are none."""
    amounts = values - base
    return np.where((amounts < 0) & (amounts >= -rounding), np.float32(0), amounts)
