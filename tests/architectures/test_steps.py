"""STEPS as an ensemble."""

import re

from convlstm.architectures.cascade import bands
from convlstm.architectures.sprog import SPROG
from convlstm.architectures.steps import STEPS, city_blocks, laplace, noise_spectrum
from convlstm.evaluation.scoring import evaluate
from tests.architectures.test_sprog import rain
from tests.support.project import PROJECT

import hydra
import mlx.core as mx
import numpy as np
import pytest

STILL = {"parallel": [0, 1, 0], "perpendicular": [0, 1, 0]}


@pytest.mark.parametrize("most", [4, 100])
def test_city_blocks_are_those_of_a_search(most, rng):
    wet = rng.random((2, 13, 17)) < 0.03
    wet[0, 3, 5] = wet[1, 9, 2] = True
    rows, columns = np.indices((13, 17))
    for field, found in zip(wet, np.array(city_blocks(mx.array(wet), most)), strict=True):
        distances = [abs(rows - r) + abs(columns - c) for r, c in np.argwhere(field)]
        np.testing.assert_array_equal(found, np.minimum(np.min(distances, axis=0), most))
    np.testing.assert_array_equal(city_blocks(mx.zeros((3, 4), mx.bool_), most), most)


def test_the_noise_has_the_amplitudes_of_the_rain(rng):
    frames = np.where(rng.random((3, 32, 45)) < 0.4, 5 + rng.gamma(2, size=(3, 32, 45)), 0).astype(np.float32)
    field = np.where(frames > 0, frames - frames[frames > 0].min(), 0).mean(axis=0)
    r = np.hypot(np.arange(32)[:, None] / 32 - 0.5, np.arange(45) / 45 - 0.5)
    window = np.ones_like(r)
    rim = (r > 0.4) & (r < 0.5)
    window[rim] = 0.5 * (1 + np.cos(np.pi * (r[rim] / 0.1 - 4)))
    window[r >= 0.5] = 0
    np.testing.assert_allclose(
        noise_spectrum(mx.array(frames)), abs(np.fft.rfft2(field * window)), rtol=1e-3, atol=1e-3
    )
    np.testing.assert_array_equal(noise_spectrum(mx.zeros((3, 8, 8))), 1)


def test_laplace_has_the_variance_one():
    draws = np.array(laplace(200_000, mx.random.key(1)))
    assert draws.mean() == pytest.approx(0, abs=0.02)
    assert draws.var() == pytest.approx(1, abs=0.03)
    assert abs(draws).mean() == pytest.approx(1 / np.sqrt(2), abs=0.01)


def test_members_keep_the_distribution_and_differ_more_and_more():
    x = rain(0.0, 0.0)
    members = np.array(STEPS(6, **STILL)(x, 6))[:, 0, ..., 0]
    assert members.shape == (6, 6, 96, 128)
    last = np.sort(np.array(x)[0, -1].ravel())
    for member in members[:, 2]:
        np.testing.assert_allclose(np.sort(member.ravel())[-500:].mean(), last[-500:].mean(), rtol=0.03)
        assert (member > 0).mean() <= (last > 0).mean() + 0.01
    spread = members.std(axis=0).mean(axis=(1, 2))
    assert 0 < spread[0] < spread[2] < spread[5]


def test_details_are_those_of_the_rain_and_not_those_of_a_mean():
    x = rain(0.0, 0.0)
    noisy = mx.where(x > 0, mx.clip(x + 0.1 * mx.random.normal(x.shape, key=mx.random.key(0)), 0.25, 1), 0)
    members = np.array(STEPS(4, **STILL)(noisy, 5))[:, 0, 4, :, :, 0]
    smooth, last = np.array(SPROG()(noisy, 5))[0, 4, :, :, 0], np.array(noisy)[0, -1, :, :, 0]
    finest = bands(96, 128, 6)[-1]
    power = lambda field: (abs(np.fft.rfft2(field) * finest) ** 2).sum()  # noqa: E731
    detail = np.mean([power(member) for member in members])
    assert 1.5 * power(smooth) < detail < power(last)
    assert power(members.mean(axis=0)) < 0.6 * detail


