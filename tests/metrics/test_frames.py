import json
import math

from convlstm.metrics.frames import KINDS, PSNR_CAP, FrameMetrics
from tests.support.frame_pairs import pair

import numpy as np
import pytest


def scored(forecast, target, mask=None, **options):
    metrics = FrameMetrics(**options)
    metrics.update(forecast, target, mask)
    return metrics.compute()


def flat(scores):
    return {(name, key): value for name, score in scores.items() for key, value in score.items()}


def assert_same(a, b, rtol=1e-10):
    assert a.keys() == b.keys()
    for key, value in flat(a).items():
        np.testing.assert_allclose(flat(b)[key], value, rtol=rtol, err_msg=str(key))


def test_constant_error_has_closed_form():
    target = np.full((3, 4, 8, 16, 2), 0.5, np.float32)
    scores = scored(target + np.float32(0.25), target)
    pixels = 8 * 16 * 2
    expected = {
        "mse_per_pixel": 0.0625,
        "mae_per_pixel": 0.25,
        "mse_per_frame": 0.0625 * pixels,
        "mae_per_frame": 0.25 * pixels,
        "psnr": 20 * math.log10(4),
        # Without variance the second factor of SSIM is 1.
        "ssim": (2 * 0.75 * 0.5 + 1e-4) / (0.75**2 + 0.5**2 + 1e-4),
        "ssim_openstl": (2 * 0.75 * 0.5 + 4e-4) / (0.75**2 + 0.5**2 + 4e-4),
    }
    assert scores.keys() == expected.keys() == set(KINDS)
    for name, value in expected.items():
        assert scores[name]["overall"] == pytest.approx(value)
        assert scores[name]["per_lead"] == pytest.approx([value] * 4)


def test_zero_forecast_scores_the_sum_of_squares():
    _, target = pair(5, 3, 16, 16, 1)
    scores = scored(np.zeros_like(target), target)
    assert scores["mse_per_frame"]["overall"] == pytest.approx((target**2).sum() / 15, rel=1e-6)
    assert scores["mae_per_frame"]["per_lead"] == pytest.approx(target.sum(axis=(2, 3, 4)).mean(axis=0), rel=1e-6)
    assert scores["mse_per_frame"]["overall"] == pytest.approx(256 * scores["mse_per_pixel"]["overall"])


def test_perfect_forecast():
    _, target = pair(2, 3, 9, 9, 1)
    scores = scored(target, target)
    assert scores["mse_per_frame"]["overall"] == 0
    assert scores["psnr"]["overall"] == PSNR_CAP
    assert scores["ssim"]["overall"] == pytest.approx(1)


def test_psnr_is_the_mean_over_frames_and_clips_the_forecast():
    target = np.zeros((1, 2, 8, 8, 1), np.float32)
    forecast = target.copy()
    forecast[:, 0], forecast[:, 1] = 0.1, 3.0
    scores = scored(forecast, target)
    assert scores["psnr"]["per_lead"] == pytest.approx([20, 0], abs=1e-5)
    assert scores["psnr"]["overall"] == pytest.approx(10)
    assert scores["mse_per_pixel"]["per_lead"][1] == pytest.approx(9), "errors are not clipped"
    forecast[:, 0] = -5
    assert scored(forecast, target)["psnr"]["per_lead"][0] == PSNR_CAP


def test_scores_are_those_of_openstl():
    """The table's numbers are scikit-image's on clipped float frames, whose default range is 2."""
    skimage = pytest.importorskip("skimage.metrics")
    forecast, target = pair(3, 2, 16, 16, 1)
    scores = scored(forecast, target)
    clipped = np.clip(forecast, 0, 1)
    frames = [(clipped[n, t, ..., 0], target[n, t, ..., 0]) for n in range(3) for t in range(2)]
    ssim = np.mean([skimage.structural_similarity(f, t, data_range=2.0) for f, t in frames])
    psnr = np.mean([skimage.peak_signal_noise_ratio(t, f, data_range=1.0) for f, t in frames])
    assert scores["ssim_openstl"]["overall"] == pytest.approx(ssim, rel=1e-5)
    assert scores["psnr"]["overall"] == pytest.approx(psnr, rel=1e-6)
    assert scores["mse_per_frame"]["overall"] == pytest.approx(((forecast - target) ** 2).sum() / 6, rel=1e-6)


