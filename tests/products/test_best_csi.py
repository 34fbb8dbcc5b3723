"""The field that is best for CSI: its sets, their nesting, their size and its values."""

import re
from itertools import product

from convlstm.products import best_csi, probability, probability_matched_mean
from convlstm.products.best_csi import BIAS

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

# All sets of eight pixels but the empty one.
SETS = np.array(list(product((False, True), repeat=8))[1:])


def csi(chosen, P):
    """Returns the CSI to expect of sets (..., 8) with the probabilities of their event (8,)."""
    hits = (P * chosen).sum(axis=-1)
    return hits / (chosen.sum(axis=-1) + P.sum() - hits)


@settings(max_examples=40)
@given(arrays.arrays(np.float32, (5, 1, 2, 4), elements=st.sampled_from([0.0, 1.0])))
def test_no_other_set_has_a_larger_csi(members):
    P = probability(members, 1)[0].ravel().astype(np.float64)
    chosen = best_csi(members, [1], bias=None, smoothing=0).ravel() >= 1
    if not P.any():
        assert not chosen.any()
        return
    assert csi(chosen, P) == pytest.approx(csi(SETS, P).max())


@settings(max_examples=40)
@given(arrays.arrays(np.float32, (5, 1, 2, 4), elements=st.sampled_from([0.0, 1.0])))
def test_no_other_set_of_an_allowed_size_has_a_larger_csi(members):
    P = probability(members, 1)[0].ravel().astype(np.float64)
    low, high = (round(bound * P.sum()) for bound in (0.6, 1.3))
    chosen = best_csi(members, [1], bias=(0.6, 1.3), smoothing=0).ravel() >= 1
    assert low <= chosen.sum() <= high
    if low > 0:
        allowed = SETS[(SETS.sum(axis=1) >= low) & (SETS.sum(axis=1) <= high)]
        assert csi(chosen, P) == pytest.approx(csi(allowed, P).max())


@pytest.fixture
def members(rng):
    """Returns members (8, 2, 24, 20) of smooth rain that is shifted at random, with a missing corner."""
    y, x = np.mgrid[:24, :20]
    members = np.zeros((8, 2, 24, 20), np.float32)
    for m in range(8):
        for t in range(2):
            i, j = rng.normal((12, 10), 1 + 3 * t)
            members[m, t] = 12 * np.exp(-((y - i) ** 2 + (x - j) ** 2) / rng.uniform(20, 40))
    members[members < 0.1] = 0
    members[:, :, :3, :3] = np.nan
    return members


THRESHOLDS = (0.5, 2, 5)


def test_sets_are_nested_and_as_large_as_the_bounds_allow(members):
    field = best_csi(members, THRESHOLDS)
    np.testing.assert_array_equal(np.isnan(field), np.isnan(members[0]))
    for t in range(2):
        sizes = [int((field[t] >= threshold).sum()) for threshold in THRESHOLDS]
        areas = [np.nansum(probability(members, threshold)[t]) for threshold in THRESHOLDS]
        assert sizes == sorted(sizes, reverse=True)
        for size, area in zip(sizes, areas, strict=True):
            assert round(BIAS[0] * area) <= size <= round(BIAS[1] * area)
    # Each threshold alone has the set that it has among the others, if only it lies within the one below.
    for threshold in THRESHOLDS:
        alone = best_csi(members, [threshold]) >= threshold
        assert (alone != (field >= threshold)).mean() < 0.02


def test_the_order_of_the_thresholds_makes_no_difference(members):
    np.testing.assert_array_equal(best_csi(members, [5, 0.5, 2, 2]), best_csi(members, THRESHOLDS))


def test_without_bounds_the_set_grows_where_the_event_is_hard_to_foresee(members):
    free, bounded = (best_csi(members, [5], bias=bias)[1] >= 5 for bias in (None, (0.85, 1.18)))
    assert free.sum() > 1.2 * bounded.sum()
    assert (free | bounded == free).all()
    exact = best_csi(members, [5], bias=(1, 1))[1] >= 5
    assert exact.sum() == round(np.nansum(probability(members, 5)[1]))


