"""Sums that do not depend on the order of their terms."""

from __future__ import annotations

import numpy as np


class ExactSum:
    """A sum of float64 arrays, kept as two numbers: the rounded sum, and the error of its rounding.

    This gives twice the digits of a double. Integers are added exactly far beyond 2^53. Sums of other numbers are the
    same to the last bit of a double for any order and grouping of the numbers.

    Args:
        shape: Shape of the sum.

    Reference:
        Knuth, "The Art of Computer Programming", volume 2, section 4.2.2, theorem B.
    """

    def __init__(self, shape: tuple[int, ...]):
        self._high, self._low = np.zeros(shape), np.zeros(shape)

    def add(self, x: np.ndarray, start: int = 0) -> None:
        """Adds `x` to the rows from `start` on."""
        rows = slice(start, start + len(x))
        with np.errstate(invalid="ignore", over="ignore"):
            a = self._high[rows]
            total = a + x
            b = total - a
            lost = (a - (total - b)) + (x - b)
        self._high[rows] = total
        # An infinite sum has lost nothing, but the difference of infinities is NaN.
        self._low[rows] += np.where(np.isfinite(total), lost, 0)

    @property
    def value(self) -> np.ndarray:
        """The sum, float64."""
        return self._high + self._low
