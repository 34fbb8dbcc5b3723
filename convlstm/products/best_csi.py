"""The forecast of an ensemble that is best for the critical success index (CSI)."""

from __future__ import annotations

from collections.abc import Sequence

from convlstm.arguments import check_numbers, check_whole
from convlstm.metrics.events import lowest_event
from convlstm.products.exceedance import probability
from convlstm.products.members import checked, missing
from convlstm.products.statistics import probability_matched_mean

import numpy as np

BIAS = (0.85, 1.18)
"""Smallest and largest area of an event beside the mean area of the members.

With members that are up to 6 % too wet or too dry, the frequency bias stays within 0.8 and 1.25.
"""


def best_csi(
    members: np.ndarray,
    thresholds: Sequence[float],
    *,
    bias: tuple[float, float] | None = BIAS,
    smoothing: int = 2,
) -> np.ndarray:
    """Returns a field that reaches each threshold exactly on the pixels where forecasting the event is best for CSI.

    With the probability P of the event at each pixel and the set S of pixels at which it is forecast, the CSI to expect
    is about

        sum_S P / (|S| + sum P - sum_S P)

    which has its maximum for one of the sets {P >= c}. In each frame that set is found for each threshold, by sorting
    P. Where the event is hard to foresee, c is small (it is CSI / (1 + CSI)) and S is far too large: the frequency bias
    would grow beyond 2. Therefore S has at least bias[0] and at most bias[1] times the mean area of the members'
    events, the sum of p. The formula has one maximum along the sets, so the nearest set within these bounds is the best
    of them.

    Few members say P only roughly, and neighbours know more, the more so the less the members agree. So P joins the
    share of members p and its mean over the neighbours n, which is p smoothed by 1 2 1 down and across, `smoothing`
    times:

        P = C p + (1 - C) n,    C the largest CSI to expect of p

    Pixels of equal P are ordered by the mean of the members. Sets are nested: each one is chosen among the pixels of
    the threshold below it.

    The values are those of the field nearest to the probability-matched mean that has these sets: they are clipped
    to the threshold of the pixel's own set from below, and from above to the last value before the next threshold.

    Args:
        members: (M, T, H, W), in physical units; NaN is missing.
        thresholds: Lowest values of the events, in the same units.
        bias: Bounds of the area, or None for none. Default: `BIAS`.
        smoothing: Number of smoothings, 0 for none. Default: 2, a standard deviation of one pixel.

    Returns:
        (T, H, W), float32.

    Raises:
        ValueError: The members have another shape, there is no threshold, or an argument is out of its range.
    """
    x = checked("best_csi", members)
    rising = sorted({*check_numbers("best_csi", "thresholds", thresholds)})
    if not rising:
        raise ValueError("[best_csi] 'thresholds' must have at least one number but is empty.")
    check_whole("best_csi", "smoothing", smoothing, 0)
    bounds = [0.0, np.inf] if bias is None else check_numbers("best_csi", "bias", bias)
    if len(bounds) != 2 or not 0 <= bounds[0] <= 1 <= bounds[1]:
        raise ValueError(f"[best_csi] 'bias' must be two numbers around 1, such as (0.8, 1.25), but got {bias}.")
    values = probability_matched_mean(x)
    for t in range(x.shape[1]):
        frame = x[:, t]
        known, mean = ~missing(frame), frame.mean(axis=0)
        chosen = known
        for threshold in rising:
            P = probability(frame[:, None], threshold)[0]
            chosen = _best_set(P, chosen, known, mean, bounds, smoothing)
            below = np.nextafter(np.float32(lowest_event(threshold)), np.float32(-np.inf))
            values[t][chosen] = np.maximum(values[t][chosen], np.float32(threshold))
            values[t][known & ~chosen] = np.minimum(values[t][known & ~chosen], below)
    return values


def _best_set(
    P: np.ndarray,
    among: np.ndarray,
    known: np.ndarray,
    mean: np.ndarray,
    bias: Sequence[float],
    smoothing: int,
) -> np.ndarray:
    """Returns the best set for the probabilities P (H, W) among some pixels, (H, W) booleans."""
    area = float(P[known].sum(dtype=np.float64))
    if smoothing:
        p = np.where(known, P, 0)
        C = _expected_csi(np.sort(p[p > 0])[::-1], area).max(initial=0)
        P = C * p + (1 - C) * _smoothed(p, known, smoothing)
    candidates = np.flatnonzero(among & (P > 0))
    order = candidates[np.lexsort((mean.flat[candidates], P.flat[candidates]))[::-1]]
    best = 1 + int(np.argmax(_expected_csi(P.flat[order], area))) if len(order) else 0
    chosen = np.zeros(P.shape, bool)
    chosen.flat[order[: round(min(max(best, bias[0] * area), bias[1] * area))]] = True
    return chosen


def _expected_csi(P: np.ndarray, area: float) -> np.ndarray:
    """Returns the CSI to expect of the first pixel, the first two and so on, of falling probabilities (n,)."""
    hits = np.cumsum(P, dtype=np.float64)
    return hits / (np.arange(1, len(P) + 1) + area - hits)


def _smoothed(P: np.ndarray, known: np.ndarray, times: int) -> np.ndarray:
    """Returns P (H, W), 0 where it is not known, smoothed by 1 2 1 down and across over the known pixels."""
    sums, weights = P, known.astype(np.float32)
    for _ in range(times):
        sums, weights = _one_two_one(sums), _one_two_one(weights)
    return np.where(known, sums / np.maximum(weights, 1e-6), 0)


def _one_two_one(x: np.ndarray) -> np.ndarray:
    """Returns sums over 3 x 3 pixels with the weights 1 2 1 down and across, divided by 16."""
    for _ in range(2):
        y = 2 * x
        y[1:] += x[:-1]
        y[:-1] += x[1:]
        x = y.T / 4
    return x