def test_values_are_the_nearest_to_the_matched_mean_that_have_these_sets(members):
    field, matched = best_csi(members, THRESHOLDS), probability_matched_mean(members)
    classes, of_matched = (
        sum((x >= threshold * (1 - 1e-5)).astype(int) for threshold in THRESHOLDS) for x in (field, matched)
    )
    same = classes == of_matched
    np.testing.assert_array_equal(field[same], matched[same])
    raised, lowered = classes > of_matched, classes < of_matched
    assert raised.any()
    assert lowered.any()
    edges = np.array([0, *THRESHOLDS], np.float32)
    np.testing.assert_array_equal(field[raised], edges[classes[raised]])
    below = field[lowered] / edges[classes[lowered] + 1]
    assert (below < 1 - 1e-5).all()
    assert (below > 1 - 2e-5).all()


def test_smoothing_joins_scattered_events(rng):
    """Each pixel of a block has rain in one member of four: only neighbours say where it is likely."""
    members = np.zeros((4, 1, 16, 16), np.float32)
    rows, columns = np.mgrid[4:10, 4:10]
    members[rng.integers(0, 4, (6, 6)), 0, rows, columns] = 3
    members[0, 0, 14, 14] = 3
    area = probability(members, 1)[0].sum()
    for smoothing, inside in ((0, 0), (2, 1)):
        chosen = best_csi(members, [1], smoothing=smoothing)[0] >= 1
        assert chosen.sum() == round(min(37, 1.18 * area))
        if inside:
            # The nine or so likely pixels are those in the middle of the block.
            assert chosen[5:9, 5:9].sum() == chosen.sum()


def test_of_equal_probabilities_the_wettest_pixels_are_chosen():
    members = np.zeros((2, 1, 1, 6), np.float32)
    members[0, 0, 0] = [1, 5, 3, 4, 2, 6]
    field = best_csi(members, [1], smoothing=0, bias=(1, 1))
    np.testing.assert_array_equal(field.ravel() >= 1, [False, True, False, True, False, True])


def test_the_field_has_a_better_csi_than_mean_and_matched_mean(rng):
    """Rain whose place is uncertain: the truth is one more member."""
    hits = dict.fromkeys(("best", "mean", "matched"), 0)
    unions, forecast, happened = dict(hits), 0, 0
    y, x = np.mgrid[:40, :40]
    for _ in range(40):
        centres = rng.normal(20, 6, (25, 2))
        fields = np.stack([8 * np.exp(-((y - i) ** 2 + (x - j) ** 2) / 60) for i, j in centres])[:, None]
        truth, members = fields[0] >= 2, fields[1:].astype(np.float32)
        ours = {
            "best": best_csi(members, [2]),
            "mean": members.mean(axis=0),
            "matched": probability_matched_mean(members),
        }
        for name, field in ours.items():
            hits[name] += ((field >= 2) & truth).sum()
            unions[name] += ((field >= 2) | truth).sum()
        forecast, happened = forecast + (ours["best"] >= 2).sum(), happened + truth.sum()
    score = {name: hits[name] / unions[name] for name in hits}
    assert score["best"] >= max(score["mean"], score["matched"])
    assert score["best"] > score["mean"] + 0.01
    assert 0.8 < forecast / happened < 1.25


def test_dry_members_give_a_dry_field():
    assert not best_csi(np.zeros((3, 2, 4, 5), np.float32), [0.5, 2]).any()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"thresholds": []}, "'thresholds' must have at least one number but is empty."),
        ({"thresholds": [np.nan]}, "'thresholds' must be"),
        ({"bias": (1.1, 1.2)}, "'bias' must be two numbers around 1, such as (0.8, 1.25), but got (1.1, 1.2)."),
        ({"bias": (0.8,)}, "'bias' must be two numbers around 1, such as (0.8, 1.25), but got (0.8,)."),
        ({"smoothing": -1}, "'smoothing' must be"),
    ],
)
def test_wrong_arguments(members, options, text):
    with pytest.raises(ValueError, match=re.escape(f"[best_csi] {text}")):
        best_csi(members, **{"thresholds": [1]} | options)
