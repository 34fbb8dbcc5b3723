"""Ranks of pixels, and values in their order."""

import convlstm  # noqa: F401  before mlx.core, so that the tests run with a fast BLAS
from convlstm.architectures.distribution import in_order, ranks

import mlx.core as mx
import numpy as np


def test_ranks_are_those_of_sorting_up_to_a_few_pixels(rng):
    fields = np.stack([rng.normal(size=5000), rng.gamma(2, size=5000)]).astype(np.float32)
    exact = fields.argsort(axis=1).argsort(axis=1) / 5000
    np.testing.assert_allclose(ranks(mx.array(fields)), exact, atol=2e-3)


def test_equal_values_have_equal_ranks_and_none_is_below_the_lowest():
    rank = np.array(ranks(mx.array([[3.0, 1.0, 1.0, 2.0], [5.0, 5.0, 5.0, 5.0]])))
    assert rank[0, 1] == rank[0, 2] == 0
    assert 0.5 <= rank[0, 3] < 0.75 <= rank[0, 0] < 1
    np.testing.assert_array_equal(rank[1], 0)


def test_values_in_the_order_of_others(rng):
    fields = rng.normal(size=(2, 1000)).astype(np.float32)
    reference = np.sort(rng.gamma(1, size=(2, 1000)).astype(np.float32), axis=1)
    matched = np.array(in_order(mx.array(reference), ranks(mx.array(fields))))
    expected = np.take_along_axis(reference, fields.argsort(axis=1).argsort(axis=1), axis=1)
    assert np.corrcoef(matched.ravel(), expected.ravel())[0, 1] > 0.9999
