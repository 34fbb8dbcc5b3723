"""Scores of rain forecasts: worked examples, a slow reference, and what must not matter to them."""

import math
import re

from convlstm.metrics import RainMetrics, higher_is_better, unit
from convlstm.metrics import rain as module
from convlstm.metrics.counts import fractions, pooled, window_counts
from convlstm.metrics.exact import ExactSum
from convlstm.metrics.frames import frame_sums
from convlstm.metrics.spectrum import radial_spectrum, rings, taper

import numpy as np
import pytest

THRESHOLDS = (0.5, 2.0, 5.0)
OPTIONS = {"thresholds": THRESHOLDS, "scales": (1, 2, 3, 4, 40), "pools": (2, 4)}


def rain(*shape, seed=0):
    """Forecast and truth in mm/h, dry in most places, and where the truth is known."""
    rng = np.random.default_rng(seed)
    target = (rng.random(shape) < 0.5) * rng.gamma(0.6, 6, shape)
    forecast = np.where(rng.random(shape) < 0.6, target, rng.gamma(0.6, 6, shape))
    return forecast.astype(np.float32), target.astype(np.float32), rng.random(shape) < 0.8


def scored(forecast, target, mask=None, **options):
    metrics = RainMetrics(**(OPTIONS | options))
    metrics.update(forecast, target, mask)
    return metrics.compute()


def frames(*rows):
    """One sequence of the given frames, (1, T, H, W, 1)."""
    return np.array(rows, np.float32)[None, ..., None]


def assert_same(a, b):
    """To the last bit, NaN being NaN."""
    assert a.keys() == b.keys()
    for name, score in a.items():
        for key, value in score.items():
            np.testing.assert_array_equal(b[name][key], value, err_msg=f"{name} {key}")


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


def test_an_event_at_the_edge_has_its_window_cut():
    """Only 4 of the 9 pixels whose windows see a corner lie inside."""
    x = np.zeros((1, 5, 6), bool)
    x[0, 0, 0] = True
    assert fractions(x, x, 3).tolist() == [[4, 4, 4]]
    assert window_counts(np.ones((1, 5, 6), bool), 3)[0, 0].tolist() == [4, 6, 6, 6, 6, 4]


def test_an_even_window_reaches_further_back():
    x = np.zeros((1, 1, 6), bool)
    x[0, 0, 2] = True
    assert window_counts(x, 2)[0, 0].tolist() == [0, 0, 1, 1, 0, 0]
    assert window_counts(x, 4)[0, 0].tolist() == [0, 1, 1, 1, 1, 0]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13, 16, 17, 25, 400])
def test_window_counts_are_those_of_a_loop(size, rng):
    x = rng.random((2, 9, 13)) < 0.5
    expected = np.zeros(x.shape, int)
    for n, i, j in np.ndindex(*x.shape):
        top, left = i - size // 2, j - size // 2
        expected[n, i, j] = x[n, max(top, 0) : top + size, max(left, 0) : left + size].sum()
    np.testing.assert_array_equal(window_counts(x, size), expected)


def test_counts_of_large_full_windows_fit():
    """300 in a row does not fit 8 bits, 90,000 in a square does not fit 16."""
    assert window_counts(np.ones((1, 300, 301), bool), 600).max() == 300 * 301
    assert window_counts(np.ones((1, 300, 301), bool), 256).max() == 256 * 256


def test_pooled_squares(rng):
    x = rng.random((2, 7, 10)) < 0.1
    expected = [
        [[x[n, 3 * i : 3 * i + 3, 3 * j : 3 * j + 3].any() for j in range(3)] for i in range(2)] for n in (0, 1)
    ]
    np.testing.assert_array_equal(pooled(x, 3), expected)


def slow(forecast, target, known):
    """The scores of one lead time by loops over the frames (N, H, W), in float64."""
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
            better = higher_is_better(name)
            assert score["overall"] == (1 if better or name.startswith("bias") else 0), name
    assert scored(target, target)["spectral_ratio@16px"]["overall"] == 1


def test_nothing_forecast_and_nothing_happened_is_undefined():
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


def test_nothing_known_is_nan_not_zero():
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


def test_parts_merge_to_the_whole_to_the_last_bit(monkeypatch):
    forecast, target, known = rain(7, 3, 20, 18, 1)
    known[4:] = True
    forecast *= np.exp(np.random.default_rng(3).normal(0, 8, forecast.shape)).astype(np.float32)
    whole = RainMetrics(**OPTIONS)
    whole.update(forecast, target, known)
    one, two, three = (RainMetrics(**OPTIONS) for _ in range(3))
    for metrics, part in ((one, slice(5, 7)), (one, slice(0, 2)), (two, slice(2, 5))):
        metrics.update(forecast[part], target[part], known[part])
    one.merge(two)
    three.merge(one)
    three.merge(RainMetrics(**OPTIONS))
    assert_same(three.compute(), whole.compute())
    assert three.coverage == whole.coverage
    for key, value in whole.spectrum().items():
        np.testing.assert_array_equal(three.spectrum()[key], value)
    monkeypatch.setattr(module, "BLOCK_PIXELS", 1)
    assert_same(scored(forecast, target, known), whole.compute())


