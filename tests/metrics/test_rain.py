"""Scores of rain forecasts: worked examples, a slow reference, and properties."""

import math
import re

from convlstm.metrics import RainMetrics, table
from convlstm.metrics import rain as module
from convlstm.metrics.rain import frame_sums
from tests.support.rain_scores import OPTIONS, THRESHOLDS, assert_same, rain, scored

import numpy as np
import pytest


def frames(*rows):
    """Returns one sequence of the given frames, (1, T, H, W, 1)."""
    return np.array(rows, np.float32)[None, ..., None]


# Two lead times of 3 x 4 pixels. Events at 2 mm/h, the first lead: hits 2, misses 1, false alarms 1, negatives 8; the
# second: hits 1, misses 3, false alarms 0, negatives 8.
TRUTH = frames([[0, 2, 2, 0], [0, 3, 0, 0], [0, 0, 0, 0]], [[9, 9, 9, 9], [0, 0, 0, 0], [0, 0, 0, 0]])
FORECAST = frames([[0, 2, 4, 0], [0, 0, 0, 2], [0, 0, 0, 0]], [[9, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


@pytest.mark.parametrize(
    ("name", "per_lead", "overall"),
    [
        ("csi@2mmh", [2 / 4, 1 / 4], 3 / 8),
        ("pod@2mmh", [2 / 3, 1 / 4], 3 / 7),
        ("far@2mmh", [1 / 3, 0], 1 / 4),
        ("bias@2mmh", [1, 1 / 4], 4 / 7),
        ("hss@2mmh", [2 * (16 - 1) / (3 * 9 + 3 * 9), 2 * 8 / (4 * 11 + 1 * 8)], 2 * (48 - 4) / (7 * 20 + 4 * 17)),
        ("mae_mmh", [(2 + 3 + 2) / 12, 27 / 12], 34 / 24),
        ("rmse_mmh", [math.sqrt((4 + 9 + 4) / 12), math.sqrt(243 / 12)], math.sqrt(260 / 24)),
        ("mean_error_mmh", [(2 - 3 + 2) / 12, -27 / 12], -26 / 24),
        # Weights: 2 from 2 mm/h on, 5 from 5 mm/h on, 1 below 2 mm/h.
        ("b_mse", [2 * 4 + 2 * 9 + 1 * 4, 5 * 243], (30 + 1215) / 2),
        ("b_mae", [2 * 2 + 2 * 3 + 1 * 2, 5 * 27], (12 + 135) / 2),
        # One pixel is its own window.
        ("fss@2mmh_1px", [1 - 2 / 6, 1 - 3 / 5], 1 - 5 / 11),
        # Squares of 2 x 2 from the upper left; the third row fills none. Events: truth left and right, forecast both.
        ("csi@2mmh_pool2", [1, 1 / 2], 3 / 4),
        # Not a single square of 4 x 4.
        ("csi@2mmh_pool4", [math.nan, math.nan], math.nan),
        ("csi@5mmh", [math.nan, 1 / 4], 1 / 4),
        ("csi_mean", [np.mean([2 / 4, 2 / 4]), 1 / 4], np.mean([3 / 8, 3 / 8, 1 / 4])),
    ],
)
def test_worked_example(name, per_lead, overall):
    score = scored(FORECAST, TRUTH)[name]
    assert score["per_lead"] == pytest.approx(per_lead, nan_ok=True)
    assert score["overall"] == pytest.approx(overall, nan_ok=True), "of the counts of both lead times"
    known = [value for value in per_lead if not math.isnan(value)]
    mean = np.mean(known) if known else math.nan
    assert score["mean_over_leads"] == pytest.approx(mean, nan_ok=True), "of the scores of both lead times"


def test_fractions_skill_of_one_pixel_beside_another():
    """In windows of 3 x 3, an event in the middle of a row is seen by 9 pixels, of which 6 see its neighbour, too."""
    truth, forecast = np.zeros((1, 1, 7, 7, 1)), np.zeros((1, 1, 7, 7, 1))
    truth[0, 0, 3, 3], forecast[0, 0, 3, 4] = 1, 1
    scores = scored(forecast, truth, thresholds=[1], scales=(1, 3))
    assert scores["fss@1mmh_1px"]["overall"] == 0
    assert scores["fss@1mmh_3px"]["overall"] == pytest.approx(1 - (9 - 2 * 6 + 9) / 18)


def slow(forecast, target, known):
    """Returns the scores of one lead time by loops over the frames (N, H, W), in float64."""
    f, t = forecast.astype(np.float64), target.astype(np.float64)
    e = (f - t)[known]
    weight = np.select([t < 0.5, t < 2, t < 5, t < 10, t < 30], [1.0, 1, 2, 5, 10], 30.0)[known]
    seen = known.any(axis=(1, 2)).sum()
    scores = {
        "mae_mmh": np.abs(e).mean(),
        "rmse_mmh": np.sqrt((e**2).mean()),
        "mean_error_mmh": e.mean(),
        "b_mse": (weight * e**2).sum() / seen,
        "b_mae": (weight * np.abs(e)).sum() / seen,
    }
    for threshold in THRESHOLDS:
        table = np.zeros((2, 2))
        pools = {size: np.zeros((2, 2)) for size in OPTIONS["pools"]}
        parts = {scale: np.zeros(2) for scale in OPTIONS["scales"]}
        for forecast_frame, target_frame, k in zip(f, t, known, strict=True):
            a, b = (forecast_frame >= threshold) & k, (target_frame >= threshold) & k
            for i, j in np.argwhere(k):
                table[int(a[i, j]), int(b[i, j])] += 1
            for size, counts in pools.items():
                for i in range(0, k.shape[0] - size + 1, size):
                    for j in range(0, k.shape[1] - size + 1, size):
                        square = slice(i, i + size), slice(j, j + size)
                        if k[square].any():
                            counts[int(a[square].any()), int(b[square].any())] += 1
            for scale, sums in parts.items():
                for i, j in np.ndindex(*k.shape):
                    top, left = i - scale // 2, j - scale // 2
                    window = slice(max(top, 0), top + scale), slice(max(left, 0), left + scale)
                    p, q = a[window].sum() / scale**2, b[window].sum() / scale**2
                    sums += (p - q) ** 2, p**2 + q**2
        at = f"@{threshold:g}mmh"
        (negatives, misses), (false_alarms, hits) = table
        total = table.sum()
        chance = ((hits + misses) * (hits + false_alarms) + (negatives + misses) * (negatives + false_alarms)) / total
        scores |= {
            f"csi{at}": hits / (hits + misses + false_alarms),
            f"pod{at}": hits / (hits + misses),
            f"far{at}": false_alarms / (hits + false_alarms),
            f"bias{at}": (hits + false_alarms) / (hits + misses),
            f"hss{at}": (hits + negatives - chance) / (total - chance),
        }
        scores |= {f"csi{at}_pool{s}": c[1, 1] / (c.sum() - c[0, 0]) for s, c in pools.items()}
        scores |= {f"fss{at}_{s}px": 1 - difference / both for s, (difference, both) in parts.items()}
    for suffix in ("", *(f"_pool{size}" for size in OPTIONS["pools"])):
        scores[f"csi_mean{suffix}"] = np.mean([scores[f"csi@{threshold:g}mmh{suffix}"] for threshold in THRESHOLDS])
    return scores


def test_scores_with_missing_pixels_are_those_of_a_slow_reference():
    forecast, target, known = rain(3, 2, 9, 11, 1)
    known[0, 0, :4, :4] = known[1, 1] = False
    ours = scored(forecast, target, known, spectrum=False)
    for lead in (0, 1):
        expected = slow(*(x[:, lead, ..., 0] for x in (forecast, target, known)))
        assert {name: score["per_lead"][lead] for name, score in ours.items()} == pytest.approx(expected, rel=1e-12)
    pool = [np.concatenate([x[:, 0, ..., 0], x[:, 1, ..., 0]]) for x in (forecast, target, known)]
    assert {name: score["overall"] for name, score in ours.items()} == pytest.approx(slow(*pool), rel=1e-12)


def test_perfect_forecast():
    _, target, mask = rain(2, 3, 16, 16, 1)
    for name, score in scored(target, target, mask).items():
        if not name.startswith("spectral"):
            assert score["overall"] == (1 if table.score(name).best in (table.HIGHER, 1) else 0), name
    assert scored(target, target)["spectral_ratio@16px"]["overall"] == 1


def test_scores_of_a_dry_forecast_and_a_dry_truth_are_undefined():
    dry = np.zeros((1, 2, 8, 8, 1))
    for name, score in scored(dry, dry, thresholds=[1], scales=(1, 4), pools=(4,)).items():
        if "@" in name or name.startswith("csi"):
            assert math.isnan(score["overall"]), name
            assert math.isnan(score["mean_over_leads"]), name
    wet = np.ones_like(dry)
    scores = scored(wet, dry, thresholds=[1])
    assert math.isnan(scores["pod@1mmh"]["overall"])
    assert math.isnan(scores["bias@1mmh"]["overall"])
    assert scores["far@1mmh"]["overall"] == 1


@pytest.mark.parametrize("where", ["mask", "target", "forecast"])
def test_missing_pixels_never_score(where):
    forecast, target, known = rain(2, 3, 10, 12, 1)
    known[1, 2] = False
    metrics = RainMetrics(**OPTIONS)
    metrics.update(forecast, target, known)
    spoilt = {"forecast": forecast.copy(), "target": target.copy()}
    spoilt["forecast" if where == "mask" else where][~known] = 1e6 if where == "mask" else np.nan
    assert_same(scored(**spoilt, mask=known if where == "mask" else None), metrics.compute())
    assert metrics.coverage == pytest.approx(known.mean())
    assert metrics.compute()["mae_mmh"] != scored(forecast, target)["mae_mmh"]


def test_a_threshold_of_zero_does_not_make_missing_pixels_events():
    forecast, target, known = rain(1, 1, 8, 8, 1)
    scores = scored(forecast, target, known, thresholds=[0], scales=(3,))
    assert scores["csi@0mmh"]["overall"] == scores["bias@0mmh"]["overall"] == 1
    sums = frame_sums(RainMetrics([0]).settings, *(x[0, ..., 0] for x in (forecast, target, known)))
    assert sums["tables"][0, 0, 0].tolist() == [known.sum(), 0, 0, 0]


def test_scores_without_a_known_pixel_are_nan():
    forecast, target, _ = rain(2, 2, 16, 16, 1)
    for name, score in scored(forecast, target, np.zeros(target.shape)).items():
        assert np.isnan([score["overall"], score["mean_over_leads"], *score["per_lead"]]).all(), name


def test_mask_broadcasts_and_takes_numbers():
    forecast, target, known = rain(2, 3, 8, 8, 1)
    field = known[0, 0]
    assert_same(
        scored(forecast, target, field.astype(np.float32) * 7),
        scored(forecast, target, np.broadcast_to(field, target.shape)),
    )


def test_batches_in_any_order_and_blocks_are_the_whole_to_the_last_bit(monkeypatch):
    forecast, target, known = rain(7, 3, 20, 18, 1)
    known[4:] = True
    forecast *= np.exp(np.random.default_rng(3).normal(0, 8, forecast.shape)).astype(np.float32)
    whole, parts = RainMetrics(**OPTIONS), RainMetrics(**OPTIONS)
    whole.update(forecast, target, known)
    for part in (slice(5, 7), slice(0, 2), slice(2, 5)):
        parts.update(forecast[part], target[part], known[part])
    assert_same(parts.compute(), whole.compute())
    assert parts.coverage == whole.coverage
    for key, value in whole.spectrum().items():
        np.testing.assert_array_equal(parts.spectrum()[key], value)
    monkeypatch.setattr(module, "BLOCK_PIXELS", 1)
    assert_same(scored(forecast, target, known), whole.compute())


def test_memory_does_not_hold_the_batch_as_float64(monkeypatch):
    """A block of one sequence is scored at a time, however long the batch."""
    shapes = []
    plain = module.frame_sums

    def spy(settings, forecast, target, mask):
        shapes.append(target.shape)
        return plain(settings, forecast, target, mask)

    monkeypatch.setattr(module, "frame_sums", spy)
    monkeypatch.setattr(module, "BLOCK_PIXELS", 2 * 64)
    forecast, target, _ = rain(3, 5, 8, 8, 1)
    scored(forecast, target)
    assert shapes == [(2, 8, 8), (2, 8, 8), (1, 8, 8)] * 3


def test_balance_can_be_chosen():
    scores = scored(FORECAST, TRUTH, balance=([3.0], [1, 100]))
    assert scores["b_mse"]["per_lead"] == pytest.approx([4 + 900 + 4, 24300])
    assert scores["b_mae"]["per_lead"] == pytest.approx([2 + 300 + 2, 2700])


def test_whole_numbers_and_half_precision_are_scored_as_they_are():
    """255 - 0 and 0 - 255 do not wrap around, and 300 squared does not overflow."""
    target, forecast = np.zeros((1, 1, 8, 8, 1), np.uint8), np.full((1, 1, 8, 8, 1), 255, np.uint8)
    assert scored(target, forecast, thresholds=[74], units="raw")["mean_error_raw"]["overall"] == -255
    assert scored(forecast, target, thresholds=[74], units="raw")["rmse_raw"]["overall"] == 255
    half = np.full((1, 1, 8, 8, 1), 300, np.float16)
    assert scored(half, np.zeros_like(half))["rmse_mmh"]["overall"] == 300


def test_a_value_at_the_threshold_is_an_event_in_single_precision_too():
    target = np.full((1, 1, 4, 4, 1), 0.7, np.float32)
    assert float(target[0, 0, 0, 0, 0]) < 0.7
    assert scored(target, target, thresholds=[0.7])["csi@0.7mmh"]["overall"] == 1


@pytest.mark.parametrize("bad", [np.inf, -np.inf])
def test_a_forecast_that_blew_up_is_not_missing(bad):
    forecast, target, _ = rain(1, 2, 16, 16, 1)
    forecast[0, 1, 3, 4], target[0, 1, 3, 4] = bad, 0
    metrics = RainMetrics(**OPTIONS)
    metrics.update(forecast, target)
    scores = metrics.compute()
    assert metrics.coverage == 1
    assert scores["mae_mmh"]["per_lead"][1] == scores["b_mse"]["overall"] == math.inf
    assert scores["mean_error_mmh"]["per_lead"][1] == bad
    assert math.isfinite(scores["mae_mmh"]["per_lead"][0])
    assert math.isfinite(scores["fss@2mmh_4px"]["overall"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"thresholds": []},
            "'thresholds' must be finite, at least one, and differ in their first six digits",
        ),
        ({"thresholds": [1, 1.0000001]}, "differ in their first six digits but got [1.0, 1.0000001]"),
        ({"thresholds": [math.nan]}, "'thresholds' must be finite"),
        ({"units": "mm"}, "'units' must be one of mm/h, dBZ, raw but got 'mm'."),
        ({"pixel_km": 0}, "'pixel_km' must be positive or None but got 0."),
        ({"scales": [0]}, "'scales' must be different whole numbers from 1 on but got [0]."),
        ({"scales": [2.5]}, "'scales' must be different whole numbers from 1 on but got [2.5]."),
        ({"pools": [4, 4]}, "'pools' must be different whole numbers from 2 on but got [4, 4]."),
        ({"balance": ([2, 1], [1, 1, 1])}, "'bins' must be finite and ascend but got [2.0, 1.0]."),
        ({"balance": ([2], [1])}, "'weights' must be one more than the 1 'bins' but got 1"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=r"^\[RainMetrics\] .*" + re.escape(message)):
        RainMetrics(**({"thresholds": [1]} | options))


def test_errors():
    forecast, target, _ = rain(2, 3, 8, 8, 1)
    metrics = RainMetrics(THRESHOLDS)
    with pytest.raises(ValueError, match="nothing to compute"):
        metrics.compute()
    with pytest.raises(ValueError, match="no spectrum yet"):
        metrics.spectrum()
    with pytest.raises(ValueError, match="made with spectrum=False"):
        RainMetrics([1], spectrum=False).spectrum()
    assert math.isnan(metrics.coverage)
    with pytest.raises(ValueError, match=r"same shape but got \(2, 2, 8, 8, 1\) and \(2, 3, 8, 8, 1\)"):
        metrics.update(forecast[:, :2], target)
    for bad in (target[0], np.repeat(target, 2, axis=-1), target[:0]):
        with pytest.raises(ValueError, match=rf"the shape \(N, T, H, W, 1\).* but got {re.escape(str(bad.shape))}"):
            metrics.update(forecast, bad)
    for bad in (target > 1, target.astype(complex), target.astype(str)):
        with pytest.raises(TypeError, match=re.escape(f"'target' must hold real numbers but got {bad.dtype}.")):
            metrics.update(forecast, bad)
    with pytest.raises(ValueError, match=r"broadcast to it but got \(2, 3, 8, 7, 1\) and \(2, 3, 8, 8, 1\)"):
        metrics.update(forecast, target, np.ones((2, 3, 8, 7, 1)))
    metrics.update(forecast, target)
    before = metrics.compute()
    with pytest.raises(ValueError, match="same number of lead times but got 2 after 3"):
        metrics.update(forecast[:, :2], target[:, :2])
    with pytest.raises(ValueError, match=r"same size but got \(8, 6\) after \(8, 8\).*spectrum=False"):
        metrics.update(forecast[:, :, :, :6], target[:, :, :, :6])
    assert_same(metrics.compute(), before)
