"""Forecasts with pysteps' signature."""

import re

from convlstm.architectures.baselines import Persistence
from convlstm.architectures.extrapolation import Extrapolation
from convlstm.architectures.learned_steps import LearnedSTEPS
from convlstm.architectures.sprog import SPROG
from convlstm.architectures.steps import STEPS
from convlstm.datasets.transforms import Linear, Reflectivity
from convlstm.forecasting.drawn_members import DrawnForecaster
from convlstm.forecasting.ensemble import EnsembleForecaster
from convlstm.forecasting.forecaster import Forecaster
from convlstm.forecasting.scale import AsItIs
from convlstm.pysteps_plugin import forecast
from tests.architectures.test_sprog import rain

import mlx.core as mx
import numpy as np
import pytest

FACTS = {"timestep": 5, "kmperpixel": 1}


def decibels(rates):
    """Returns dBR of mm/h as pysteps' dB_transform does, without its look at metadata."""
    with np.errstate(divide="ignore"):
        return np.where(rates < 0.1, -15, 10 * np.log10(rates))


@pytest.fixture(scope="module")
def rates():
    """Returns fields in mm/h (5, 48, 64), float64, without rain below 0.1."""
    fields = Reflectivity().inverse(np.array(rain())[0, :, :48, :64, 0]).astype(float)
    return np.where(fields < 0.1, 0, fields)


def direct(model, rates, horizon):
    """Returns the forecast of a single model in mm/h, 0 below 0.1."""
    inputs = mx.array(Reflectivity().forward(rates))[None, ..., None]
    result = Reflectivity().inverse(np.array(model(inputs, horizon))[..., 0])
    return np.where(result < 0.1 * (1 - 1e-5), 0, result)


@pytest.mark.parametrize(("name", "model"), [("extrapolation", Extrapolation()), ("sprog", SPROG())])
def test_single_forecasts_are_those_of_the_model(rates, name, model):
    expected = direct(model, rates, 3)[0]
    result = forecast(rates, None, 3, ckpt=name, transform=None)
    assert (result.shape, result.dtype) == ((3, 48, 64), np.float64)
    np.testing.assert_allclose(result, expected, rtol=1e-3)
    result = forecast(decibels(rates), None, 3, ckpt=name)
    np.testing.assert_allclose(result, decibels(expected), atol=1e-2)
    assert result.min() == -15


def test_members_are_those_of_steps(rates):
    expected = direct(STEPS(3, 10, 0.5, seed=7), rates, 2)[:, 0]
    result = forecast(rates, None, 2, 3, ckpt="steps", transform=None, timestep=10, kmperpixel=0.5, seed=7)
    assert result.shape == (3, 2, 48, 64)
    # Draws depend on the values themselves, and those of a few pixels differ in the last bit.
    assert np.mean(np.abs(result - expected)) < 0.05 * expected.mean()


@pytest.mark.parametrize("changed", [{"timestep": 10}, {"kmperpixel": 4}, {"seed": 1}, {"precip_thr": 3.0}])
def test_every_argument_changes_the_members(rates, changed):
    given = FACTS | {"ckpt": "steps", "transform": None}
    first, again, other = (forecast(rates, None, 2, 2, **given | options) for options in ({"seed": 0}, {}, changed))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


def test_the_threshold_reaches_the_model(rates):
    result = forecast(decibels(rates), None, 1, ckpt="sprog", precip_thr=3.0)
    wet = result > 3 - 1e-3
    assert (result[~wet] == -15).all()
    assert wet.mean() == pytest.approx((decibels(rates[-1]) > 3).mean(), abs=0.03)


def test_lists_of_steps(rates):
    every = forecast(rates, None, np.int64(4), ckpt="extrapolation", transform=None)
    some = forecast(rates, None, [1, 4.0], ckpt="extrapolation", transform=None)
    np.testing.assert_array_equal(some, every[[0, 3]])
    some = forecast(rates, None, np.array([2, 3]), 2, ckpt="steps", transform=None, **FACTS)
    np.testing.assert_array_equal(some, forecast(rates, None, 3, 2, ckpt="steps", transform=None, **FACTS)[:, 1:])


