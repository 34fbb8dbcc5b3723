"""The sequences of clips: windows in time, and the order in which training draws them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence

from convlstm.datasets.clips.sources import Clip
from convlstm.datasets.clips.splitting import Assignment
from convlstm.datasets.sequence_dataset import SPLITS

import numpy as np

# Training takes its sequences from as many clips at a time as have this many bytes, in random order, then from the next
# ones. So each video is decoded once in an epoch, whatever the size of the data.
_TOGETHER = 256 << 20


def starts_of(runs: Sequence[Sequence[int]], span: int, stride: int) -> np.ndarray:
    """Returns the first frames of the windows in runs of frames.

    Args:
        runs: First frame and end of each run.
        span: Frames from the first frame of a window to its end.
        stride: Frames from the start of one window to the next.
    """
    return np.concatenate([np.zeros(0, np.int64), *(np.arange(a, b - span + 1, stride) for a, b in runs)])


def windows_by_clips(
    clips: Sequence[Clip], split: Assignment, span: int, strides: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """Returns the windows of each split, (windows, 2): the number of the clip and the first frame."""
    return {
        name: _joined((n, starts_of(clips[n].facts.runs, span, strides[name])) for n in numbers)
        for name, numbers in split.items()
    }


def windows_by_time(
    clips: Sequence[Clip], shares: Mapping[str, float], span: int, strides: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """Returns the windows of each split if every clip is cut into parts, one after the other, without common frames."""
    ends = np.cumsum([0.0, *(shares[split] for split in SPLITS)])
    windows = {}
    for name, low, high in zip(SPLITS, ends, ends[1:], strict=False):
        parts = []
        for n, clip in enumerate(clips):
            first, last = (round(float(edge) * clip.facts.frames) for edge in (low, high))
            runs = [(max(a, first), min(b, last)) for a, b in clip.facts.runs]
            parts.append((n, starts_of(runs, span, strides[name])))
        windows[name] = _joined(parts)
    return windows


def _joined(parts: Iterable[tuple[int, np.ndarray]]) -> np.ndarray:
    pairs = [np.stack([np.full(len(starts), n), starts], axis=1) for n, starts in parts]
    return np.concatenate([np.zeros((0, 2), np.int64), *pairs])


class Drawing:
    """The order in which training draws windows: one after the other, from a few clips at a time.

    Args:
        windows: (windows, 2), the number of the clip and the first frame.
        sizes: Bytes of each clip.
    """

    def __init__(self, windows: np.ndarray, sizes: Sequence[int]):
        self._windows, self._sizes = windows, np.asarray(sizes, np.float64)
        self._order = functools.lru_cache(maxsize=4)(self._ordered)

    def window(self, seed: int, epoch: int, index: int) -> tuple[int, int]:
        """Returns the clip and the first frame of a training sequence."""
        turn, place = divmod(index, len(self._windows))
        clip, start = self._windows[self._order(seed, epoch, turn)[place]].tolist()
        return clip, start

    def _ordered(self, seed: int, epoch: int, turn: int) -> np.ndarray:
        """Returns the numbers of all windows in an order drawn from the arguments."""
        rng = np.random.default_rng([seed, epoch, turn, 0])
        clips = rng.permutation(np.unique(self._windows[:, 0]))
        block = np.full(len(self._sizes), -1)
        block[clips] = np.cumsum(self._sizes[clips]) // _TOGETHER
        drawn = rng.permutation(len(self._windows))
        return drawn[np.argsort(block[self._windows[drawn, 0]], kind="stable")]
