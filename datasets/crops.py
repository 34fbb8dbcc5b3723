"""The positions of crops in frames: those with known pixels, and in training more often wet ones."""

from __future__ import annotations

import numpy as np

# Candidates for wet crops lie 1/4 of a crop's side apart, before they are shifted at random.
_STRIDE = 4


class Crops:
    """The positions of an archive's crops of one size.

    Args:
        known: (H, W) whole numbers, how often each pixel is known.
        size: Height and width of a crop, at most those of the frame.
        least_known: Share of known pixels that is enough for a position in training, relative to a frame of which all
            pixels are known. If no position has it, the share of the best position is enough.
        blocks: First rows and first columns of the blocks of wet shares.
        full_shape: Height and width of the frame in the pixels of `blocks`.
        coarsen: Number of these pixels along a pixel of `known`. Default: 1.

    Attributes:
        size: Height and width of a crop.
        fixed: Top and left of the crops of validation and test: the position with the largest share of known pixels,
            and the nearest to the centre if there are several.
        count: Number of crops that cover the known part of a frame.
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
        full = int(known.max())
        self.count = max(1, round(everything / max(full, 1) / (height * width)))

        self._good = totals >= min(best, least_known * full * height * width)
        self._positions = np.flatnonzero(self._good).astype(np.int32)
        steps = [max(1, side // _STRIDE) for side in size]
        axes = [np.unique(np.append(np.arange(0, n, step), n - 1)) for n, step in zip(totals.shape, steps, strict=True)]
        self._shift = [step // 2 for step in steps]
        self._tops, self._lefts = axes
        self._candidates = self._good[np.ix_(*axes)]
        # The share of each block in a crop, by the crop's first row, (tops, blocks), and by its first column.
        self._by_row, self._by_column = (
            _overlap(axis * coarsen, side * coarsen, first, length)
            for axis, side, first, length in zip(axes, size, blocks, full_shape, strict=True)
        )

    def draw(self, rng: np.random.Generator, wet_blocks: np.ndarray | None = None) -> tuple[int, int]:
        """Returns top and left of a random crop.

        Args:
            rng: Generator that draws it.
            wet_blocks: (rows, columns), the wet share of each block: positions are drawn in proportion to the wet share
                of their crop. With None, or if everything is dry, all positions are equally likely. Default: None.
        """
        if wet_blocks is not None:
            wet = (self._by_row @ wet_blocks @ self._by_column.T) * self._candidates
            total = wet.cumsum()
            if total[-1] > 0:
                chosen = int(np.searchsorted(total, rng.random() * total[-1], side="right"))
                row, column = divmod(min(chosen, wet.size - 1), wet.shape[1])
                return self._shifted(rng, int(self._tops[row]), int(self._lefts[column]))
        position = int(self._positions[rng.integers(len(self._positions))])
        return divmod(position, self._good.shape[1])

    def _shifted(self, rng: np.random.Generator, top: int, left: int) -> tuple[int, int]:
        shift = [int(rng.integers(-most, most + 1)) for most in self._shift]
        row, column = (
            min(max(side + by, 0), most - 1)
            for side, by, most in zip((top, left), shift, self._good.shape, strict=True)
        )
        return (row, column) if self._good[row, column] else (top, left)


def _overlap(starts: np.ndarray, side: int, first: np.ndarray, length: int) -> np.ndarray:
    """Returns the share of each block's pixels in spans of `side` pixels from each of `starts`: (starts, blocks)."""
    last = np.append(first[1:], length)
    shared = np.minimum(last, (starts + side)[:, None]) - np.maximum(first, starts[:, None])
    return np.maximum(shared, 0) / side