@pytest.mark.parametrize("steps", [[0.5, 1], [], [2, 1], [1, 1], [0, 1], 1.5, 0, True, [np.nan], [np.inf], ["a"], "3"])
def test_other_steps_are_refused(rates, steps):
    with pytest.raises(
        ValueError, match=r"\[forecast\] 'timesteps' must be a (number of steps or a rising|whole number)"
    ):
        forecast(rates, None, steps, ckpt="extrapolation", transform=None)


@pytest.mark.parametrize("ckpt", ["extrapolation", "steps"])
def test_missing_pixels_stay_missing(rates, ckpt):
    fields = decibels(rates)
    fields[:, 3, 4], fields[1, 5, 6] = np.nan, np.nan
    result = forecast(fields, None, 2, 2, ckpt=ckpt, **FACTS)
    assert np.isnan(result[..., 3, 4]).all()
    assert np.isnan(result).sum() == result[..., 0, 0].size
    masked = np.ma.array(np.nan_to_num(fields, nan=20.0), mask=np.isnan(fields))
    np.testing.assert_array_equal(forecast(masked, None, 2, 2, ckpt=ckpt, **FACTS), result)


def test_velocity_is_checked_and_noted(rates):
    plain = forecast(rates, None, 1, ckpt="extrapolation", transform=None)
    with pytest.warns(UserWarning, match="'velocity' is not used: the model finds the motion in 'precip' itself"):
        other = forecast(rates, np.ones((2, 48, 64)), 1, ckpt="extrapolation", transform=None)
    np.testing.assert_array_equal(plain, other)
    with pytest.raises(
        ValueError, match=re.escape("of shape (2, 48, 64), as pysteps has it, but got shape (48, 64, 2)")
    ):
        forecast(rates, np.ones((48, 64, 2)), 1, ckpt="extrapolation", transform=None)


def test_a_forecaster_is_used_and_not_changed(rates):
    mx.random.seed(0)
    forecaster = DrawnForecaster(LearnedSTEPS(4, hidden_channels=[8]), Reflectivity())
    result = forecast(rates, None, 2, 3, ckpt=forecaster, transform=None, seed=5, timestep=10, kmperpixel=1)
    assert result.shape == (3, 2, 48, 64)
    model = forecaster.model
    assert (model.size, model.seed, model.minutes, model.pixel_km, forecaster.size) == (4, 0, 5, 2, 4)
    assert forecaster.pixels.single
    # Pixels of 1 km are averaged to those of 2 km that the model has been made for, also after an earlier call.
    forecaster.adopt(minutes=10, pixel_km=2)
    again = forecast(rates, None, 2, 3, ckpt=forecaster, transform=None, seed=5, timestep=10, kmperpixel=1)
    np.testing.assert_array_equal(again, result)
    forecaster.adopt(minutes=10, pixel_km=1)
    model.seed = 5
    members = np.stack(list(forecaster.members(rates, 2)))
    given = forecast(rates, None, 2, 4, ckpt=forecaster, transform=None, seed=5, timestep=10, kmperpixel=1)
    np.testing.assert_allclose(given, np.where(members < 0.1 * (1 - 1e-5), 0, members), rtol=1e-4)


