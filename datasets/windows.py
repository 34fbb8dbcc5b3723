"""Windows of frames in series with gaps, and their split by time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

# The difference from the step that still counts as one step, as a share of it: radars do not keep time to the second.
TOLERANCE = 0.1


class Timed(Protocol):
    """A series with times, such as `convlstm.datasets.archives.archive.Archive`."""

    times: np.ndarray
    event: np.ndarray
    step: float


@dataclass(frozen=True)
class Windows:
    """Windows in the order of time.

    Attributes:
        series: Number of each window's series.
        start: Number of each window's first frame in its series.
        first, last: Times of each window's first and last frame, datetime64[s].
    """

    series: np.ndarray
    start: np.ndarray
    first: np.ndarray
    last: np.ndarray

    @classmethod
    def of(cls, series: Iterable[tuple[int, Timed, int]], length: int, stride: int) -> Windows:
        """Returns all windows of numbered series, each with the number `every`, as `window_starts` finds them."""
        number, start, first, last = [], [], [], []
        for n, one, every in series:
            starts = window_starts(one.times, one.event, one.step, length, stride, every)
            number.append(np.full(len(starts), n))
            start.append(starts)
            first.append(one.times[starts])
            last.append(one.times[starts + (length - 1) * every])
        windows = cls(*(np.concatenate(parts) for parts in (number, start, first, last)))
        return windows.take(np.argsort(windows.first, kind="stable"))

    def take(self, which: np.ndarray) -> Windows:
        """Returns the windows of these numbers."""
        return Windows(self.series[which], self.start[which], self.first[which], self.last[which])

    def __len__(self) -> int:
        return len(self.start)


def step_of(times: np.ndarray, event: np.ndarray) -> float:
    """Returns the minutes between frames: the most common difference within an event, or NaN if there is none.

    If several differences are equally common, it is the smallest of them.

    Args:
        times: datetime64[s] of (F,), rising within each event.
        event: int of (F,); the frames of an event follow each other.
    """
    seconds = np.diff(times).astype(np.int64)[np.diff(event) == 0]
    if len(seconds) == 0:
        return float("nan")
    values, counts = np.unique(seconds, return_counts=True)
    return float(values[counts.argmax()]) / 60


def breaks(times: np.ndarray, event: np.ndarray, step: float) -> np.ndarray:
    """Returns True for each frame that the next one does not follow by a `step` (minutes): (F - 1,) bool."""
    seconds = np.diff(times).astype(np.int64)
    return (np.diff(event) != 0) | ~(np.abs(seconds - step * 60) <= TOLERANCE * step * 60)


def window_starts(
    times: np.ndarray, event: np.ndarray, step: float, length: int, stride: int = 1, every: int = 1
) -> np.ndarray:
    """Returns the first frames of all windows of `length` frames in series without a gap: (windows,) int.

    Args:
        times, event, step: As for `breaks`.
        length: Frames of a window.
        stride: Frames from one start to the next, counted from the first frame after a gap. Default: 1.
        every: Frames of the series from one frame of a window to the next. Default: 1.
    """
    span = (length - 1) * every + 1
    first = np.concatenate([[0], np.flatnonzero(breaks(times, event, step)) + 1])
    end = np.append(first[1:], len(times))
    runs = [np.arange(a, b - span + 1, stride) for a, b in zip(first.tolist(), end.tolist(), strict=True)]
    return np.concatenate(runs).astype(np.int64)


def split_by_time(windows: Windows, shares: Sequence[float], gap: np.timedelta64) -> list[Windows] | None:
    """Returns blocks of windows that follow each other in time, at least `gap` apart from last frame to first frame.

    The windows between the blocks are left out, and the shares are of the remaining ones. Every block has at least one
    window.

    Args:
        windows: Windows in the order of time.
        shares: Shares of the blocks, each positive, in the order of time; their sum does not matter.
        gap: Least time between the frames of two blocks.

    Returns:
        The blocks, or None if there are too few windows.
    """
    weights = np.asarray(shares, float) / np.sum(shares)
    latest = np.maximum.accumulate(windows.last)

    def cut(total: int) -> list[np.ndarray] | None:
        blocks, start = [], 0
        for share in weights:
            count = max(1, round(share * total))
            if start + count > len(windows):
                return None
            blocks.append(np.arange(start, start + count))
            start = int(np.searchsorted(windows.first, latest[start + count - 1] + gap))
        # Windows that rounding leaves over go to the last block.
        blocks[-1] = np.arange(blocks[-1][0], len(windows))
        return blocks

    # More windows to share out need more room, as the last block starts later: bisection finds the most that fit.
    low, high = 0, len(windows)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if cut(middle) is not None else (low, middle - 1)
    blocks = cut(low)
    return None if blocks is None else [windows.take(block) for block in blocks]


def split_by_dates(windows: Windows, dates: Sequence[np.datetime64]) -> list[Windows]:
    """Returns blocks of the windows before the first date, between it and the next, ..., and from the last date on.

    A window that a date cuts in two is left out. Blocks can be empty.
    """
    begins = [np.datetime64("NaT", "s"), *dates]
    ends = [*dates, np.datetime64("NaT", "s")]
    # Comparisons with NaT, which stands for no date, are false.
    return [
        windows.take(np.flatnonzero(~(windows.first < begin) & ~(windows.last >= end)))
        for begin, end in zip(begins, ends, strict=True)
    ]
