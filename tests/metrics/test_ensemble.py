"""Scores of ensembles: worked examples, slow transcriptions of the definitions, and what must not matter."""

import math
import re
from itertools import pairwise

from convlstm.metrics import EnsembleMetrics

import numpy as np
import pytest

M = 5
THRESHOLDS = (1.0, 3.0)


def rain(rng, shape):
    """Rain in mm/h, a third of it none at all, in steps of 0.25 so that members tie with each other and the truth."""
    return np.maximum(np.round(rng.gamma(1.0, 2.0, shape) * 4) / 4 - 0.75, 0)


@pytest.fixture(params=["wet", "dry"])
def sample(rng, request):
    """Members (M, 3, 2, 6, 7, 1), truth (3, 2, 6, 7, 1) and mask, with pixels missing from each of them.

    In the dry one, half of the pixels are equal in all members and the truth, most of them 0.
    """
    members, target = rain(rng, (M, 3, 2, 6, 7, 1)), rain(rng, (3, 2, 6, 7, 1))
    if request.param == "dry":
        members[:, :, :, ::2] = target[:, :, ::2] = 0
        members[:, :, :, :, 3] = target[:, :, :, 3] = 2.0
    members[2][rng.random(target.shape) < 0.05] = np.nan
    target[rng.random(target.shape) < 0.1] = np.nan
    target[1, 1] = np.nan
    return members, target, rng.random(target.shape) < 0.9


def gathered(members, target, mask=None, **options):
    metrics = EnsembleMetrics(len(members), THRESHOLDS, **options)
    metrics.update(members, target, mask)
    return metrics


def known(members, target, mask, lead=None):
    """The pixels that count, one by one: (members of the pixel, truth)."""
    for place in np.ndindex(target.shape):
        x, y = [float(member[place]) for member in members], float(target[place])
        if (lead is None or place[1] == lead) and mask[place] and not any(map(math.isnan, [*x, y])):
            yield x, y


def mean(values):
    values = list(values)
    return math.fsum(values) / len(values)


def step_integral(x, y):
    """CRPS of a pixel as the integral of (F(z) - H(z - y))^2 from step to step of the two."""
    ends = sorted([*x, y])
    return sum((b - a) * (sum(v <= a for v in x) / len(x) - (a >= y)) ** 2 for a, b in pairwise(ends))


def score_slowly(pixels, name):
    if name == "crps_mmh":
        return mean(step_integral(x, y) for x, y in pixels)
    if name == "crps_fair_mmh":
        return mean(
            mean(abs(v - y) for v in x) - sum(abs(a - b) for a in x for b in x) / (2 * M * (M - 1)) for x, y in pixels
        )
    if name == "spread_mmh":
        return math.sqrt(mean(sum((v - mean(x)) ** 2 for v in x) / (M - 1) for x, _ in pixels))
    if name == "rmse_of_mean_mmh":
        return math.sqrt(mean((mean(x) - y) ** 2 for x, y in pixels))
    if name == "spread_skill":
        ratio = score_slowly(pixels, "spread_mmh") / score_slowly(pixels, "rmse_of_mean_mmh")
        return math.sqrt((M + 1) / M) * ratio
    threshold = float(name.removeprefix("brier@").removesuffix("mmh"))
    return mean((mean(v >= threshold for v in x) - (y >= threshold)) ** 2 for x, y in pixels)


def test_worked_example():
    """Members 1, 2, 4 and truth 3: F steps at 1, 2 and 4, so the integral is (1/3)^2 1 + (2/3)^2 1 + (1/3)^2 1."""
    members = np.array([4.0, 1.0, 2.0]).reshape(3, 1, 1, 1, 1, 1)
    metrics = EnsembleMetrics(3, [2, 3.5])
    metrics.update(members, np.full((1, 1, 1, 1, 1), 3.0))
    scores = {name: score["overall"] for name, score in metrics.compute().items()}
    assert scores == pytest.approx(
        {
            "crps_mmh": 6 / 9,
            "crps_fair_mmh": 4 / 3 - 1,
            "spread_mmh": math.sqrt(7 / 3),
            "rmse_of_mean_mmh": 2 / 3,
            "spread_skill": math.sqrt(4 / 3) * math.sqrt(7 / 3) / (2 / 3),
            "brier@2mmh": 1 / 9,
            "brier@3.5mmh": 1 / 9,
        }
    )
    np.testing.assert_array_equal(metrics.rank_histogram(), [0, 0, 1, 0])
    np.testing.assert_array_equal(metrics.reliability()["@2mmh"]["count"], [0, 0, 1, 0])