def test_a_run_of_another_step_or_other_pixels_is_refused(rates):
    record = {"data": {"frame_interval": 5.0, "pixel_km": 2.0}}
    forecaster = Forecaster(Persistence(), Reflectivity(), input_frames=4, record=record)
    result = forecast(rates, None, 2, ckpt=forecaster, transform=None, timestep=5, kmperpixel=1.95)
    np.testing.assert_allclose(result, np.stack([rates[-1]] * 2), rtol=1e-3)
    with pytest.raises(
        ValueError, match=re.escape("'timestep' must be that of the model's training, 5 minutes, but got")
    ):
        forecast(rates, None, 2, ckpt=forecaster, transform=None, timestep=10)
    with pytest.raises(
        ValueError, match=re.escape("'kmperpixel' must be that of the model's training, 2 km, but got 1.")
    ):
        forecast(rates, None, 2, ckpt=forecaster, transform=None, kmperpixel=1)
    with pytest.raises(ValueError, match="'precip' must be 4 fields or more for this model but got 3"):
        forecast(rates[:3], None, 2, ckpt=forecaster, transform=None)


def test_an_ensemble_of_forecasters_has_its_own_members(rates):
    single = Forecaster(Persistence(), AsItIs("mm/h"))
    ensemble = EnsembleForecaster([single, single])
    result = forecast(rates, None, 2, 2, ckpt=ensemble, transform=None)
    np.testing.assert_allclose(result, np.broadcast_to(rates[-1], (2, 2, 48, 64)), rtol=1e-6)
    with pytest.raises(ValueError, match="'n_ens_members' must be 2, as the ensemble has them, but got 24"):
        forecast(rates, None, 2, ckpt=ensemble, transform=None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ckpt": "steps"}, "needs 'timestep' and 'kmperpixel' for the errors of the motion"),
        ({"ckpt": "steps", "timestep": 5}, "needs 'kmperpixel' for the errors"),
        (
            {"ckpt": "steps", "n_ens_members": 1} | FACTS,
            "'n_ens_members' must be a whole number of at least 2 but got 1",
        ),
        (
            {"ckpt": "steps", "precip_thr": 0.03} | FACTS,
            "'precip_thr' must be above 0.0316 mm/h, -15 dB, for ckpt='steps'",
        ),
        ({"timestep": 0}, "'timestep' must be above 0 but got 0"),
        ({"kmperpixel": -1}, "'kmperpixel' must be above 0 but got -1"),
        ({"seed": -1}, "'seed' must be a whole number of at least 0 but got -1"),
        (
            {"ckpt": 3},
            "'ckpt' must be 'nowcast', a run's folder, a Forecaster or one of extrapolation, sprog, steps but",
        ),
        ({"ckpt": Forecaster(Persistence(), Linear())}, "must be a model of rain in mm/h but its units are 'raw'"),
        ({"ckpt": Forecaster(Persistence())}, "must be a model of rain in mm/h but its units are 'unknown'"),
    ],
)
def test_what_does_not_fit_is_refused(rates, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        forecast(rates, None, 1, **{"ckpt": "extrapolation", "transform": None} | options)


@pytest.mark.parametrize(("name", "fields"), [("steps", 3), ("sprog", 3), ("extrapolation", 2)])
def test_too_few_fields(rates, name, fields):
    assert forecast(rates[-fields:], None, 1, 2, ckpt=name, transform=None, **FACTS).shape[-2:] == (48, 64)
    with pytest.raises(
        ValueError, match=f"'precip' must be {fields} fields or more for this model but got {fields - 1}"
    ):
        forecast(rates[1 - fields :], None, 1, 2, ckpt=name, transform=None, **FACTS)


@pytest.mark.parametrize("precip", [np.zeros((4, 4)), np.zeros((2, 0, 4)), np.zeros((2, 4, 4), bool), "rain"])
def test_other_arrays_are_refused(precip):
    with pytest.raises(ValueError, match=r"'precip' must be numbers of shape \(T, m, n\) but got"):
        forecast(precip, None, 1, ckpt="extrapolation")


def test_members_larger_than_the_memory(rates, monkeypatch):
    monkeypatch.setattr("convlstm.backend.memory.memory", lambda: 100_000)
    with pytest.raises(ValueError, match=re.escape("2 members ('n_ens_members') of 9 steps ('timesteps') would take")):
        forecast(rates, None, 9, 2, ckpt="steps", transform=None, **FACTS)
