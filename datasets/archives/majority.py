"""Decisions by the majority of what is there, which a single stray file or frame cannot turn."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")
# Seconds that a frame may be ahead of the clock: the end of its period, and clocks that differ.
_SOON = 600
# Frames that are asked whether those ahead of the clock are right.
_ASKED = 5


def most_common(values: Iterable[T], current: T | None = None) -> T | None:
    """Returns the most common value. Of equally common ones it is `current`, else the last; None if there is none."""
    values = list(values)
    counts = Counter(values)
    if not counts:
        return None
    most = max(counts.values())
    return current if counts.get(current, 0) == most else next(value for value in values[::-1] if counts[value] == most)  # type: ignore[arg-type]


def strangeness(files: Sequence[tuple[str, Hashable, int]]) -> list[int]:
    """Returns a number for each file that is higher if its grid, or else its name, is another than that of most.

    Of two frames of one time, that of the less strange file counts.

    Args:
        files: Name, grid and number of frames of each file.
    """
    of_grids: Counter[Hashable] = Counter()
    for _, grid, frames in files:
        of_grids[grid] += frames
    of_names = Counter(_kind(name) for name, _, _ in files)
    most_frames, most_files = max(of_grids.values(), default=0), max(of_names.values(), default=0)
    return [2 * (of_grids[grid] < most_frames) + (of_names[_kind(name)] < most_files) for name, grid, _ in files]


def _kind(name: str) -> str:
    """Returns a name without the numbers in it, which are times."""
    return re.sub(r"\d+", "0", name)


def credible_end(times: np.ndarray, now: np.datetime64, step: float, asked: int) -> np.datetime64:
    """Returns the time of the newest frame that is no stray of the future.

    Frames ahead of the clock belong to files of another time zone, or the clock is wrong, if they continue frames that
    are not ahead, or are most of the newest frames. Otherwise somebody has given them a wrong time. They must not count
    then: all true frames would be older than they.

    Args:
        times: datetime64[s] of (F,), rising, at least one.
        now: The clock.
        step: Minutes between frames, or NaN if they are unknown; no frame continues another then.
        asked: Number of the newest frames of which most are believed.
    """
    gap = np.timedelta64(round(90 * step) if step == step else 0, "s")
    # The frames after each gap are believed or not together.
    groups = np.split(times, np.flatnonzero(np.diff(times) > gap) + 1)
    enough = min(max(asked, _ASKED), len(times)) / 2
    soon = now + np.timedelta64(_SOON, "s")
    believed = [group for group in groups if group[0] <= soon or len(group) > enough]
    return (believed[-1] if believed else max(groups, key=len))[-1]


def is_ahead(time: np.datetime64, now: np.datetime64) -> bool:
    """Returns True if a frame is further ahead of the clock than clocks usually differ."""
    return bool(time > now + np.timedelta64(_SOON, "s"))
