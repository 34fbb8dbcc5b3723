"""Quantiles of members in rising order, and corrections of them for each member.

Members whose values are replaced by quantiles, each by that of its rank, keep their patterns and have the distribution
that the quantiles say. Source: Schefzik et al., Uncertainty Quantification in Complex Simulation Models Using Ensemble
Copula Coupling, 2013.
"""

from __future__ import annotations

from functools import lru_cache
from statistics import NormalDist

import mlx.core as mx
import numpy as np

LEVELS = (0.08, 0.25, 0.5, 0.75, 0.92)
"""Levels of the quantiles that are corrected."""


def quantiles(rising: mx.array) -> mx.array:
    """Returns the quantiles at `LEVELS` of members in rising order, (M, ...) -> (..., levels)."""
    M, *shape = rising.shape
    return mx.moveaxis((_down(M) @ rising.reshape(M, -1)).reshape(len(LEVELS), *shape), 0, -1)


def at_members(corrections: mx.array, M: int) -> mx.array:
    """Returns corrections of the quantiles at `LEVELS` for M members in rising order, (..., levels) -> (M, ...).

    Member i stands for the level (i + 1/2) / M. Corrections are linear in the normal score of the level, and
    those of the outermost levels hold beyond them.
    """
    *shape, levels = corrections.shape
    return (_up(M) @ mx.moveaxis(corrections, -1, 0).reshape(levels, -1)).reshape(M, *shape)


@lru_cache
def _down(M: int) -> mx.array:
    places = np.clip(np.array(LEVELS) * M - 0.5, 0, M - 1)
    low = np.minimum(places.astype(int), M - 2)
    matrix = np.zeros((len(LEVELS), M), np.float32)
    for row, (start, place) in enumerate(zip(low, places, strict=True)):
        matrix[row, start], matrix[row, start + 1] = start + 1 - place, place - start
    return mx.array(matrix)


@lru_cache
def _up(M: int) -> mx.array:
    normal = NormalDist()
    scores = np.array([normal.inv_cdf(level) for level in LEVELS])
    own = np.array([normal.inv_cdf((i + 0.5) / M) for i in range(M)])
    low = np.clip(np.searchsorted(scores, own) - 1, 0, len(LEVELS) - 2)
    # Going on linearly would make the heaviest rain heavier and heavier: the values are logarithms.
    share = np.clip((own - scores[low]) / (scores[low + 1] - scores[low]), 0, 1)
    matrix = np.zeros((M, len(LEVELS)), np.float32)
    matrix[np.arange(M), low], matrix[np.arange(M), low + 1] = 1 - share, share
    return mx.array(matrix)
