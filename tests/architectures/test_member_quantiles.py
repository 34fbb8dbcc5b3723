"""Quantiles of members and corrections of them."""

from statistics import NormalDist

from convlstm.architectures.member_quantiles import LEVELS, at_members, quantiles
from tests.support.reference import close

import mlx.core as mx
import numpy as np
import pytest


@pytest.mark.parametrize("M", [8, 12, 24])
def test_quantiles_are_those_of_numpy_at_the_middles_of_equal_shares(M, rng):
    members = np.sort(rng.normal(size=(M, 3, 4)).astype(np.float32), axis=0)
    expected = np.quantile(members, LEVELS, axis=0, method="hazen")
    close(quantiles(mx.array(members)), np.moveaxis(expected, 0, -1), 1e-6)


def test_few_members_have_no_quantiles_beyond_them():
    close(quantiles(mx.array([[1.0], [3.0]])), [[1.0, 1.0, 2.0, 3.0, 3.0]], 1e-6)


@pytest.mark.parametrize("M", [2, 8, 24])
def test_corrections_are_linear_in_the_normal_score_up_to_the_outermost(M):
    normal = NormalDist()
    scores = np.array([normal.inv_cdf(level) for level in LEVELS])
    corrections = mx.array(np.stack([2 + 3 * scores, np.ones(len(LEVELS))]).astype(np.float32))
    own = np.array([normal.inv_cdf((i + 0.5) / M) for i in range(M)]).clip(scores[0], scores[-1])
    close(at_members(corrections, M), np.stack([2 + 3 * own, np.ones(M)], axis=1), 1e-5)
