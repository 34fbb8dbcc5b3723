"""Where crops are taken from frames: places with known pixels, and in training more often wet ones."""

from __future__ import annotations

import numpy as np

# Candidates for wet crops lie this share of a crop's side apart, before they are shifted at random.
_STRIDE = 4


class Crops:
    """The places of an archive's crops of one size.

    ``fixed`` is where validation and test look: the place with the largest share of known pixels, of several the
    nearest to the centre. Training draws its places from those with a share of at least ``least_known``, or as much
    as the best place has.

    Args:
        known: (H, W) whole numbers, how often each pixel is known.
        size: Height and width of a crop, at most those of the frame.
        least_known: Share of known pixels that is enough for a place, relative to a frame that is known all over.
        blocks: First rows and first columns of the blocks that wet shares are given by.
        full_shape: Height and width of the frame in the pixels of ``blocks``.
        coarsen: Their number along a pixel of ``known``. Default: ``1``.
    """

    def __init__(
        self,
        known: np.ndarray,
        size: tuple[int, int],
        *,
        least_known: float,
        blocks: tuple[np.ndarray, np.ndarray],
        full_shape: tuple[int, int],
        coarsen: int = 1,
    ):
        self.size = size
        everything = int(known.sum(dtype=np.int64))
        sums = np.zeros((known.shape[0] + 1, known.shape[1] + 1), np.int32 if everything < 1 << 31 else np.int64)
        known.cumsum(0, out=sums[1:, 1:])
        sums[1:, 1:].cumsum(1, out=sums[1:, 1:])
        height, width = size
        totals = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
        best = int(totals.max())
        rows, columns = np.nonzero(totals == best)
        off_centre = (2 * rows - totals.shape[0] + 1) ** 2 + (2 * columns - totals.shape[1] + 1) ** 2
        nearest = off_centre.argmin()
        self.fixed = (int(rows[nearest]), int(columns[nearest]))
        # How many crops it takes to cover what is known.
        full = int(known.max())
        self.count = max(1, round(everything / max(full, 1) / (height * width)))

        self._good = totals >= min(best, least_known * full * height * width)
        self._places = np.flatnonzero(self._good).astype(np.int32)
        steps = [max(1, side // _STRIDE) for side in size]
        axes = [np.unique(np.append(np.arange(0, n, step), n - 1)) for n, step in zip(totals.shape, steps, strict=True)]
        self._shift = [step // 2 for step in steps]
        self._tops, self._lefts = axes
        self._candidates = self._good[np.ix_(*axes)]
        # The share of each block in a crop by its first row, (tops, blocks), and by its first column.
        self._by_row, self._by_column = (
            _overlap(axis * coarsen, side * coarsen, first, length)
            for axis, side, first, length in zip(axes, size, blocks, full_shape, strict=True)
        )

    def draw(self, rng: np.random.Generator, wet_blocks: np.ndarray | None = None) -> tuple[int, int]:
        """Top and left of a random crop.

        Args:
            rng: Draws it.
            wet_blocks: (rows, columns), the wet share of each block: places are drawn in proportion to that of the
                crop. None: all places are drawn alike. So they are where it is dry all over.
        """
        if wet_blocks is not None:
            wet = (self._by_row @ wet_blocks @ self._by_column.T) * self._candidates
            total = wet.cumsum()
            if total[-1] > 0:
                chosen = int(np.searchsorted(total, rng.random() * total[-1], side="right"))
                row, column = divmod(min(chosen, wet.size - 1), wet.shape[1])
                return self._shifted(rng, int(self._tops[row]), int(self._lefts[column]))
        place = int(self._places[rng.integers(len(self._places))])
        return divmod(place, self._good.shape[1])

    def _shifted(self, rng: np.random.Generator, top: int, left: int) -> tuple[int, int]:
        shift = [int(rng.integers(-most, most + 1)) for most in self._shift]
        place = [
            min(max(side + by, 0), most - 1)
            for side, by, most in zip((top, left), shift, self._good.shape, strict=True)
        ]
        return (place[0], place[1]) if self._good[place[0], place[1]] else (top, left)


def _overlap(starts: np.ndarray, side: int, first: np.ndarray, length: int) -> np.ndarray:
    """The share of each block's pixels, by its first one, in spans of ``side`` pixels: (starts, blocks)."""
    last = np.append(first[1:], length)
    shared = np.minimum(last, (starts + side)[:, None]) - np.maximum(first, starts[:, None])
    return np.maximum(shared, 0) / side