def test_the_motion_has_an_error_that_grows():
    x = rain(0.0, -3.0)
    still, moved = (np.array(STEPS(8, **options)(x, 6))[:, 0, ..., 0] for options in (STILL, {}))
    difference = abs(still - moved).mean(axis=(0, 2, 3))
    assert 0 < difference[0] < difference[5]


def test_no_rain_far_from_rain():
    x = mx.where(mx.arange(128).reshape(1, 1, 1, -1, 1) < 40, rain(0.0, 0.0), 0)
    members = np.array(STEPS(4, **STILL)(x, 3))[:, 0, ..., 0]
    assert (members[:, 0, :, 40 + 13 : 100] == 0).all()
    assert (STEPS(2)(mx.zeros((1, 3, 24, 24, 1)), 2) == 0).all().item()


def test_seeds_keys_and_batches():
    x = mx.concatenate([rain(), rain(-1.0, 1.0, seed=3)])[:, :, :48, :64]
    model = STEPS(3)
    both = np.array(model(x, 2))
    for n in range(2):
        assert abs(np.array(model(x[n : n + 1], 2))[:, 0] - both[:, n]).mean() < 1e-4
    assert abs(np.array(STEPS(3, seed=1)(x, 2)) - both).mean() > 1e-3
    key = mx.random.key(5)
    np.testing.assert_array_equal(model(x, 2, key=key), STEPS(3, seed=1)(x, 2, key=key))
    np.testing.assert_allclose(model.mean(x, 2), both.mean(axis=0), atol=1e-5)


def test_missing_pixels_are_missing_where_they_move():
    x = np.array(rain(0.0, 0.0))
    x[0, -1, 40:50, 60:70] = np.nan
    gone = np.isnan(np.array(STEPS(2, **STILL)(mx.array(x), 2)))[:, 0, 1, ..., 0]
    assert gone[:, 42:48, 62:68].all()
    assert gone.sum() < 400


def test_an_evaluation_scores_the_members():
    x = np.array(rain())
    result = evaluate({"steps": STEPS(4)}, [{"inputs": x[:, :3], "targets": x[:, 3:]}], ssim=False)
    assert result.ensembles[""]["steps"].settings.members == 4
    assert result.scores["steps"]["spread_skill"]["overall"] > 0


def test_step_and_pixels_of_the_data_are_adopted():
    model = STEPS(2)
    assert (model.minutes, model.pixel_km) == (5, 1)
    model.adopt(minutes=10, pixel_km=2)
    model.adopt(minutes=15, pixel_km=2)
    assert (model.minutes, model.pixel_km) == (15, 2)
    given = STEPS(2, minutes=15, pixel_km=2)
    given.adopt(minutes=None, pixel_km=2)
    x = rain()[:, :, :48, :64]
    np.testing.assert_array_equal(model(x, 2), given(x, 2))
    for facts, message in (({"minutes": 5}, "model.minutes=5"), ({"pixel_km": 1.5}, "'pixel_km' must be that of the")):
        with pytest.raises(ValueError, match=re.escape(message)):
            given.adopt(**facts)
    with pytest.raises(ValueError, match=re.escape("[STEPS] needs 'minutes', which the data do not say")):
        STEPS(2).adopt(minutes=None)


def test_the_model_from_its_yaml():
    with hydra.initialize_config_dir(str(PROJECT / "configs"), version_base=None):
        model = hydra.utils.instantiate(hydra.compose("model/steps").model)
    assert (model.size, model.levels, model.parallel) == (24, 6, STEPS().parallel)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"members": 1}, "[STEPS] 'members' must be a whole number of at least 2 but got 1."),
        ({"minutes": 0}, "[STEPS] 'minutes' must be"),
        ({"pixel_km": -1}, "[STEPS] 'pixel_km' must be"),
        ({"parallel": [1, 2]}, "[STEPS] 'parallel' must be three numbers a, b, c of a t^b + c but got [1, 2]."),
        ({"perpendicular": [1]}, "[STEPS] 'perpendicular' must be three numbers"),
        ({"seed": -1}, "[STEPS] 'seed' must be"),
        ({"matching": "mean"}, "[STEPS] 'matching' must be cdf"),
        ({"levels": 2}, "[STEPS] 'levels' must be"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        STEPS(**options)