@pytest.mark.parametrize("size", [(6, 20), (20, 6), (1, 1)])
def test_ssim_of_small_frames_is_nan(size):
    scores = scored(*pair(2, 2, *size, 1))
    assert math.isnan(scores["ssim"]["overall"])
    assert math.isnan(scores["ssim_openstl"]["per_lead"][0])
    assert math.isfinite(scores["psnr"]["overall"])


def test_ssim_can_be_left_out():
    batch = pair(2, 2, 8, 8, 1)
    without, full = scored(*batch, ssim=False), scored(*batch)
    assert set(full) - set(without) == {"ssim", "ssim_openstl"}
    assert_same(without, {name: full[name] for name in without})


def test_batches_merge_and_order_do_not_matter():
    forecast, target = pair(7, 3, 12, 10, 2)
    mask = np.random.default_rng(1).random(target.shape) < 0.99
    whole = scored(forecast, target, mask)
    one, two, three = FrameMetrics(), FrameMetrics(), FrameMetrics()
    for metrics, part in ((one, slice(5, 7)), (one, slice(0, 2)), (two, slice(2, 5))):
        metrics.update(forecast[part], target[part], mask[part])
    one.merge(two)
    three.merge(one)
    three.merge(FrameMetrics())
    assert_same(three.compute(), whole)
    assert three.coverage == pytest.approx(mask.mean())


@pytest.mark.parametrize("ssim", [True, False])
def test_the_state_carries_everything_through_json(ssim):
    forecast, target = pair(5, 3, 12, 10, 1)
    whole, here, there = (FrameMetrics(ssim=ssim) for _ in range(3))
    mask = np.random.default_rng(1).random(target.shape) < 0.99
    for metrics in (whole, there):
        metrics.update(forecast[3:], target[3:], mask[3:])
    for metrics in (whole, here):
        metrics.update(forecast[:3], target[:3], mask[:3])
    merged = FrameMetrics.from_state(json.loads(json.dumps(FrameMetrics(ssim=ssim).state())))
    for metrics in (there, here):
        merged.merge(FrameMetrics.from_state(json.loads(json.dumps(metrics.state()))))
    assert merged.compute() == whole.compute()
    assert merged.coverage == whole.coverage


def test_a_state_of_other_scores_is_refused():
    metrics = FrameMetrics()
    metrics.update(*pair(2, 3, 12, 10, 1))
    state = metrics.state()
    with pytest.raises(ValueError, match=r"'sums' must hold 3 lead times of mse_per_pixel, .* but got"):
        FrameMetrics.from_state(state | {"ssim": False})
    short = {**state["counts"], "psnr": [2.0]}
    with pytest.raises(ValueError, match=r"'counts' must hold 3 lead times of .* 'psnr': 1"):
        FrameMetrics.from_state(state | {"counts": short})


