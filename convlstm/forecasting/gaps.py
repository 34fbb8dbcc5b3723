"""Missing pixels of the frames that a forecast is made from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Missing:
    """What is missing from sequences of frames.

    Attributes:
        frames: Numbers, from 0 on, of the frames without any value.
        share: Of all pixels that have no value, in [0, 1].
        never: bool, (N, H, W, C): pixels that no frame has.
    """

    frames: tuple[int, ...] = ()
    share: float = 0.0
    never: np.ndarray = field(default_factory=lambda: np.zeros((1, 1, 1, 1), bool))

    @property
    def everything(self) -> bool:
        """Whether there is no value at all."""
        return self.share == 1.0


def fill(frames: np.ndarray) -> tuple[np.ndarray, Missing]:
    """Frames without gaps, and what was missing.

    A pixel that is missing in a frame is interpolated linearly in time between the frames before and after that have
    it, or is that of the nearest one at the ends. A pixel that none has is 0.

    Args:
        frames: (N, T, H, W, C), NaN or infinite where missing.
    """
    known = np.isfinite(frames)
    if known.all():
        N, _, *shape = frames.shape
        return frames, Missing(never=np.zeros((N, *shape), bool))
    empty = tuple(int(t) for t in np.flatnonzero(~known.any(axis=(0, 2, 3, 4))))
    never = ~known.any(axis=1)
    missing = Missing(empty, 1 - float(known.mean()), never)
    filled = np.where(known, frames, np.float32(0))
    T = frames.shape[1]
    # The last known frame at or before each one and the first at or after it; -1 and T where there is none.
    place = np.arange(T).reshape(1, T, 1, 1, 1)
    before = np.maximum.accumulate(np.where(known, place, -1), axis=1)
    after = np.minimum.accumulate(np.where(known, place, T)[:, ::-1], axis=1)[:, ::-1]
    gaps = ~known & ~never[:, None]
    n, t, h, w, c = np.nonzero(gaps)
    a, b = before[gaps], after[gaps]
    a, b = np.where(a < 0, b, a), np.where(b == T, a, b)
    share = np.where(a == b, 0, (t - a) / np.maximum(b - a, 1)).astype(np.float32)
    filled[gaps] = (1 - share) * filled[n, a, h, w, c] + share * filled[n, b, h, w, c]
    return filled, missing
