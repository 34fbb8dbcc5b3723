"""The sums that the scores of the comparison of a learned ensemble with STEPS are made of."""

from benchmarks.nowcast_sums import LEAST, OCTAVES, SIDES, THRESHOLDS, TIMES, ensemble_sums, field_sums, power
from convlstm.metrics import EnsembleMetrics, RainMetrics

import numpy as np
import pytest


@pytest.fixture
def rain(rng):
    """Members (6, T, H, W), truth and known pixels (T, H, W), in steps of ten minutes."""
    truth, members = (rng.gamma(0.5, 2, shape).astype(np.float32) for shape in ((7, 32, 48), (6, 7, 32, 48)))
    truth, members = (np.where(x < LEAST, 0, x).astype(np.float32) for x in (truth, members))
    return members, truth, rng.random(truth.shape) < 0.8


def test_sums_over_pixels_are_those_of_the_metrics(rain):
    members, truth, known = rain
    sums = ensemble_sums(members, truth, known, 10, 2)
    metrics = EnsembleMetrics(6, THRESHOLDS, rank_from=0.1)
    metrics.update(members[:, None, ..., None], truth[None, ..., None], known[None, ..., None])
    scores, pixels = metrics.compute(), sums["pixels 1px"].sum()
    assert pixels == known.sum()
    for kind in ("crps", "crps_fair"):
        assert sums[f"{kind} 1px"].sum() / pixels == pytest.approx(scores[f"{kind}_mmh"]["overall"])
    for k, threshold in enumerate(THRESHOLDS):
        assert sums["brier"][k].sum() / pixels == pytest.approx(scores[f"brier@{threshold:g}mmh"]["overall"])
        assert sums["forecasts"][k].sum() == pixels
        assert sums["events"][k].sum() == pytest.approx((truth[known] >= threshold).sum())
    ratio = np.sqrt(7 / 6 * sums["variance"].sum() / sums["squared_error"].sum())
    assert ratio == pytest.approx(scores["spread_skill"]["overall"])
    assert sums["ranks"] == pytest.approx(metrics.rank_histogram())


def test_sums_of_starts_add_up(rain):
    """A score of two starts is that of their pixels together, also where one has far fewer pixels."""
    members, truth, known = rain
    few = known & (np.arange(48) < 5)
    one, two = (ensemble_sums(members + n, truth, mask, 10, 2) for n, mask in enumerate((few, known)))
    metrics = EnsembleMetrics(6)
    metrics.update(
        np.stack([members, members + 1], axis=1)[..., None],
        np.stack([truth, truth])[..., None],
        np.stack([few, known])[..., None],
    )
    total = (one["crps 1px"] + two["crps 1px"]) / (one["pixels 1px"] + two["pixels 1px"])
    assert total == pytest.approx(metrics.compute()["crps_mmh"]["per_lead"])


def test_rates_below_the_least_count_as_dry_in_truth_and_forecasts(rain):
    members, truth, known = rain
    weak = np.float32(0.9 * LEAST)
    others = np.where(members == 0, weak, members), np.where(truth == 0, weak, truth)
    for name, values in ensemble_sums(members, truth, known, 10, 2).items():
        assert ensemble_sums(*others, known, 10, 2)[name] == pytest.approx(values), name
    for name, values in field_sums(members[0], truth, known).items():
        assert field_sums(others[0][0], others[1], known)[name] == pytest.approx(values), name


def test_unknown_pixels_do_not_count(rain):
    members, truth, known = rain
    before = ensemble_sums(members, truth, known, 10, 2)
    after = ensemble_sums(np.where(known, members, np.nan), np.where(known, truth, np.nan), known, 10, 2)
    for name, values in before.items():
        assert after[name] == pytest.approx(values), name


def test_squares_are_means_of_their_known_pixels():
    truth = np.zeros((7, 32, 32), np.float32)
    members = np.stack([truth, truth + 2])
    members[:, :, ::2] = 99  # half of the rows are unknown
    known = np.broadcast_to((np.arange(32) % 2 == 1)[:, None], truth.shape)
    sums = ensemble_sums(members, truth, known, 10, 2)
    for side in SIDES[1:]:
        assert sums[f"pixels {side}px"] == pytest.approx((32 // side) ** 2)
        # mean |x - y| = 1, less half of the mean distance of two members, 2 / 4.
        assert sums[f"crps {side}px"] / sums[f"pixels {side}px"] == pytest.approx(0.5)


@pytest.mark.parametrize("sums", [ensemble_sums, field_sums])
def test_a_forecast_must_have_a_value_wherever_it_is_scored(sums, rain):
    members, truth, known = rain
    members[:, 3, 5, 5], known[3, 5, 5] = np.nan, True
    with pytest.raises(ValueError, match="has no value at a pixel that is scored"):
        sums(*((members, truth, known, 10, 2) if sums is ensemble_sums else (members[0], truth, known)))


def test_sums_of_a_field_are_those_of_the_metrics(rain):
    members, truth, known = rain
    sums = field_sums(members[0], truth, known)
    metrics = RainMetrics(THRESHOLDS, scales=(), pools=(), spectrum=False)
    metrics.update(members[0][None, ..., None], truth[None, ..., None], known[None, ..., None])
    scores = metrics.compute()
    assert sums["absolute_error"].sum() / sums["pixels"].sum() == pytest.approx(scores["mae_mmh"]["overall"])
    hits, misses, false_alarms, _ = sums["tables"].T
    for k, threshold in enumerate(THRESHOLDS):
        csi = hits[k] / (hits[k] + misses[k] + false_alarms[k])
        assert csi == pytest.approx(scores[f"csi@{threshold:g}mmh"]["overall"])


def test_power_is_that_of_waves_in_an_octave():
    rows = np.arange(64)
    wave = 10 ** (np.sin(2 * np.pi * rows / 5)[:, None] + np.zeros((64, 64)))
    of_octaves = power(wave[None], 2)  # waves of 10 km
    assert np.argmax(of_octaves) == 1
    assert of_octaves[1] > 20 * max(of_octaves[0], of_octaves[2])


def test_power_is_compared_at_thirty_and_sixty_minutes(rain):
    members, truth, known = rain
    everywhere = np.ones_like(known)
    members[:, 2] = truth[2]  # 30 minutes
    sums = ensemble_sums(members, truth, everywhere, 10, 2)
    assert sums["power"].shape == (len(TIMES), len(OCTAVES))
    assert sums["power"][0] == pytest.approx(sums["power_of_truth"][0])
    assert sums["power_of_truth"][1] == pytest.approx(power(truth[None, 5], 2))
