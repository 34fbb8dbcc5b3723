"""Where and how often it rains: counts over frames (n, H, W) of booleans, a row of the result per frame."""

from __future__ import annotations

import numpy as np


def contingency(forecast: np.ndarray, target: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Hits, misses, false alarms and correct negatives of every frame.

    Args:
        forecast: (n, H, W), where the event was forecast; False where not known.
        target: Of the same shape, where it happened; False where not known.
        known: Of the same shape, which pixels count.

    Returns:
        (n, 4), float64.
    """
    hits, f, t, n = (_ones(x) for x in (forecast & target, forecast, target, known))
    return np.stack([hits, t - hits, f - hits, n - f - t + hits], axis=1)


def _ones(x: np.ndarray) -> np.ndarray:
    # Row by row: twenty times faster than a sum along an axis.
    return np.array([np.count_nonzero(row) for row in x], np.float64)


def pooled(x: np.ndarray, size: int) -> np.ndarray:
    """Whether any pixel is set in each square of `size` x `size`, side by side from the upper left corner.

    A rest at the right and at the bottom that fills no square is left out, as PyTorch's MaxPool2d does.

    Returns:
        (n, H // size, W // size), booleans.
    """
    n, height, width = len(x), x.shape[1] // size, x.shape[2] // size
    rows = np.logical_or.reduce(x[:, : height * size].reshape(n, height, size, x.shape[2]), axis=2)
    result = np.zeros((n, height, width), bool)
    for k in range(size):
        result |= rows[:, :, k : width * size : size]
    return result


def window_counts(x: np.ndarray, size: int) -> np.ndarray:
    """Number of pixels set in the square window of `size` x `size` around each pixel.

    In rows and in columns, the window of pixel i reaches from i - size // 2 over `size` pixels; what is outside the
    frame is not set. This is where scipy's `uniform_filter` with mode "constant" looks, too.

    Returns:
        (n, H, W), unsigned integers.
    """
    # A window of twice the frame's side sees all of it from everywhere, and so does any that is larger.
    rows, columns = (min(size, 2 * side) for side in x.shape[1:])
    counts = _slide(x.astype(np.min_scalar_type(rows)), rows, 1)
    return _slide(counts.astype(np.min_scalar_type(rows * columns), copy=False), columns, 2)


def _slide(x: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Sums over windows of `size` neighbours, from sums over 1, 2, 4, ... of them: few additions, all of them fast."""
    length = x.shape[axis]
    padding = [(0, 0)] * x.ndim
    padding[axis] = (size // 2, size - size // 2 - 1)
    sums, width = np.pad(x, padding), 1

    def part(start: int, count: int) -> np.ndarray:
        return sums[:, start : start + count] if axis == 1 else sums[:, :, start : start + count]

    total, offset = np.zeros_like(x), 0
    while True:
        if size & width:
            total = total + part(offset, length)
            offset += width
        if 2 * width > size:
            return total
        count = sums.shape[axis] - width
        sums = part(0, count) + part(width, count)
        width *= 2


def fractions(forecast: np.ndarray, target: np.ndarray, size: int) -> np.ndarray:
    """Sums over a frame of f^2, f t and t^2, where f and t count the events in the window around a pixel.

    Returns:
        (n, 3), float64.
    """
    result = np.zeros((len(forecast), 3))
    # Many frames have no event at a high threshold.
    wet = np.flatnonzero(forecast.any(axis=(1, 2)) | target.any(axis=(1, 2)))
    both = np.concatenate([forecast[wet], target[wet]])
    counts = window_counts(both, size).reshape(2, len(wet), target[0].size).astype(np.float64)
    for i, f, t in zip(wet, *counts, strict=True):
        # Products of whole numbers below 2^53: exact, in whatever order they are added.
        result[i] = f @ f, f @ t, t @ t
    return result


def fractions_skill(sums: np.ndarray) -> np.ndarray:
    """Fractions skill score from sums (..., 3) of `fractions`: 1 - sum (f - t)^2 / sum (f^2 + t^2); NaN where 0 / 0."""
    ff, ft, tt = np.moveaxis(sums, -1, 0)
    return 1 - ratio(ff - 2 * ft + tt, ff + tt)


def table_scores(table: np.ndarray) -> dict[str, np.ndarray]:
    """The scores of contingency tables (..., 4), by name; NaN where a denominator is zero."""
    hits, misses, false_alarms, negatives = np.moveaxis(table, -1, 0)
    forecast, happened = hits + false_alarms, hits + misses
    chance = happened * (misses + negatives) + forecast * (false_alarms + negatives)
    return {
        "csi": ratio(hits, hits + misses + false_alarms),
        "pod": ratio(hits, happened),
        "far": ratio(false_alarms, forecast),
        "hss": ratio(2 * (hits * negatives - false_alarms * misses), chance),
        "bias": ratio(forecast, happened),
    }


def ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b; NaN where b is zero."""
    # Divided by NaN, not by zero: no warning.
    return a / np.where(b == 0, np.nan, b)