def test_exact_sums():
    numbers = [1.0, 1e16, 3.0, -1e16, 2.0**-30, 1e8]
    for order in (numbers, numbers[::-1], sorted(numbers)):
        total = ExactSum((1,))
        for number in order:
            total.add(np.array([number]))
        assert total.value.tolist() == [math.fsum(numbers)]
    parts = [ExactSum((1,)) for _ in range(3)]
    for k, number in enumerate(numbers):
        parts[k % 2].add(np.array([number]))
    for part in parts[:2]:
        parts[2].merge(part)
    assert parts[2].value.tolist() == [math.fsum(numbers)]
    rows = ExactSum((3, 2))
    rows.add(np.array([[1.0, 2.0]]), start=1)
    assert rows.value.tolist() == [[0, 0], [1, 2], [0, 0]]


def test_memory_does_not_hold_the_batch_as_float64(monkeypatch):
    """What is scored at a time is a block of one sequence, however long the batch."""
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


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 9), (8, 16), (15, 6), (1, 5)])
def test_rings_hold_every_wave_of_their_length_once(height, width):
    longest, expected = max(height, width), {}
    for y, x in np.ndindex(height, width):
        frequency = math.hypot(min(y, height - y) / height, min(x, width - x) / width)
        number = round(longest * frequency)
        expected[number] = expected.get(number, 0) + 1
    _, count = rings(height, width)
    assert count.tolist() == [expected[r] for r in range(math.ceil(longest / 2))]


@pytest.mark.parametrize("shape", [(24, 24), (15, 15), (12, 20)])
def test_power_is_the_mean_over_a_ring_of_the_whole_plane(shape, rng):
    field = rng.normal(size=shape)
    power = np.abs(np.fft.fft2(field)) ** 2 / field.size
    y, x = np.meshgrid(*(np.abs(np.fft.fftfreq(n)) for n in shape), indexing="ij")
    ring = (np.hypot(y, x) * max(shape)).round(9).round()
    expected = [power[ring == r].mean() for r in range(math.ceil(max(shape) / 2))]
    np.testing.assert_allclose(radial_spectrum(field[None])[0], expected, rtol=1e-10)


def test_a_wave_of_8_pixels_has_its_power_at_8_pixels():
    wave = 3 + np.cos(2 * np.pi * np.arange(64) / 8) * np.ones((64, 1))
    power = radial_spectrum(np.stack([wave, 2 * wave]))
    _, count = rings(64, 64)
    assert power[0, 8] * count[8] == pytest.approx(64**2 / 2)
    assert np.delete(power[0], [0, 8]) == pytest.approx(0, abs=1e-20)
    assert power[1] == pytest.approx(4 * power[0], abs=1e-20)


def test_spectrum_is_that_of_the_tapered_log():
    forecast, target, _ = rain(2, 3, 24, 24, 1)
    metrics = RainMetrics([1], pixel_km=2.0)
    metrics.update(forecast, target)
    spectrum = metrics.spectrum()
    assert spectrum["wavelength_px"].tolist() == [24 / r for r in range(1, 12)]
    assert spectrum["wavelength_km"].tolist() == [48 / r for r in range(1, 12)]
    assert spectrum["frames"].tolist() == [2, 2, 2]
    fields = np.log1p(forecast[..., 0].astype(np.float64)) * taper(24, 24)
    expected = np.stack([radial_spectrum(fields[:, lead]).mean(axis=0)[1:] for lead in range(3)])
    np.testing.assert_allclose(spectrum["forecast"], expected, rtol=1e-12)
    assert spectrum["target"].shape == (3, 11)
    raw = RainMetrics([1], units="raw")
    raw.update(np.log1p(forecast.astype(np.float64)), target)
    np.testing.assert_allclose(raw.spectrum()["forecast"], expected, rtol=1e-12)
    assert "wavelength_km" not in raw.spectrum()


def test_spectral_ratio_is_the_share_of_power_a_blur_leaves():
    """A wave of 8 pixels of half the amplitude has a quarter of the power; that of 32 pixels does not matter."""
    y, x = np.mgrid[:64, :64]
    coarse, fine = np.cos(2 * np.pi * y / 32), np.cos(2 * np.pi * (x + y) / 8)
    truth, blurred, other = 5 + coarse + fine, 5 + coarse + fine / 2, 5 + 3 * coarse + fine
    for forecast, expected in ((truth, 1), (blurred, 0.25), (other, 1)):
        score = scored(forecast[None, None, ..., None], truth[None, None, ..., None], units="raw")
        assert score["spectral_ratio@16px"]["overall"] == pytest.approx(expected, rel=1e-3)


