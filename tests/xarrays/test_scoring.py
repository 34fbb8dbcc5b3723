"""Members and truth as one Dataset, for packages that score ensembles."""

import re

from convlstm import members_and_truth
from convlstm.forecasting.ensemble import EnsembleForecaster
from convlstm.forecasting.forecaster import Forecaster
from convlstm.forecasting.scale import AsItIs
from convlstm.metrics.ensemble import EnsembleMetrics
from convlstm.products import Products
from tests.support.labelled import rain
from tests.support.tiny import Fade

import numpy as np
import pytest

xr = pytest.importorskip("xarray")

WEIGHTS = (1.1, 0.8, 0.7, 0.4, 0.2)


@pytest.fixture
def observed(rng):
    """Returns rain of 12 frames, with pixels that are missing in the last ones."""
    observed = rain(xr)
    observed.values[:] = rng.gamma(0.5, 4, observed.shape)
    observed.values[-3:, 2, 3:6] = np.nan
    return observed


@pytest.fixture
def forecast(observed):
    """Returns the forecast of five members of the last four frames."""
    members = [Forecaster(Fade(weight, 0.1), AsItIs("mm/h"), input_frames=2) for weight in WEIGHTS]
    ensemble = EnsembleForecaster(members, products=Products(further=["members"]))
    return ensemble(observed[:8].where(observed.x > observed.x[0]), 4)


def test_they_share_times_and_pixels_and_what_is_missing(observed, forecast):
    pairs = members_and_truth(forecast, observed)
    assert pairs.members.dims == ("realization", "time", "y", "x")
    assert pairs.truth.dims == ("time", "y", "x")
    assert (pairs.members.dtype, pairs.truth.dtype) == (np.float64, np.float64)
    assert pairs.truth.attrs == pairs.members.attrs == {"units": "mm h-1", "standard_name": "rainfall_rate"}
    missing = np.isnan(pairs.truth.values)
    assert missing[-3:, 2, 3:6].all()
    assert missing[:, :, 0].all()  # the forecast lacks the first column
    assert missing.sum() == 4 * 16 + 3 * 3
    np.testing.assert_array_equal(np.isnan(pairs.members.values), np.broadcast_to(missing, (5, *missing.shape)))
    np.testing.assert_array_equal(pairs.truth.values[~missing], observed.values[8:][~missing])
    np.testing.assert_array_equal(pairs.members.values[:, ~missing], forecast.rainfall_members.values[:, ~missing])
    assert {"lead_time", "forecast_reference_time", "spatial_ref"} <= set(pairs.coords)


def test_only_shared_times_and_pixels_are_left(observed, forecast):
    pairs = members_and_truth(forecast, observed[:10, 3:, ::-1])
    assert pairs.truth.sizes == {"time": 2, "y": 13, "x": 20}
    np.testing.assert_array_equal(pairs.truth.values[..., 8:], observed.values[8:10, 3:, 8:])


def test_rounded_coordinates_are_the_same(observed, forecast):
    rounded = observed.assign_coords(y=observed.y + 1e-3, x=observed.x.astype(np.float32))
    assert members_and_truth(forecast, rounded).truth.sizes == {"time": 4, "y": 16, "x": 20}
    with pytest.raises(ValueError, match="must share coordinates but share none along y"):
        members_and_truth(forecast, observed.assign_coords(y=observed.y + 100))


def test_units_are_converted_or_refused(observed, forecast):
    expected = members_and_truth(forecast, observed).truth
    heavy = (observed / 3600).assign_attrs(units="kg m-2 s-1")
    xr.testing.assert_allclose(members_and_truth(forecast, heavy).truth, expected)
    for units in ("K", ""):
        with pytest.raises(ValueError, match=re.escape(f"in {units!r} but the forecast is in 'mm h-1'. Convert them")):
            members_and_truth(forecast, observed.assign_attrs(units=units))


def test_which_fields_are_meant(observed, forecast):
    expected = members_and_truth(forecast, observed)
    both = observed.to_dataset().assign(quality=observed * 0)
    assert members_and_truth(forecast, both).identical(expected)
    assert members_and_truth(forecast, both, "rainfall").identical(expected)
    assert members_and_truth(forecast, observed.rename("rr").to_dataset()).truth.equals(expected.truth)
    with pytest.raises(ValueError, match="'observed' must have the variable 'rainfall' but has quality, rr"):
        members_and_truth(forecast, both.rename(rainfall="rr")[["quality", "rr"]])
    with pytest.raises(ValueError, match=r"'variable' must be one of rainfall, .* but got 'snow'"):
        members_and_truth(forecast, observed, "snow")
    with pytest.raises(ValueError, match="'variable' must be given, one of rainfall, spread"):
        members_and_truth(forecast[["rainfall", "spread"]], observed)
    single = members_and_truth(forecast[["rainfall"]], observed)
    assert single.members.sizes["realization"] == 1
    np.testing.assert_array_equal(single.members[0], forecast.rainfall.where(single.truth.notnull()))


def test_a_file_of_the_forecast_does_as_well(tmp_path, observed, forecast):
    pytest.importorskip("netCDF4")
    forecast.to_netcdf(tmp_path / "forecast.nc")
    with xr.open_dataset(tmp_path / "forecast.nc", decode_coords="all", decode_timedelta=True) as written:
        pairs = members_and_truth(written, observed).load()
    np.testing.assert_array_equal(pairs.members, members_and_truth(forecast, observed).members)


@pytest.fixture
def pairs(forecast, observed):
    return members_and_truth(forecast, observed)


@pytest.fixture
def ours(pairs):
    """Returns this project's scores of each lead time by name."""
    metrics = EnsembleMetrics(len(WEIGHTS), [], units="mm/h")
    metrics.update(pairs.members.values[:, None, ..., None], pairs.truth.values[None, ..., None])
    return {name: values["per_lead"] for name, values in metrics.compute().items()}


def test_our_crps_is_that_of_the_definition(pairs, ours):
    x, y = (pairs[name].values for name in ("members", "truth"))
    between = np.mean([abs(a - b) for a in x for b in x], axis=0)
    expected = np.nanmean(np.mean([abs(a - y) for a in x], axis=0) - between / 2, axis=(1, 2))
    assert expected.min() > 0.5
    np.testing.assert_allclose(ours["crps_mmh"], expected, rtol=1e-9)


@pytest.mark.parametrize(("method", "name"), [("ecdf", "crps_mmh"), ("fair", "crps_fair_mmh")])
def test_crps_of_scores(pairs, ours, method, name):
    probability = pytest.importorskip("scores.probability")
    crps = probability.crps_for_ensemble(pairs.members, pairs.truth, "realization", method=method, preserve_dims="time")
    np.testing.assert_allclose(crps, ours[name], atol=1e-6, rtol=0)


@pytest.mark.filterwarnings("ignore:Mean of empty slice:RuntimeWarning")  # of pixels without values
def test_crps_of_xskillscore(pairs, ours):
    xskillscore = pytest.importorskip("xskillscore")
    crps = xskillscore.crps_ensemble(pairs.truth, pairs.members, member_dim="realization", dim=["y", "x"])
    np.testing.assert_allclose(crps, ours["crps_mmh"], atol=1e-6, rtol=0)
