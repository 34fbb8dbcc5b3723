"""Mean, median, quantiles and the probability-matched mean of members."""

import re

from convlstm.products import mean, median, probability_matched_mean, quantiles

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

MEMBERS = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 7), *[st.integers(1, 4)] * 3), elements=st.floats(0, 100, width=32)
)


@pytest.fixture
def members(rng):
    """Returns members (9, 2, 6, 5) with dry pixels, one of which is missing in one member at one time."""
    members = rng.gamma(0.5, 4, (9, 2, 6, 5)).astype(np.float32)
    members[members < 0.5] = 0
    members[3, 1, 2, 4] = np.nan
    return members


@pytest.mark.parametrize("at", [[0.5], [0, 1], [0.1, 0.9, 0.33]])
def test_quantiles_are_numpy_s(members, at):
    np.testing.assert_allclose(quantiles(members, at), np.quantile(members, at, axis=0), rtol=1e-5)


def test_mean_and_median(members):
    np.testing.assert_allclose(mean(members), members.mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(median(members), np.median(members, axis=0))
    np.testing.assert_allclose(median(members[:8]), np.median(members[:8], axis=0), rtol=1e-6)


@pytest.mark.parametrize("product", [mean, median, probability_matched_mean])
def test_a_pixel_that_a_member_lacks_is_missing(members, product):
    field = product(members)
    assert (field.shape, field.dtype) == ((2, 6, 5), np.float32)
    assert [tuple(place) for place in np.argwhere(np.isnan(field))] == [(1, 2, 4)]
    # The other time has nothing to do with it.
    np.testing.assert_array_equal(field[:1], product(members[:, :1]))


def test_matched_mean_by_hand():
    members = np.array([[0, 0, 1, 4], [0, 2, 3, 8]], np.float32).reshape(2, 1, 2, 2)
    # Means 0, 1, 2, 6, in rising order; the pool is 0 0 0 1 2 3 4 8.
    np.testing.assert_allclose(probability_matched_mean(members).ravel(), [0, 0.5, 2.5, 6])


@given(MEMBERS)
def test_matched_mean_has_the_order_of_the_mean_and_the_values_of_the_members(members):
    field, M = probability_matched_mean(members), len(members)
    for t in range(members.shape[1]):
        of_mean = members[:, t].astype(np.float64).mean(axis=0).ravel()
        matched = field[t].ravel()
        for a in range(len(of_mean)):
            assert (matched[of_mean > of_mean[a]] >= matched[a]).all()
        pool = np.sort(members[:, t].ravel())
        groups = [pool[k * M : k * M + M].astype(np.float64).mean() for k in range(len(matched))]
        np.testing.assert_allclose(np.sort(matched), groups, rtol=1e-5, atol=1e-6)


def test_matched_mean_of_one_member_is_that_member(members):
    np.testing.assert_array_equal(probability_matched_mean(members[:1]), members[0])


def test_members_that_diverge_give_no_warning(members):
    members[:3, 0, 0, 0] = np.inf
    assert quantiles(members, [0.9])[0, 0, 0, 0] == np.inf
    assert np.isfinite(median(members)[0]).all()


@pytest.mark.parametrize(
    ("members", "text"),
    [
        (np.zeros((3, 4, 5)), "[mean] 'members' must be numbers of shape (M, T, H, W) but got float64 of (3, 4, 5)."),
        (np.zeros((0, 1, 4, 5)), "must be numbers of shape (M, T, H, W) but got float64 of (0, 1, 4, 5)."),
        (np.full((1, 1, 1, 1), "x"), "must be numbers of shape"),
        ([[1], [1, 2]], "must be of one size but got a ragged list"),
    ],
)
def test_wrong_members(members, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        mean(members)


@pytest.mark.parametrize("at", [[1.1], [-0.1], []])
def test_wrong_shares(members, at):
    with pytest.raises(ValueError, match=re.escape("[quantiles] 'at' must be shares from 0 to 1 but got")):
        quantiles(members, at)
