"""Products of an ensemble of forecasters: the forecast itself, layers, and all members."""

import re

from convlstm import products as made
from convlstm.architectures.steps import STEPS
from convlstm.backend import memory
from convlstm.datasets.channels import Channel, Channels
from convlstm.datasets.readers.grid import Field
from convlstm.datasets.transforms import Linear, LogRain, Reflectivity
from convlstm.forecasting.drawn_members import DrawnForecaster
from convlstm.forecasting.ensemble import EnsembleForecaster
from convlstm.forecasting.forecaster import Forecaster
from convlstm.products import Products
from tests.architectures.test_sprog import rain as moving_rain
from tests.support.forecast_runs import RAIN
from tests.support.tiny import Fade

import numpy as np
import pytest


@pytest.fixture
def rain(rng):
    """Returns five frames in mm/h (5, 16, 20) with a pixel that is missing in all of them."""
    rain = rng.uniform(0.2, 20, (5, 16, 20)).astype(np.float32)
    rain[:, 5, 6] = np.nan
    return rain


def ensemble(*weights, scale=None, **options):
    scale = LogRain() if scale is None else scale
    record = {"data": RAIN | {"pixel_km": 2.0}}
    return EnsembleForecaster([Forecaster(Fade(w, 0.0), scale, record=record) for w in weights], **options)


ALL = ["mean", "median", "pmm", "csi", "quantiles", "nearby", "members"]


def test_layers_are_the_products_of_the_members(rain):
    wanted = Products(further=ALL, quantiles=[0.25, 1], radius=[4.5])
    forecaster = ensemble(1.0, 0.8, 0.5, thresholds=[2.5, 5], products=wanted)
    mean = forecaster(rain, 2)
    members = np.stack(list(forecaster.members(rain, 2)))
    low, high = made.quantiles(members, [0.25, 1])
    expected = {
        "median": made.median(members),
        "probability_matched_mean": made.probability_matched_mean(members),
        "best_for_csi": made.best_csi(members, [2.5, 5]),
        "quantile_0p25": low,
        "quantile_1": high,
        "probability_at_least_2p5_mmh_within_4p5_km": made.probability_nearby(members, 2.5, 4.5, pixel_km=2),
        "probability_at_least_5_mmh_within_4p5_km": made.probability_nearby(members, 5, 4.5, pixel_km=2),
    }
    first = ["spread", "probability_at_least_2p5_mmh", "probability_at_least_5_mmh"]
    assert list(forecaster.layers) == [*first, *expected]
    for name, field in expected.items():
        np.testing.assert_array_equal(forecaster.layers[name].values, field)
    layers = forecaster.layers
    assert layers["median"].attributes == {"cell_methods": "realization: median"}
    assert layers["median"].long_name == "median of 3 members"
    assert (layers["quantile_0p25"].units, layers["quantile_0p25"].attributes) == ("mm h-1", {"quantile": 0.25})
    near = layers["probability_at_least_5_mmh_within_4p5_km"]
    assert near.long_name == "probability of 5 mm/h or more within 4.5 km, the share of 3 members"
    assert near.attributes == {"threshold": 5.0, "threshold_units": "mm h-1", "radius_km": 4.5}
    np.testing.assert_array_equal(forecaster.all_members, members)
    np.testing.assert_allclose(mean, members.mean(axis=0), rtol=1e-5)
    about = {"cell_methods": "realization: mean", "comment": "mean of 3 members", "ensemble_size": 3}
    assert forecaster.about == about


@pytest.mark.parametrize("name", ["median", "pmm", "csi"])
def test_another_product_is_the_forecast(rain, name):
    forecaster = ensemble(1.0, 0.8, 0.5, thresholds=[2.5], products=Products(name, ["mean", name]))
    forecast = forecaster(rain, 2)
    members = np.stack(list(forecaster.members(rain, 2)))
    np.testing.assert_array_equal(forecast, made.single(name, members, [2.5]))
    assert list(forecaster.layers) == ["spread", "probability_at_least_2p5_mmh", "mean"]
    assert forecaster.all_members is None
    assert forecaster.about["comment"].endswith(" of 3 members")
    sequences = np.stack([rain, rain[:, ::-1]])[..., None]
    np.testing.assert_allclose(forecaster(sequences, 2)[0, ..., 0], forecast, rtol=1e-6)
    assert forecaster.layers == {}


