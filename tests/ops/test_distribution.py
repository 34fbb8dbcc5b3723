"""Ranks of pixels, values in their order, and the surroundings of rain."""

import convlstm  # noqa: F401  before mlx.core, so that the tests run with a fast BLAS
from convlstm.ops.distribution import city_blocks, in_order, matched, near, ranks, rising

import mlx.core as mx
import numpy as np
import pytest


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


ALGORITHMS = pytest.mark.parametrize("algorithm", ["auto", "native"])


@ALGORITHMS
def test_values_rise(algorithm, rng):
    fields = np.maximum(rng.normal(size=(3, 500)), 0).astype(np.float32)
    fields[2] = 4
    np.testing.assert_array_equal(rising(mx.array(fields), algorithm), np.sort(fields, axis=1))


@ALGORITHMS
def test_matching_is_that_of_sorting_where_the_mask_lets_rain_be(algorithm, rng):
    z, reference = rng.normal(size=(2, 4000)).astype(np.float32), np.sort(np.maximum(rng.normal(size=4000), 0))
    mask = np.clip(rng.uniform(-0.5, 1.5, (2, 4000)), 0, 1).astype(np.float32)
    values = np.array(matched(mx.array(z), mx.array(mask), mx.array(reference, mx.float32), algorithm))
    for field, weak, found in zip(z, mask, values, strict=True):
        field = (field - field.min()) * weak
        expected = np.where(field > 0, reference[field.argsort(kind="stable").argsort(kind="stable")], 0)
        assert (found[field == 0] == 0).all()
        np.testing.assert_allclose(found, expected, atol=0.05)
    one = matched(mx.array(z), mx.array(mask[:1]), mx.array(reference, mx.float32), algorithm)
    np.testing.assert_array_equal(one[0], values[0])


def test_the_kernel_matches_as_the_plain_form(kernels, rng):
    z, mask = (mx.array(rng.uniform(0, 9, (3, 3000)).astype(np.float32)) for _ in range(2))
    values = mx.array(np.linspace(0, 50, 3000), mx.float32)
    ours, plain = (np.array(matched(z, mask / 9, values, a)) for a in ("auto", "native"))
    np.testing.assert_allclose(ours, plain, atol=0.05)
    np.testing.assert_array_equal(matched(mx.zeros((1, 9)), mx.ones((1, 9)), values[:9]), 0)


@ALGORITHMS
@pytest.mark.parametrize("circular", [False, True])
def test_near_falls_with_the_distance_to_rain(algorithm, circular, rng):
    fields = np.where(rng.random((3, 21, 26)) < 0.02, 5, 0).astype(np.float32)
    fields[0] = 0
    found = np.array(near(mx.array(fields), 1.0, 2, 4, circular=circular, algorithm=algorithm))
    rows, columns = np.indices((21, 26))
    for field, value in zip(fields, found, strict=True):
        distance = np.full((21, 26), 99)
        for r, c in np.argwhere(field > 1):
            across = abs(columns - c)
            across = np.minimum(across, 26 - across) if circular else across
            distance = np.minimum(distance, abs(rows - r) + across)
        np.testing.assert_allclose(value, np.clip((7 - distance) / 5, 0, 1), atol=1e-6)


@pytest.mark.parametrize("most", [4, 100])
def test_city_blocks_are_those_of_a_search(most, rng):
    wet = rng.random((2, 13, 17)) < 0.03
    wet[0, 3, 5] = wet[1, 9, 2] = True
    rows, columns = np.indices((13, 17))
    for field, found in zip(wet, np.array(city_blocks(mx.array(wet), most)), strict=True):
        distances = [abs(rows - r) + abs(columns - c) for r, c in np.argwhere(field)]
        np.testing.assert_array_equal(found, np.minimum(np.min(distances, axis=0), most))
    np.testing.assert_array_equal(city_blocks(mx.zeros((3, 4), mx.bool_), most), most)
