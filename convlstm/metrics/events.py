"""Counts of events, such as rain at or above a threshold, in boolean frames (n, H, W), and scores of the counts."""

from __future__ import annotations

import numpy as np

ROUNDING = 1e-5
"""Share of a threshold that a value may lie below it and still reach it."""


def lowest_event(threshold: float) -> float:
    """Returns the lowest value of an event: threshold - 1e-5 abs(threshold).

    Neither data nor forecasts are exact numbers. Data are counts times a factor in float32 (5 times 0.1 mm/h), and a
    forecast comes from the model's scale, whose logarithm and exponential are off by up to 1e-6 of the value. Without
    the margin, a forecast of exactly the truth would miss events at the threshold. It is far smaller than the steps of
    any radar's data, and is the same for forecast and truth.
    """
    return threshold - ROUNDING * abs(threshold)


def contingency(forecast: np.ndarray, target: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Returns hits, misses, false alarms and correct negatives of every frame.

    Args:
        forecast: (n, H, W), True if the event was forecast; False if the pixel is not known.
        target: The same shape, True if the event happened; False if the pixel is not known.
        known: The same shape, True if the pixel counts.

    Returns:
        (n, 4), float64.
    """
    hits, f, t, n = (_ones(x) for x in (forecast & target, forecast, target, known))
    return np.stack([hits, t - hits, f - hits, n - f - t + hits], axis=1)


def _ones(x: np.ndarray) -> np.ndarray:
    """Returns the number of True values in each frame, (n,), float64."""
    # Frame by frame: twenty times faster than a sum along axes.
    return np.array([np.count_nonzero(row) for row in x], np.float64)


def table_scores(table: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the scores of contingency tables (..., 4), by kind; NaN if a denominator is zero."""
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


def pooled(x: np.ndarray, size: int) -> np.ndarray:
    """Returns True for each square of `size` x `size` pixels that has an event. The squares start at the top left.

    Pixels at the right and at the bottom that fill no square are left out, as in PyTorch's MaxPool2d.

    Returns:
        (n, H // size, W // size), booleans.
    """
    n, height, width = len(x), x.shape[1] // size, x.shape[2] // size
    rows = np.logical_or.reduce(x[:, : height * size].reshape(n, height, size, x.shape[2]), axis=2)
    result = np.zeros((n, height, width), bool)
    for k in range(size):
        result |= rows[:, :, k : width * size : size]
    return result


def window_counts(x: np.ndarray, size: int, *, circular: bool = False) -> np.ndarray:
    """Returns the number of events in the square window of `size` x `size` pixels around each pixel.

    In rows and in columns, the window of pixel i starts at i - size // 2. Pixels outside the frame have no event. These
    are the windows of scipy's `uniform_filter` with mode "constant". With `circular` the columns go round, as in its
    mode "wrap", and no window has a column twice.

    Returns:
        (n, H, W), unsigned integers.
    """
    # A window of twice the frame's side covers the whole frame from every pixel, as any larger one does.
    rows, columns = (min(size, 2 * side) for side in x.shape[1:])
    columns = min(columns, x.shape[2]) if circular else columns
    counts = _slide(x.astype(np.min_scalar_type(rows)), rows, 1)
    return _slide(counts.astype(np.min_scalar_type(rows * columns), copy=False), columns, 2, circular=circular)


def _slide(x: np.ndarray, size: int, axis: int, *, circular: bool = False) -> np.ndarray:
    """Returns sums over windows of `size` neighbours, from sums over 1, 2, 4, ... of them: few and fast additions."""
    length = x.shape[axis]
    padding = [(0, 0)] * x.ndim
    padding[axis] = (size // 2, size - size // 2 - 1)
    sums, width = np.pad(x, padding, mode="wrap" if circular else "constant"), 1

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


def fractions(forecast: np.ndarray, target: np.ndarray, size: int, *, circular: bool = False) -> np.ndarray:
    """Returns sums over a frame of f^2, f t and t^2, where f and t count the events in the window around a pixel.

    With `circular` the columns go round.

    Returns:
        (n, 3), float64.
    """
    if size == 1:
        return np.stack([_ones(x) for x in (forecast, forecast & target, target)], axis=1)
    result = np.zeros((len(forecast), 3))
    # Many frames have no event at a high threshold, and most windows of the others have none.
    either = forecast | target
    wet = np.flatnonzero(either.any(axis=(1, 2)))
    if not len(wet):
        return result
    rows, columns = (_reach(either.any(axis=(0, axis)), size) for axis in (2, 1))
    part = (wet, rows, slice(None) if circular else columns)
    both = np.concatenate([forecast[part], target[part]])
    counts = window_counts(both, size, circular=circular).reshape(2, len(wet), both[0].size).astype(np.float64)
    for i, f, t in zip(wet, *counts, strict=True):
        # Products of whole numbers below 2^53 are exact, in whatever order they are added.
        result[i] = f @ f, f @ t, t @ t
    return result


def _reach(events: np.ndarray, size: int) -> slice:
    """Returns the rows whose windows of `size` rows may have an event, given those that have one, (H,)."""
    first, last = np.flatnonzero(events)[[0, -1]]
    return slice(max(0, first - (size - size // 2 - 1)), last + size // 2 + 1)


def fractions_skill(sums: np.ndarray) -> np.ndarray:
    """Returns the fractions skill score, 1 - sum (f - t)^2 / sum (f^2 + t^2), of sums (..., 3); NaN for 0 / 0."""
    ff, ft, tt = np.moveaxis(sums, -1, 0)
    return 1 - ratio(ff - 2 * ft + tt, ff + tt)


def ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns a / b, NaN where b is zero."""
    # A division by NaN gives NaN without NumPy's warning.
    return a / np.where(b == 0, np.nan, b)