def test_products_may_change_between_calls(rain):
    forecaster = ensemble(1.0, 0.5)
    mean = forecaster(rain, 1)
    forecaster.products = Products("median", ["members"])
    np.testing.assert_allclose(forecaster(rain, 1), mean, rtol=1e-5)  # of two members
    assert forecaster.all_members.shape == (2, 1, 16, 20)
    forecaster.products = Products()
    forecaster(rain, 1)
    assert forecaster.all_members is None


def test_members_that_a_model_draws():
    frames = Reflectivity().inverse(np.array(moving_rain())[0, :, :48, :64, 0])
    wanted = Products("pmm", ["members", "nearby"], pixel_km=1.0)
    forecaster = DrawnForecaster(STEPS(4), Reflectivity(), thresholds=[1.0], products=wanted)
    forecast = forecaster(frames, 2)
    np.testing.assert_array_equal(forecast, made.probability_matched_mean(forecaster.all_members))
    np.testing.assert_array_equal(forecaster.all_members, np.stack(list(forecaster.members(frames, 2))))
    near = forecaster.layers["probability_at_least_1_mmh_within_10_km"].values
    assert (near >= forecaster.layers["probability_at_least_1_mmh"].values).all()


def test_each_of_several_fields_has_its_own(rain):
    scale = Channels(
        [
            Channel(Field(name, units), Linear(minimum=0, maximum=40))
            for name, units in (("sst", "degC"), ("u", "m s-1"))
        ]
    )
    frames = np.repeat(np.nan_to_num(rain)[..., None], 2, axis=-1) * [1, 0.5]
    forecaster = ensemble(1.0, 0.5, 0.2, scale=scale, products=Products(further=["median", "quantiles", "members"]))
    forecaster(frames, 1)
    members = forecaster.all_members
    assert members.shape == (3, 1, 16, 20, 2)
    np.testing.assert_array_equal(forecaster.layers["median_u"].values, np.median(members[..., 1], axis=0))
    assert forecaster.layers["median_sst"].long_name == "median of sst of 3 members"
    assert forecaster.layers["quantile_0p9_u"].units == "m s-1"
    forecaster.products = Products("csi")
    with pytest.raises(ValueError, match="the product 'csi' needs thresholds, but there are none"):
        forecaster(frames, 1)


def test_nearby_needs_the_side_of_a_pixel(rain):
    forecaster = EnsembleForecaster(
        [Forecaster(Fade(w, 0.0), LogRain()) for w in (1, 0.5)], products=Products(further=["nearby"])
    )
    with pytest.raises(ValueError, match="the product 'nearby' needs the side of a pixel in km, which is unknown"):
        forecaster(rain, 1)


def test_members_that_do_not_fit_into_memory_are_refused(rain, monkeypatch):
    forecaster = ensemble(1.0, 0.5, products=Products("median"))
    needed = 2 * 4 * 2 * 3 * 16 * 20
    monkeypatch.setattr(memory, "memory", lambda: needed - 1)
    with pytest.raises(ValueError, match=re.escape("2 members of (3, 16, 20), which the 'products' need at once")):
        forecaster(rain, 3)
    forecaster.products = Products()
    forecaster(rain, 3)
    monkeypatch.setattr(memory, "memory", lambda: needed)
    forecaster.products = Products("median")
    forecaster(rain, 3)


def test_products_that_are_none(rain):
    with pytest.raises(ValueError, match=re.escape("[EnsembleForecaster] 'products' must be a Products but got")):
        ensemble(1.0, 0.5, products=["median"])(rain, 1)
