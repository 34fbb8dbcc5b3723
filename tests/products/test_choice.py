"""The choice of products by name, and products of several channels and sequences."""

import re

from convlstm.products import Products, best_csi, median, probability_matched_mean, single

import numpy as np
import pytest


def test_the_forecast_is_not_made_twice():
    products = Products("median", ["mean", "median", "nearby", "mean"])
    assert products.beside == ("mean", "nearby")


@pytest.mark.parametrize(
    ("products", "needed"),
    [
        (Products(), False),
        (Products(further=["mean"]), False),
        (Products("pmm"), True),
        (Products(further=["quantiles"]), True),
    ],
)
def test_a_mean_needs_no_members_at_once(products, needed):
    assert products.need_members is needed


@pytest.mark.parametrize("name", ["mean", "median", "pmm", "csi"])
def test_each_channel_and_sequence_has_its_own(rng, name):
    members = rng.gamma(0.5, 4, (5, 2, 3, 6, 7, 2)).astype(np.float32)
    members[1, 0, 1, 2, 3, 0] = np.nan
    fields = single(name, members, [2])
    assert fields.shape == members.shape[1:]
    for n in range(2):
        for c in range(2):
            np.testing.assert_array_equal(fields[n, ..., c], single(name, members[:, n, ..., c], [2]))


def test_names():
    members = np.random.default_rng(0).gamma(0.5, 4, (5, 2, 6, 7)).astype(np.float32)
    np.testing.assert_array_equal(single("median", members, []), median(members))
    np.testing.assert_array_equal(single("pmm", members, []), probability_matched_mean(members))
    np.testing.assert_array_equal(single("csi", members, [1, 3]), best_csi(members, [1, 3]))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"forecast": "quantiles"}, "'forecast' must be one of mean, median, pmm, csi but got 'quantiles'."),
        ({"further": "median"}, "'further' must be a list of mean, median, pmm, csi, quantiles, nearby, members but"),
        ({"further": ["best"]}, "'further' must be a list of mean, median, pmm, csi, quantiles, nearby, members but"),
        ({"quantiles": [1.5]}, "'quantiles' must be shares from 0 to 1 but got [1.5]."),
        ({"quantiles": []}, "'quantiles' must be shares from 0 to 1 but got []."),
        ({"radius": [-1]}, "'radius' must be one or more numbers of at least 0 but got [-1]."),
        ({"radius": []}, "'radius' must be one or more numbers of at least 0 but got []."),
        ({"pixel_km": 0}, "'pixel_km' must be"),
    ],
)
def test_wrong_choices(arguments, text):
    with pytest.raises(ValueError, match=re.escape(f"[Products] {text}")):
        Products(**arguments)
