"""Ensembles of forecasters: mean, spread, probabilities and provenance."""

import re

from convlstm.architectures.baselines import Persistence
from convlstm.architectures.perturbation import Perturbation
from convlstm.datasets.channels import Channel, Channels
from convlstm.datasets.readers.grid import Field
from convlstm.datasets.transforms import Linear, LogRain
from convlstm.forecasting.ensemble import EnsembleForecaster
from convlstm.forecasting.forecaster import Forecaster
from tests.support.forecast_runs import RAIN
from tests.support.tiny import Fade

import numpy as np
import pytest


@pytest.fixture
def rain(rng):
    """Returns five frames in mm/h with a dry strip and a pixel that is missing in all of them."""
    rain = rng.uniform(0.2, 20, (5, 16, 20)).astype(np.float32)
    rain[:, :3] = 0
    rain[:, 5, 6] = np.nan
    return rain


def test_forecaster_gives_mean_spread_and_probabilities(rain):
    forecasters = [Forecaster(Fade(weight, 0.0), LogRain(), horizon=3) for weight in (1.0, 0.8, 0.5)]
    ensemble = EnsembleForecaster(forecasters, thresholds=[2.0, 0.5])
    mean = ensemble(rain)
    members = np.stack([forecaster(rain) for forecaster in forecasters])
    np.testing.assert_array_equal(np.stack(list(ensemble.members(rain))), members)
    assert (ensemble.size, mean.shape, mean.dtype) == (3, (3, 16, 20), np.float32)
    np.testing.assert_allclose(mean, members.mean(axis=0), rtol=1e-5)
    spread, high, low = ensemble.layers.values()
    assert list(ensemble.layers) == ["spread", "probability_at_least_2_mmh", "probability_at_least_0p5_mmh"]
    np.testing.assert_allclose(spread.values, members.std(axis=0, ddof=1), atol=1e-5)
    for layer, threshold in ((high, 2.0), (low, 0.5)):
        share = np.where(np.isnan(members[0]), np.nan, (members >= threshold).mean(axis=0))
        np.testing.assert_allclose(layer.values, share, atol=1e-6)
        assert np.isnan(layer.values[:, 5, 6]).all()
        assert layer.attributes == {"threshold": threshold, "threshold_units": "mm h-1"}
    assert (spread.units, high.units) == ("mm h-1", "1")
    assert ensemble.missing.never[0, 5, 6, 0]


def test_perturbed_forecaster(rain):
    """Whole frames are perturbed before they are cut into tiles, so tiles make no difference."""
    perturbation = Perturbation(seed=2, field=0.3)
    whole, tiled = (
        EnsembleForecaster([Forecaster(Fade(0.9, 0.0), LogRain(), **options)], perturbed=4, perturbation=perturbation)
        for options in ({}, {"tile": 8, "overlap": 2})
    )
    np.testing.assert_allclose(tiled(rain, 2), whole(rain, 2), rtol=1e-4)
    known = ~np.isnan(rain[0])
    assert whole.layers["spread"].values[:, known][:, 60:].min() > 0.01
    assert (whole.layers["spread"].values[:, :2] < 1e-6).all()
    np.testing.assert_array_equal(whole(rain, 2), whole(rain, 2))
    assert whole.provenance()["ensemble"] == {
        "members": 4,
        "checkpoints": [None],
        "perturbation": perturbation.describe(),
    }
    default = EnsembleForecaster([Forecaster(Fade(0.9, 0.0), LogRain())], perturbed=4)
    assert np.nanmax(np.abs(default(rain, 2) - whole(rain, 2))) > 0.01


def test_a_call_s_own_perturbation_comes_first(rain):
    """`perturb` of a call comes before the members' own perturbation."""
    ensemble = EnsembleForecaster(
        [Forecaster(Persistence(), LogRain())], perturbed=2, perturbation=Perturbation(motion=0.0, field=0.0)
    )
    changed = ensemble(rain, 1, perturb=np.zeros_like)
    assert np.nanmax(changed) == 0


def test_layers_of_other_units_and_shapes(rain):
    frames = np.nan_to_num(rain / 20)
    ensemble = EnsembleForecaster([Forecaster(Fade(1.0)), Forecaster(Fade(0.1))])
    ensemble(frames, 1)
    assert list(ensemble.layers) == ["spread", "probability_at_least_0p5"]
    assert ensemble.layers["spread"].units == "1"
    single = ensemble.layers["spread"].values
    ensemble(frames[..., None], 1)
    np.testing.assert_array_equal(ensemble.layers["spread"].values, single)
    ensemble(np.repeat(frames[..., None], 3, axis=-1), 1)
    assert ensemble.layers == {}


