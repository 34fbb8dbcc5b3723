"""The climatology of fields: the mean of each pixel at each time of the year or of the day."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.limits import check_bytes

import numpy as np

KINDS = ("month", "day", "hour", "month_hour", "day_hour")
"""What a mean is of: calendar months, days of the year (over 31 days around each), hours of the day (UTC), and both."""

_HOURS, _WINDOW = 24, 31
# Bytes of a mean of a pixel while it is computed: sum, count and mean.
_BYTES = 20
_MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October"]
_MONTHS += ["November", "December"]
# Days of a leap year before each month: 29 February has a place of its own.
_BEFORE = np.cumsum([0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30])


@dataclass(frozen=True)
class Climatology:
    """Means of fields by the time of the year or of the day.

    Args:
        kind: One of `KINDS`.
        means: (places, H, W, C), float32, NaN where no frame has a value; the number of places follows from the kind.

    Raises:
        ValueError: If the kind is unknown, or the means do not have its places.
    """

    kind: str
    means: np.ndarray

    def __post_init__(self):
        check_kind("Climatology", "kind", self.kind)
        if self.means.ndim != 4 or len(self.means) != count_of(self.kind):
            raise ValueError(
                f"[Climatology] 'means' must be ({count_of(self.kind)}, H, W, C) for {self.kind!r} but got "
                f"{self.means.shape}."
            )

    def at(self, times: np.ndarray) -> np.ndarray:
        """Returns the means (..., H, W, C) for times (...), datetime64.

        Raises:
            ValueError: If the climatology has no mean for a time.
        """
        self.check(times)
        return self.means[places_of(self.kind, times)]

    def check(self, times: np.ndarray) -> None:
        """Raises ValueError if the climatology has no mean for one of some times."""
        places = np.unique(places_of(self.kind, times))
        unknown = [n for n in places.tolist() if np.isnan(self.means[n]).all()]
        if unknown:
            raise ValueError(
                f"[Climatology] the training split has no frames of {_named(self.kind, unknown[0])}, whose mean is "
                f"needed for climatology={self.kind}. Train on a longer archive, or choose another: "
                f"{', '.join(KINDS)}."
            )

    def part(self, top: int, left: int, height: int, width: int) -> Climatology:
        """Returns the climatology of a part of the frame."""
        return Climatology(self.kind, self.means[:, top : top + height, left : left + width])


def check_kind(owner: str, name: str, kind: Any) -> None:
    """Raises ValueError if an argument is not one of `KINDS`."""
    if kind not in KINDS:
        raise ValueError(f"[{owner}] '{name}' must be one of {', '.join(KINDS)} but got {kind!r}.")


def count_of(kind: str) -> int:
    """Returns the number of means of a kind."""
    year, _, hours = kind.partition("_")
    return {"month": 12, "day": 366, "hour": _HOURS}[year] * (_HOURS if hours else 1)


def places_of(kind: str, times: np.ndarray) -> np.ndarray:
    """Returns the number of the mean for each time, an int array of the times' shape."""
    times = np.asarray(times, "datetime64[s]")
    months, days = times.astype("datetime64[M]"), times.astype("datetime64[D]")
    month = months.astype(np.int64) % 12
    hour = (times - days).astype(np.int64) // 3600
    day = _BEFORE[month] + (days - months.astype("datetime64[D]")).astype(np.int64)
    year, _, hours = kind.partition("_")
    place = {"month": month, "day": day, "hour": hour}[year]
    return place * _HOURS + hour if hours else place


def fitted(
    kind: str,
    times: np.ndarray,
    frame: Callable[[int], np.ndarray],
    shape: tuple[int, int, int],
    shown: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Climatology:
    """Returns the climatology of some frames.

    A pixel without a value at some place has its mean over all of them there.

    Args:
        kind: One of `KINDS`.
        times: Times of the frames, (F,).
        frame: Returns the values of a frame by its number, (H, W, C), NaN where missing.
        shape: `(H, W, C)`.
        shown: Goes through the numbers of the frames, with a progress bar or the like. Default: without.

    Raises:
        ValueError: If the means need too much memory.
    """
    count = count_of(kind)
    try:
        check_bytes(f"{count} means of {' x '.join(map(str, shape))}", count * int(np.prod(shape)) * _BYTES)
    except UnreadableError as error:
        raise ValueError(
            f"[Climatology] a climatology by {kind} {error}. Choose one of fewer means, such as month, or a larger "
            "'coarsen'."
        ) from error
    places = places_of(kind, times)
    sums, counts = np.zeros((count, *shape)), np.zeros((count, *shape), np.int32)
    for number in shown(range(len(times))):
        values = frame(number)
        known = np.isfinite(values)
        sums[places[number]] += np.where(known, values, 0)
        counts[places[number]] += known
    if kind.startswith("day"):
        sums, counts = (_around(array, kind) for array in (sums, counts))
    with np.errstate(invalid="ignore"):
        means = (sums / counts).astype(np.float32)
        overall = (sums.sum(0) / counts.sum(0)).astype(np.float32)
    seen = counts.reshape(count, -1).any(1)
    means[seen] = np.where(np.isnan(means[seen]), overall, means[seen])
    return Climatology(kind, means)


def _around(array: np.ndarray, kind: str) -> np.ndarray:
    """Returns the sums over the days around each day of the year."""
    days = array.reshape(366, -1, *array.shape[1:])
    reach = _WINDOW // 2
    around = np.concatenate([days[-reach:], days, days[:reach]])
    totals = np.concatenate([np.zeros((1, *days.shape[1:]), days.dtype), around]).cumsum(0)
    return (totals[_WINDOW:] - totals[:-_WINDOW]).reshape(array.shape)


def _named(kind: str, place: int) -> str:
    year, _, hours = kind.partition("_")
    place, hour = divmod(place, _HOURS) if hours else (place, 0)
    month = int(np.searchsorted(_BEFORE, place, "right")) - 1
    days = f"{place - _BEFORE[month] + 1} {_MONTHS[month]}, or of the {_WINDOW // 2} days around it"
    text = {"month": _MONTHS[place % 12], "day": days, "hour": f"{place:02d} UTC"}[year]
    return f"{text}, {hour:02d} UTC" if hours else text