@pytest.mark.parametrize("where", ["mask", "target", "forecast"])
def test_missing_pixels_never_score(where):
    forecast, target = pair(2, 3, 10, 12, 1)
    valid = np.ones(target.shape, bool)
    valid[0, 1, 2:4, 3] = False
    valid[1, 2] = False
    garbage, mask = {"mask": 1e6, "target": np.nan, "forecast": np.nan}[where], valid if where == "mask" else None
    spoilt = {"forecast": forecast.copy(), "target": target.copy()}
    spoilt["forecast" if where == "mask" else where][~valid] = garbage
    metrics = FrameMetrics()
    metrics.update(**spoilt, mask=mask)
    scores = metrics.compute()
    error = np.where(valid, forecast - target, 0).astype(np.float64)
    assert scores["mse_per_pixel"]["overall"] == pytest.approx((error**2).sum() / valid.sum(), rel=1e-6)
    assert scores["mse_per_frame"]["overall"] == pytest.approx((error**2).sum() / 5, rel=1e-6)
    assert scores["mae_per_frame"]["per_lead"][2] == pytest.approx(np.abs(error[0, 2]).sum(), rel=1e-6)
    frame = valid[0, 1]
    clipped = np.clip(forecast[0, 1], 0, 1)[frame] - target[0, 1][frame]
    other = np.clip(forecast[1, 1], 0, 1) - target[1, 1]
    psnr = [-10 * np.log10(np.mean(np.square(e, dtype=np.float64))) for e in (clipped, other)]
    assert scores["psnr"]["per_lead"][1] == pytest.approx(np.mean(psnr), rel=1e-6)
    assert metrics.coverage == pytest.approx(valid.mean())


def test_mask_broadcasts_and_takes_numbers():
    forecast, target = pair(2, 3, 8, 8, 2)
    field = np.random.default_rng(2).random((8, 8, 1)) < 0.7
    assert_same(
        scored(forecast, target, field.astype(np.float32)),
        scored(forecast, target, np.broadcast_to(field, target.shape)),
    )


def test_scores_without_a_valid_pixel_are_nan():
    forecast, target = pair(2, 2, 8, 8, 1)
    for value in flat(scored(forecast, target, np.zeros(target.shape))).values():
        assert np.isnan(value).all()


def test_a_forecast_that_blew_up_is_not_missing():
    _, target = pair(1, 2, 8, 8, 1)
    forecast = target.copy()
    forecast[0, 1, 0, 0] = np.inf
    scores = scored(forecast, target)
    assert scores["mse_per_frame"]["per_lead"] == [0, math.inf]


def test_half_precision_is_scored_in_single():
    forecast, target = pair(1, 2, 64, 64, 1)
    half = forecast.astype(np.float16)
    assert_same(scored(half, target), scored(half.astype(np.float32), target))


def test_errors():
    forecast, target = pair(2, 3, 8, 8, 1)
    metrics = FrameMetrics()
    with pytest.raises(ValueError, match="nothing to compute"):
        metrics.compute()
    assert math.isnan(metrics.coverage)
    with pytest.raises(ValueError, match=r"same shape but got \(2, 2, 8, 8, 1\) and \(2, 3, 8, 8, 1\)"):
        metrics.update(forecast[:, :2], target)
    with pytest.raises(ValueError, match=r"'target' must have the shape \(N, T, H, W, C\) but got \(3, 8, 8, 1\)"):
        metrics.update(forecast, target[0])
    with pytest.raises(TypeError, match="'target' must hold floats, 1 being the full scale, but got uint8"):
        metrics.update(forecast, target.astype(np.uint8))
    with pytest.raises(ValueError, match=r"broadcast to it but got \(2, 3, 8, 7, 1\) and \(2, 3, 8, 8, 1\)"):
        metrics.update(forecast, target, np.ones((2, 3, 8, 7, 1)))
    metrics.update(forecast, target)
    with pytest.raises(ValueError, match="same number of lead times but got 2 after 3"):
        metrics.update(forecast[:, :2], target[:, :2])
    with pytest.raises(ValueError, match="'other' must have the same 'ssim', True, to be merged but has False"):
        metrics.merge(FrameMetrics(ssim=False))


def test_a_forecast_that_ran_away_has_an_infinite_score_and_no_warning():
    metrics = FrameMetrics(ssim=False)
    metrics.update(np.full((1, 1, 4, 4, 1), 3e30, np.float32), np.zeros((1, 1, 4, 4, 1), np.float32))
    scores = metrics.compute()
    assert scores["mse_per_pixel"]["overall"] == np.inf
    assert scores["mae_per_pixel"]["overall"] == pytest.approx(3e30)
