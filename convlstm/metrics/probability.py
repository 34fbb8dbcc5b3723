"""What an ensemble says of a pixel: the probability of an event, and how sure it is."""

from __future__ import annotations

import numpy as np


def exceedance(members: np.ndarray, threshold: float) -> np.ndarray:
    """The probability of values at or above a threshold: the share of the members that are.

    Args:
        members: (M, ...).
        threshold: In their units.

    Returns:
        (...), float32; NaN where a member is NaN.
    """
    share = (members >= threshold).mean(axis=0, dtype=np.float32)
    return np.where(np.isnan(members).any(axis=0), np.float32(np.nan), share)


def spread(members: np.ndarray) -> np.ndarray:
    """The standard deviation of members (M, ...) around their mean, of M - 1, (...); NaN where a member is NaN."""
    return np.std(members, axis=0, ddof=1)
