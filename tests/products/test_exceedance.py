"""Probabilities of a threshold at a pixel and near it."""

import re

from convlstm.products import probability, probability_nearby

import numpy as np
import pytest


@pytest.fixture
def members(rng):
    """Returns members (11, 2, 9, 13) with few events from 5 on, with a missing pixel."""
    members = rng.uniform(0, 5.2, (11, 2, 9, 13)).astype(np.float32)
    members[4, 0, 3, 3] = np.nan
    return members


def test_probability_is_the_share_of_members(members):
    expected = np.where(np.isnan(members).any(axis=0), np.nan, (members >= 5).mean(axis=0))
    np.testing.assert_allclose(probability(members, 5), expected, rtol=1e-6)


def test_a_value_reaches_a_threshold_up_to_rounding():
    members = np.array([0.49999999, 0.4999], np.float32).reshape(2, 1, 1, 1)
    assert probability(members, 0.5).item() == 0.5
    assert probability_nearby(members, 0.5, 3, pixel_km=1).item() == 0.5


@pytest.mark.parametrize(("radius", "pixel_km"), [(0, 1), (0.9, 1), (1, 1), (1.5, 1), (3, 1), (5.8, 2), (40, 1)])
def test_nearby_is_the_maximum_over_a_disc_and_then_the_share(members, radius, pixel_km):
    found = probability_nearby(members, 5, radius, pixel_km=pixel_km)
    M, T, H, W = members.shape
    y, x = np.mgrid[:H, :W]
    for i in range(H):
        for j in range(W):
            disc = (y - i) ** 2 + (x - j) ** 2 <= (radius / pixel_km) ** 2
            expected = (members >= 5)[..., disc].any(axis=-1).mean(axis=0)
            expected[np.isnan(members[..., i, j]).any(axis=0)] = np.nan
            np.testing.assert_allclose(found[:, i, j], expected, rtol=1e-6)


def test_a_radius_of_whole_pixels_reaches_them_whatever_the_rounding():
    members = np.zeros((1, 1, 1, 9), np.float32)
    members[..., 4] = 9
    # 0.3 / 0.1 is 2.9999999999999996.
    near = probability_nearby(members, 1, 0.3, pixel_km=0.1)
    np.testing.assert_array_equal(near.ravel(), [0, 1, 1, 1, 1, 1, 1, 1, 0])


def test_less_than_a_pixel_is_the_pixel_itself(members):
    np.testing.assert_array_equal(probability_nearby(members, 5, 0.4, pixel_km=0.5), probability(members, 5))


def test_more_members_than_a_byte_has_bits(members):
    many = np.concatenate([members] * 24)
    np.testing.assert_allclose(
        probability_nearby(many, 5, 2, pixel_km=1), probability_nearby(members, 5, 2, pixel_km=1), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"radius": -1, "pixel_km": 1}, "[probability_nearby] 'radius' must be"),
        ({"radius": 1, "pixel_km": 0}, "[probability_nearby] 'pixel_km' must be"),
        ({"radius": 1, "pixel_km": 1, "threshold": np.nan}, "[probability_nearby] 'threshold' must be"),
    ],
)
def test_wrong_numbers(members, arguments, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        probability_nearby(members, **{"threshold": 5} | arguments)
    with pytest.raises(ValueError, match=re.escape("[probability] 'threshold' must be")):
        probability(members, np.inf)
