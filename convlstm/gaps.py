"""Missing pixels of input frames and their interpolation in time, alike in training, evaluation and forecasts."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Missing:
    """The missing parts of sequences of frames.

    Attributes:
        frames: Indices of the frames without any value.
        share: Share of missing pixels, in [0, 1].
        never: Pixels that are missing in all frames, bool, (N, H, W, C).
    """

    frames: tuple[int, ...] = ()
    share: float = 0.0
    never: np.ndarray = field(default_factory=lambda: np.zeros((1, 1, 1, 1), bool))

    @property
    def everything(self) -> bool:
        """True if all pixels of all frames are missing."""
        return self.share == 1.0


def fill(frames: np.ndarray, absent: float = 0.0) -> tuple[np.ndarray, Missing]:
    """Returns frames without gaps, and their missing parts.

    A missing pixel is interpolated linearly in time between the nearest frames before and after that have it. At the
    ends it gets the value of the nearest such frame.

    Args:
        frames: (N, T, H, W, C); NaN or inf means missing.
        absent: Value of a pixel that no frame has. Default: 0.0.
    """
    known = np.isfinite(frames)
    if known.all():
        N, _, *shape = frames.shape
        return frames, Missing(never=np.zeros((N, *shape), bool))
    empty = tuple(int(t) for t in np.flatnonzero(~known.any(axis=(0, 2, 3, 4))))
    never = ~known.any(axis=1)
    missing = Missing(empty, 1 - float(known.mean()), never)
    filled = np.where(known, frames, np.float32(absent))
    T = frames.shape[1]
    # The last known frame at or before each one, or -1, and the first at or after it, or T.
    index = np.arange(T).reshape(1, T, 1, 1, 1)
    before = np.maximum.accumulate(np.where(known, index, -1), axis=1)
    after = np.minimum.accumulate(np.where(known, index, T)[:, ::-1], axis=1)[:, ::-1]
    gaps = ~known & ~never[:, None]
    n, t, h, w, c = np.nonzero(gaps)
    a, b = before[gaps], after[gaps]
    a, b = np.where(a < 0, b, a), np.where(b == T, a, b)
    weight = np.where(a == b, 0, (t - a) / np.maximum(b - a, 1)).astype(np.float32)
    filled[gaps] = (1 - weight) * filled[n, a, h, w, c] + weight * filled[n, b, h, w, c]
    return filled, missing