def test_scores_equal_slow_transcriptions(sample):
    scores = gathered(*sample).compute()
    assert list(scores) == [
        *("crps_mmh", "crps_fair_mmh", "spread_mmh", "rmse_of_mean_mmh", "spread_skill", "brier@1mmh", "brier@3mmh")
    ]
    for name, score in scores.items():
        leads = [score_slowly(list(known(*sample, lead=lead)), name) for lead in (0, 1)]
        assert score["per_lead"] == pytest.approx(leads, abs=1e-12), name
        assert score["overall"] == pytest.approx(score_slowly(list(known(*sample)), name), abs=1e-12), name
        assert score["mean_over_leads"] == pytest.approx(mean(leads), abs=1e-12), name


def test_reliability_equals_a_slow_transcription(sample):
    for lead in (None, 1, 2):
        tables = gathered(*sample).reliability(lead=lead)
        pixels = list(known(*sample, lead=None if lead is None else lead - 1))
        for threshold in THRESHOLDS:
            table = tables[f"@{threshold:g}mmh"]
            cells = [[] for _ in table["count"]]
            for x, y in pixels:
                k = sum(v >= threshold for v in x)
                cells[k].append((k / M, y >= threshold))
            np.testing.assert_array_equal(table["count"], [len(cell) for cell in cells])
            for part, name in enumerate(("probability", "observed")):
                expected = [mean(pair[part] for pair in cell) if cell else math.nan for cell in cells]
                np.testing.assert_allclose(table[name], expected, atol=1e-12)


@pytest.mark.parametrize("rank_from", [None, 0.5])
def test_rank_histogram_equals_a_slow_transcription(sample, rank_from):
    for lead in (None, 1, 2):
        expected = np.zeros(M + 1)
        for x, y in known(*sample, lead=None if lead is None else lead - 1):
            if rank_from is not None:
                if max(*x, y) < rank_from:
                    continue
                x, y = [v if v >= rank_from else 0 for v in x], y if y >= rank_from else 0
            places = range(sum(v < y for v in x), sum(v <= y for v in x) + 1)
            expected[list(places)] += 1 / len(places)
        histogram = gathered(*sample, rank_from=rank_from).rank_histogram(lead=lead)
        np.testing.assert_allclose(histogram, expected, atol=1e-10)


def test_ties_drawn_by_seed(sample):
    metrics = gathered(*sample)
    split, drawn, other = metrics.rank_histogram(), metrics.rank_histogram(seed=0), metrics.rank_histogram(seed=1)
    np.testing.assert_array_equal(drawn, metrics.rank_histogram(seed=0))
    assert (drawn != other).any()
    assert (drawn == np.round(drawn)).all()
    assert drawn.sum() == pytest.approx(split.sum())
    mean_of_draws = np.mean([metrics.rank_histogram(seed=seed) for seed in range(400)], axis=0)
    np.testing.assert_allclose(mean_of_draws, split, atol=1.0)


def test_a_truth_like_one_more_member_is_reliable(rng):
    """Ranks are flat, spread-skill is 1 and the fair CRPS is that of the distribution, 1 / sqrt(pi) of a normal one."""
    level = rng.normal(0, 3, (1, 4, 1, 50, 50, 1))
    members, target = level + rng.normal(size=(M, 4, 1, 50, 50, 1)), level[0] + rng.normal(size=(4, 1, 50, 50, 1))
    metrics = gathered(members, target, units="raw")
    scores = metrics.compute()
    assert scores["spread_skill"]["overall"] == pytest.approx(1, abs=0.02)
    assert scores["crps_fair_raw"]["overall"] == pytest.approx(1 / math.sqrt(math.pi), abs=0.01)
    assert scores["crps_raw"]["overall"] > scores["crps_fair_raw"]["overall"] + 0.05
    np.testing.assert_allclose(metrics.rank_histogram() / target.size, 1 / (M + 1), atol=0.015)
    sure = gathered(level + 0.5 * (members - level), target, units="raw").compute()
    assert sure["spread_skill"]["overall"] == pytest.approx(0.5, abs=0.1)


def test_batches_in_any_order_are_the_whole(sample):
    members, target, mask = sample
    whole, parts = gathered(members, target, mask), EnsembleMetrics(M, THRESHOLDS)
    for part in (slice(1, None), slice(None, 1)):
        parts.update(members[:, part], target[part], mask[part])
    assert repr(parts.compute()) == repr(whole.compute())
    np.testing.assert_array_equal(parts.rank_histogram(seed=3), whole.rank_histogram(seed=3))
    np.testing.assert_array_equal(parts.reliability()["@1mmh"]["count"], whole.reliability()["@1mmh"]["count"])