def test_thresholds_are_those_of_the_data():
    record = {"data": RAIN | {"thresholds": [1, 5]}}
    forecaster = Forecaster(Persistence(), LogRain(), record=record)
    assert EnsembleForecaster([forecaster, forecaster]).thresholds == (1.0, 5.0)
    assert EnsembleForecaster([forecaster, forecaster], thresholds=[3]).thresholds == (3.0,)


def test_forecasters_that_do_not_fit_each_other():
    one, other = Forecaster(Persistence(), LogRain(), input_frames=3), Forecaster(Persistence(), LogRain())
    with pytest.raises(ValueError, match="'forecasters' must have the same 'input_frames' but got 3 and None"):
        EnsembleForecaster([one, other])


def test_pixels_and_steps_of_nearly_the_same_size_fit_each_other():
    def of(**data):
        return Forecaster(Persistence(), LogRain(), record={"data": {**RAIN, **data}})

    assert EnsembleForecaster([of(pixel_km=2.0), of(pixel_km=1.99935)]).pixel_km == 2.0
    with pytest.raises(ValueError, match=r"must have the same 'pixel_km' but got 2\.0 and 1\.0"):
        EnsembleForecaster([of(pixel_km=2.0), of(pixel_km=1.0)])
    with pytest.raises(ValueError, match=r"must have the same 'frame_interval' but got 5\.0 and 10\.0"):
        EnsembleForecaster([of(frame_interval=5.0), of(frame_interval=10.0)])
    with pytest.raises(ValueError, match=r"must have the same 'pixel_km' but got 2\.0 and None"):
        EnsembleForecaster([of(pixel_km=2.0), of(pixel_km=None)])


def test_too_few_members():
    with pytest.raises(ValueError, match=re.escape("[EnsembleForecaster] an ensemble must have at least 2 members")):
        EnsembleForecaster([Forecaster(Persistence())])


def fields(*names_and_units):
    """Returns the scale of fields from 0 to 40, all of them targets."""
    return Channels([Channel(Field(name, units), Linear(minimum=0, maximum=40)) for name, units in names_and_units])


def test_layers_of_fields_are_in_their_units(rain):
    frames = np.nan_to_num(rain)[..., None]
    scale = fields(("sst", "degC"))
    ensemble = EnsembleForecaster([Forecaster(Fade(w, 0.0), scale) for w in (1.0, 0.5)], thresholds=[2])
    ensemble(frames, 1)
    spread, share = ensemble.layers["spread"], ensemble.layers["probability_at_least_2"]
    assert (spread.units, share.units, share.attributes["threshold_units"]) == ("degC", "1", "degC")
    assert share.long_name == "probability of 2 degC or more, the share of 2 members"
    np.testing.assert_allclose(spread.values, frames[-1:, ..., 0] / 2 / np.sqrt(2), atol=1e-5)
    # Half a degree is the threshold of nothing.
    assert EnsembleForecaster([Forecaster(Fade(1.0), scale)] * 2).thresholds == ()


def test_each_of_several_fields_has_its_spread(rain):
    frames = np.repeat(np.nan_to_num(rain)[..., None], 2, axis=-1) * [1, 0.5]
    scale = fields(("sst", "degC"), ("u10", "m s-1"))
    ensemble = EnsembleForecaster([Forecaster(Fade(w, 0.0), scale) for w in (1.0, 0.5)])
    ensemble(frames, 1)
    assert {name: layer.units for name, layer in ensemble.layers.items()} == {
        "spread_sst": "degC",
        "spread_u10": "m s-1",
    }
    assert ensemble.layers["spread_u10"].long_name == "standard deviation of u10 of 2 members"
    for n, layer in enumerate(ensemble.layers.values()):
        np.testing.assert_allclose(layer.values, frames[-1:, ..., n] / 2 / np.sqrt(2), atol=1e-5)
    with pytest.raises(ValueError, match="'thresholds' need a single field but the forecast has sst, u10"):
        EnsembleForecaster([Forecaster(Fade(1.0), scale)] * 2, thresholds=[20])
