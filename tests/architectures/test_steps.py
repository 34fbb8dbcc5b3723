"""STEPS as an ensemble."""

import re

from convlstm.architectures.cascade import bands
from convlstm.architectures.sprog import SPROG
from convlstm.architectures.steps import STEPS, laplace
from convlstm.evaluation.scoring import evaluate
from convlstm.ops.algorithm import without_kernels
from tests.architectures.test_sprog import rain
from tests.support.project import PROJECT

import hydra
import mlx.core as mx
import numpy as np
import pytest

STILL = {"parallel": [0, 1, 0], "perpendicular": [0, 1, 0]}


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


def changing():
    """Returns rain that stays where it is and changes."""
    x = rain(0.0, 0.0)
    noise = mx.random.normal((1, 5, 24, 32, 1), key=mx.random.key(0))
    noise = mx.repeat(mx.repeat(noise, 4, axis=2), 4, axis=3)
    return mx.where(x + 0.1 * noise > 0.3, mx.clip(x + 0.1 * noise, 0.25, 1), 0)


class Resting(STEPS):
    """STEPS for rain that stays where it is."""

    def flow(self, inputs):
        return mx.zeros((len(inputs), *inputs.shape[2:4], 2))


def test_where_the_masks_let_rain_be():
    x = mx.where(mx.arange(128).reshape(1, 1, 1, -1, 1) < 64, changing(), 0)
    last = np.array(x)[0, -1, ..., 0] > 0
    wet = {
        mask: np.array(Resting(3, mask=mask, adjustment="fixed", **STILL)(x, 3))[:, 0, 2, ..., 0] > 0
        for mask in ("incremental", "obs", "sprog", "none")
    }
    assert not (wet["obs"] & ~last).any()
    # The mean of the process has rain at the same places in all members.
    anywhere = wet["sprog"].any(axis=0)
    assert anywhere.mean() <= last.mean() + 0.01
    assert (anywhere & ~last).any()
    assert not wet["incremental"][:, :, 102:].any()
    assert wet["none"][:, :, 102:].any()


def test_matching_keeps_the_mean_or_nothing():
    x = changing()
    last = np.array(x)[0, -1, ..., 0]
    means = {}
    for matching in ("mean", "none"):
        members = np.array(Resting(3, matching=matching, mask="obs", **STILL)(x, 4))[:, 0, 3, ..., 0]
        means[matching] = members[members > 0].mean()
    target = last[last > 0].mean()
    # Rain that leaves the frame, or falls below the threshold, changes the mean a little.
    assert abs(means["mean"] - target) < 0.5 * abs(means["none"] - target)


@pytest.mark.parametrize("options", [{"noise": "parametric"}, {"adjustment": "auto"}, {"adjustment": "fixed"}])
def test_options_of_the_noise_change_the_members(options):
    x = changing()
    members, plain = (np.array(STEPS(2, **given, **STILL)(x, 2))[:, 0, ..., 0] for given in (options, {}))
    assert abs(members - plain).mean() > 1e-4
    assert (members > 0).mean() == pytest.approx((plain > 0).mean(), abs=0.05)


def test_so_little_rain_counts_as_none():
    x = rain(0.0, 0.0)
    wet = float((x[0, -1] > 0).mean())
    for model in (STEPS(2, dry_share=wet + 0.01), SPROG(dry_share=wet + 0.01)):
        assert not np.array(model(x, 2)).any()
    for model in (STEPS(2, dry_share=0.2 * wet), SPROG(dry_share=0.2 * wet)):
        assert np.array(model(x, 2)).any()
    # Rain in a corner, beyond the window of the noise, cannot be continued.
    corner = mx.zeros((1, 3, 32, 32, 1))
    corner[:, :, :3, :3] = 0.5
    assert not np.array(STEPS(2)(corner, 2)).any()
    assert np.array(SPROG()(corner, 2)).any()


def test_members_in_parts_are_the_same(monkeypatch):
    x = rain(0.0, 0.0)[:, :, :48, :64]
    whole = np.array(STEPS(5)(x, 2))
    monkeypatch.setattr("convlstm.architectures.steps._TOGETHER", 160 * 48 * 64 * 2)
    np.testing.assert_array_equal(STEPS(5)(x, 2), whole)


def test_kernels_and_plain_operations_give_the_same_members(kernels):
    x = rain()[:, :, :48, :64]
    x[0, -1, 20:24, 30:34] = mx.nan
    members = np.array(STEPS(3)(x, 3))
    with without_kernels():
        plain = np.array(STEPS(3)(x, 3))
    np.testing.assert_array_equal(np.isnan(members), np.isnan(plain))
    # Rounding decides on which side of a threshold a few pixels fall.
    assert (abs(np.nan_to_num(members - plain)) < 5e-3).mean() > 0.99


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
        ({"matching": "best"}, "[STEPS] 'matching' must be one of cdf, mean, none but got 'best'."),
        ({"noise": "pink"}, "[STEPS] 'noise' must be one of nonparametric, parametric but got 'pink'."),
        ({"adjustment": "some"}, "[STEPS] 'adjustment' must be one of none, fixed, auto but got 'some'."),
        ({"mask": "all"}, "[STEPS] 'mask' must be one of incremental, obs, sprog, none but got 'all'."),
        ({"dry_share": 2}, "[STEPS] 'dry_share' must be"),
        ({"levels": 2}, "[STEPS] 'levels' must be"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        STEPS(**options)
