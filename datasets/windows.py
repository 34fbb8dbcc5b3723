"""Windows of frames in series with gaps, and their split by time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

# Radars do not keep time to the second: how far a difference may be from the step, as a share of it.
_TOLERANCE = 0.1


class Timed(Protocol):
    """What has times: an :class:`~convlstm.datasets.archive.Archive`."""

    times: np.ndarray
    event: np.ndarray
    step: float


@dataclass(frozen=True)
class Windows:
    """Windows in the order of time. By window: the number of its ``series``, ``start``, its first frame in that, and
    the times of its ``first`` and ``last`` frame, datetime64[s].
    """

    series: np.ndarray
    start: np.ndarray
    first: np.ndarray
    last: np.ndarray

    @classmethod
    def of(cls, series: Iterable[tuple[int, Timed]], length: int, stride: int) -> Windows:
        """All windows of ``length`` frames of numbered series, see :func:`window_starts`."""
        number, start, first, last = [], [], [], []
        for n, one in series:
            starts = window_starts(one.times, one.event, one.step, length, stride)
            number.append(np.full(len(starts), n))
            start.append(starts)
            first.append(one.times[starts])
            last.append(one.times[starts + length - 1])
        windows = cls(*(np.concatenate(parts) for parts in (number, start, first, last)))
        return windows.take(np.argsort(windows.first, kind="stable"))

    def take(self, which: np.ndarray) -> Windows:
        """The windows of these numbers."""
        return Windows(self.series[which], self.start[which], self.first[which], self.last[which])

    def __len__(self) -> int:
        return len(self.start)


def step_of(times: np.ndarray, event: np.ndarray) -> float:
    """Minutes between frames: the most common difference within an event, the smallest of these; NaN without any.

    Args:
        times: datetime64[s] of (F,), rising within each event.
        event: int of (F,), the frames of each event together.
    """
    seconds = np.diff(times).astype(np.int64)[np.diff(event) == 0]
    if len(seconds) == 0:
        return float("nan")
    values, counts = np.unique(seconds, return_counts=True)
    return float(values[counts.argmax()]) / 60


def breaks(times: np.ndarray, event: np.ndarray, step: float) -> np.ndarray:
    """Where frame i + 1 does not follow frame i: (F - 1,) bool. A tenth of the ``step`` (minutes) is no matter."""
    seconds = np.diff(times).astype(np.int64)
    return (np.diff(event) != 0) | ~(np.abs(seconds - step * 60) <= _TOLERANCE * step * 60)


def window_starts(times: np.ndarray, event: np.ndarray, step: float, length: int, stride: int = 1) -> np.ndarray:
    """First frames of all windows of ``length`` frames, each a ``step`` after the one before: (windows,) int.

    ``stride`` is the number of frames from one start to the next, counted from the first frame after a gap.
    """
    first = np.concatenate([[0], np.flatnonzero(breaks(times, event, step)) + 1])
    end = np.append(first[1:], len(times))
    runs = [np.arange(a, b - length + 1, stride) for a, b in zip(first.tolist(), end.tolist(), strict=True)]
    return np.concatenate(runs).astype(np.int64)


def split_by_time(windows: Windows, shares: Sequence[float], gap: np.timedelta64) -> list[Windows] | None:
    """Blocks of windows that follow each other in time, at least ``gap`` apart: from last frame to first frame.

    The windows between the blocks are left out; the shares are of the others. Every block has a window at least.

    Args:
        windows: In the order of time.
        shares: Of the blocks, each positive, in the order of time; their sum does not matter.
        gap: Least time between the frames of two blocks.

    Returns:
        The blocks, or None where there are too few windows.
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
        # What is too much for the shares to see goes to the last block.
        blocks[-1] = np.arange(blocks[-1][0], len(windows))
        return blocks

    # The more windows are to be shared out, the later the last block starts and the more it needs.
    low, high = 0, len(windows)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if cut(middle) is not None else (low, middle - 1)
    found = cut(low)
    return None if found is None else [windows.take(block) for block in found]


def split_by_dates(windows: Windows, dates: Sequence[np.datetime64]) -> list[Windows]:
    """Blocks of the windows before the first date, between it and the next, ..., and from the last date on.

    A window that a date cuts in two is left out. Blocks can be empty.
    """
    begins = [np.datetime64("NaT"), *dates]
    ends = [*dates, np.datetime64("NaT")]
    # Comparisons with NaT, where there is no date, are false.
    return [
        windows.take(np.flatnonzero(~(windows.first < begin) & ~(windows.last >= end)))
        for begin, end in zip(begins, ends, strict=True)
    ]