def test_blur_is_seen_where_the_frame_does_not_repeat(rng):
    """A slope jumps at the frame's edges. Without the taper, that jump would hide that the forecast is smooth."""
    y, x = np.mgrid[:64, :64] / 8
    truth = y + x + rng.normal(0, 0.3, (64, 64))
    score = scored((y + x)[None, None, ..., None], truth[None, None, ..., None], units="raw")
    assert score["spectral_ratio@16px"]["overall"] < 0.01


def test_only_frames_without_a_missing_pixel_have_a_spectrum():
    forecast, target, known = rain(3, 2, 32, 32, 1)
    known[:] = True
    known[1, 0, 3, 4] = known[:, 1, 0, 0] = False
    metrics = RainMetrics([1])
    metrics.update(forecast, target, known)
    spectrum, ratio = metrics.spectrum(), metrics.compute()["spectral_ratio@16px"]
    assert spectrum["frames"].tolist() == [2, 0]
    assert np.isnan(spectrum["target"][1]).all()
    two = scored(forecast[::2, :1], target[::2, :1])["spectral_ratio@16px"]
    assert ratio["per_lead"] == pytest.approx([two["overall"], math.nan], nan_ok=True)
    assert ratio["overall"] == pytest.approx(two["overall"])


def test_spectrum_can_be_left_out():
    forecast, target, _ = rain(2, 2, 16, 16, 1)
    full, without = scored(forecast, target), scored(forecast, target, spectrum=False)
    assert_same(without, {name: score for name, score in full.items() if name != "spectral_ratio@16px"})
    metrics = RainMetrics([1], spectrum=False)
    metrics.update(forecast, target)
    metrics.update(forecast[:, :, :8], target[:, :, :8])
    assert metrics.coverage == 1


def test_names_carry_thresholds_and_units():
    forecast, target, _ = rain(1, 1, 16, 16, 1)
    names = scored(forecast, target, thresholds=[0.5, 10], scales=(16,), pools=(4,)).keys()
    assert {"csi@0.5mmh", "pod@10mmh", "fss@0.5mmh_16px", "csi@10mmh_pool4", "mae_mmh", "b_mse"} < names
    raw = scored(forecast, target, thresholds=[74, 133], units="raw", scales=(16,), pools=(4,)).keys()
    assert {"csi@74", "hss@133", "fss@74_16px", "csi@74_pool4", "mae_raw", "rmse_raw"} < raw
    assert not any(name.startswith("b_") for name in raw), "HKO-7's bins are in mm/h"
    own = scored(forecast, target, thresholds=[20], units="dBZ", balance=([1.0], [1, 2])).keys()
    assert {"csi@20dBZ", "b_mse_dBZ", "b_mae_dBZ", "mean_error_dBZ"} < own
    for name in {*names, *raw, *own}:
        assert unit(name)
        assert higher_is_better(name) in (True, False, None)


@pytest.mark.parametrize(
    ("name", "expected", "better"),
    [
        ("csi@0.5mmh", "1", True),
        ("csi@74_pool16", "1", True),
        ("csi_mean_pool4", "1", True),
        ("far@2mmh", "1", False),
        ("bias@2mmh", "1", None),
        ("fss@2mmh_16px", "1", True),
        ("spectral_ratio@16px", "1", None),
        ("mae_mmh", "mm/h", False),
        ("mean_error_raw", "raw", None),
        ("rmse_dBZ", "dBZ", False),
        ("b_mse", "weighted (mm/h)^2 per frame", False),
        ("b_mae", "weighted mm/h per frame", False),
        ("b_mse_raw", "weighted (raw)^2 per frame", False),
    ],
)
def test_units_and_directions(name, expected, better):
    assert unit(name) == expected
    assert higher_is_better(name) is better


@pytest.mark.parametrize("name", ["ssim", "mae", "csi2", ""])
def test_unknown_names(name):
    for function in (unit, higher_is_better):
        with pytest.raises(ValueError, match=re.escape(f"there is no score {name!r}. The kinds are: csi, pod")):
            function(name)


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
    with pytest.raises(ValueError, match=r"cannot merge: 'scales' is \(1, 4, 16, 64\) here and \(1,\) there"):
        metrics.merge(RainMetrics(THRESHOLDS, scales=(1,)))
    other = RainMetrics(THRESHOLDS)
    other.update(forecast[:, :2], target[:, :2])
    with pytest.raises(ValueError, match="same number of lead times but got 2 after 3"):
        metrics.merge(other)
    assert_same(metrics.compute(), before)
