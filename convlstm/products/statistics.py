"""Mean, median, quantiles and probability-matched mean of the members of an ensemble."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from convlstm.arguments import check_numbers
from convlstm.products.members import checked, missing

import numpy as np


def mean(members: np.ndarray) -> np.ndarray:
    """Returns the mean of members, (M, T, H, W) -> (T, H, W), float32: the forecast of the least squared error."""
    x = checked("mean", members)
    return np.stack([frame.mean(axis=0, dtype=np.float64) for frame in _frames(x)]).astype(np.float32)


def median(members: np.ndarray) -> np.ndarray:
    """Returns the median of members, (M, T, H, W) -> (T, H, W), float32: the forecast of the least absolute error."""
    return quantiles(members, [0.5])[0]


def quantiles(members: np.ndarray, at: Sequence[float]) -> np.ndarray:
    """Returns quantiles of the members at each pixel, linear between their order statistics.

    With the members x_(0) <= ... <= x_(M - 1) of a pixel, the quantile at q is x at the place (M - 1) q.

    Args:
        members: (M, T, H, W), in physical units; NaN is missing.
        at: Shares from 0 to 1, such as 0.9 for the value that one member in ten is above.

    Returns:
        (Q, T, H, W), float32.

    Raises:
        ValueError: The members have another shape, or a share is not from 0 to 1.
    """
    x = checked("quantiles", members)
    q = np.array(check_numbers("quantiles", "at", at), np.float64)
    if q.size == 0 or q.min() < 0 or q.max() > 1:
        raise ValueError(f"[quantiles] 'at' must be shares from 0 to 1 but got {list(at)}.")
    place = (len(x) - 1) * q
    below = np.floor(place).astype(int)
    above, weight = np.minimum(below + 1, len(x) - 1), (place - below).astype(np.float32)[:, None]
    result = np.zeros((len(q), *x.shape[1:]), np.float32)
    for t, frame in enumerate(_frames(x)):
        # Most pixels of most rain fields are dry in every member.
        wet = (frame != 0).any(axis=0)
        rising = np.sort(frame[:, wet], axis=0)
        low, high = rising[below], rising[above]
        with np.errstate(invalid="ignore"):  # 0 inf, of members that diverged
            result[:, t, wet] = np.where(weight == 0, low, (1 - weight) * low + weight * high)
        result[:, t, missing(frame)] = np.nan
    return result


def probability_matched_mean(members: np.ndarray) -> np.ndarray:
    """Returns the mean of the members with the distribution of their values: as wet and as strong as the members.

    The P pixels of a frame are ranked by the mean, and the M P values of all members are sorted. The pixel of rank k
    gets the mean of the values of ranks k M to (k + 1) M - 1. (Ebert takes one value of each M. Their mean keeps the
    frame's mean.) Pixels of equal mean are ranked in the order of the frame.

    Args:
        members: (M, T, H, W), in physical units; NaN is missing, and a missing pixel has no rank.

    Returns:
        (T, H, W), float32.

    Raises:
        ValueError: The members have another shape.

    Source: Ebert, Ability of a Poor Man's Ensemble to Predict the Probability and Distribution of Precipitation, 2001.
    """
    x = checked("probability_matched_mean", members)
    result = np.full(x.shape[1:], np.nan, np.float32)
    for t, frame in enumerate(_frames(x)):
        known = ~missing(frame)
        values = frame.reshape(len(x), -1) if known.all() else frame[:, known]
        # The mean in float64, so that its order does not depend on rounding.
        order = _order(values.mean(axis=0, dtype=np.float64))
        matched = np.empty(len(order), np.float32)
        matched[order] = _rising(values).reshape(-1, len(x)).mean(axis=1, dtype=np.float64)
        result[t, known] = matched
    return result


def _order(values: np.ndarray) -> np.ndarray:
    """Returns `numpy.argsort` of values (P,), equal ones in their order. The lowest, most of rain's, are not sorted."""
    lowest = np.fmin.reduce(values, initial=np.inf)
    rest = np.flatnonzero(values != lowest)  # with NaN, the mean of members that diverged
    rest = rest[np.argsort(values[rest], kind="stable")]
    return np.concatenate([np.flatnonzero(values == lowest), rest])


def _rising(values: np.ndarray) -> np.ndarray:
    """Returns all values in rising order, (K,). The lowest, most of rain's, are not sorted."""
    lowest = values.min(initial=np.inf)
    rest = np.sort(values[values > lowest])
    return np.concatenate([np.full(values.size - rest.size, lowest, values.dtype), rest])


def _frames(x: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the members of each frame, (M, H, W)."""
    return (x[:, t] for t in range(x.shape[1]))