def test_blocks_are_the_whole(sample, monkeypatch):
    whole = gathered(*sample)
    monkeypatch.setattr("convlstm.metrics.ensemble.BLOCK_VALUES", 4 * M)
    blocks = gathered(*sample)
    for name, score in whole.compute().items():
        assert blocks.compute()[name]["per_lead"] == pytest.approx(score["per_lead"], rel=1e-12)
    np.testing.assert_array_equal(blocks.rank_histogram(), whole.rank_histogram())


def test_order_of_members_does_not_matter(sample):
    members, target, mask = sample
    for name, score in gathered(members[::-1], target, mask).compute().items():
        assert score["overall"] == pytest.approx(gathered(*sample).compute()[name]["overall"], rel=1e-12)


def test_thresholds_are_compared_in_the_type_of_the_data(sample):
    """0.7 in single precision is below 0.7 in double precision, but it is at the threshold of the data."""
    members = np.full((2, 1, 1, 2, 2, 1), 0.7, np.float32)
    metrics = EnsembleMetrics(2, [0.7], rank_from=0.7)
    metrics.update(members, members[0])
    assert metrics.reliability()["@0.7mmh"]["observed"][-1] == 1
    assert metrics.rank_histogram().sum() == 4


def test_half_precision_and_whole_numbers():
    members = np.array([0, 60000, 60000]).reshape(3, 1, 1, 1, 1, 1)
    found = []
    for kind in (np.float16, np.int32):
        metrics = EnsembleMetrics(3)
        metrics.update(members.astype(kind), members[0].astype(kind))
        found.append(metrics.compute()["rmse_of_mean_mmh"]["overall"])
    assert found == pytest.approx([40000, 40000], rel=1e-3)


def test_a_lead_without_a_known_pixel_has_no_score():
    metrics = EnsembleMetrics(2, [1])
    metrics.update(np.zeros((2, 1, 2, 3, 3, 1)), np.full((1, 2, 3, 3, 1), np.nan))
    for score in metrics.compute().values():
        assert all(map(math.isnan, [score["overall"], score["mean_over_leads"], *score["per_lead"]]))
    assert np.isnan(metrics.reliability()["@1mmh"]["observed"]).all()
    assert metrics.rank_histogram().sum() == 0


@pytest.mark.parametrize(("units", "at"), [("mm/h", "@1mmh"), ("dBZ", "@1dBZ"), ("raw", "@1"), ("intensity", "@1")])
def test_reliability_is_by_threshold(units, at, sample):
    assert list(gathered(*sample, units=units).reliability()) == [at, at.replace("1", "3")]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"members": 1}, "'members' must be a whole number of at least 2 but got 1"),
        ({"members": 2.0}, "'members' must be a whole number of at least 2 but got 2.0"),
        ({"units": "mm"}, "'units' must be one of mm/h, dBZ, raw, intensity but got 'mm'"),
        ({"thresholds": [1, math.inf]}, "'thresholds' must be finite and differ in their first six digits"),
        ({"thresholds": [1, 1.0000001]}, "'thresholds' must be finite and differ in their first six digits"),
        ({"rank_from": math.nan}, "'rank_from' must be finite or None but got nan"),
    ],
)
def test_wrong_arguments(options, text):
    with pytest.raises(ValueError, match=re.escape(f"[EnsembleMetrics] {text}")):
        EnsembleMetrics(**{"members": 3, **options})


def test_wrong_arrays(sample):
    members, target, mask = sample
    metrics = EnsembleMetrics(M, THRESHOLDS)
    for call in (metrics.compute, metrics.reliability, metrics.rank_histogram):
        with pytest.raises(ValueError, match="there is nothing to compute: call 'update'"):
            call()
    with pytest.raises(TypeError, match="'members' must hold real numbers but got bool"):
        metrics.update(members > 1, target)
    with pytest.raises(TypeError, match="'target' must hold real numbers but got complex128"):
        metrics.update(members, target + 1j)
    with pytest.raises(ValueError, match=re.escape("'members' must have the shape (M, N, T, H, W, C), no side 0")):
        metrics.update(members[0], target)
    with pytest.raises(ValueError, match=re.escape("'target' must have the shape (N, T, H, W, C), no side 0")):
        metrics.update(members, target[:0])
    with pytest.raises(ValueError, match=re.escape("'members' must have the shape (5, 3, 2, 6, 7, 1), 5 members")):
        metrics.update(members[:4], target)
    with pytest.raises(ValueError, match=re.escape("'mask' must have the shape of 'target' or broadcast to it")):
        metrics.update(members, target, mask[:, :, :5])
    metrics.update(members, target, mask)
    with pytest.raises(ValueError, match="same number of lead times but got 1 after 2"):
        metrics.update(members[:, :, :1], target[:, :1])
    for lead in (0, 3):
        with pytest.raises(ValueError, match=f"'lead' must be from 1 to 2 but got {lead}"):
            metrics.rank_histogram(lead=lead)
