"""Forecasts of xarray's DataArrays and Datasets."""

import re
import tracemalloc

from convlstm.architectures.baselines import Persistence
from convlstm.architectures.learned_steps import LearnedSTEPS
from convlstm.architectures.steps import STEPS
from convlstm.datasets.channels import Channel, Channels
from convlstm.datasets.labelled_frames import LabelledFrames
from convlstm.datasets.maps import outline
from convlstm.datasets.readers.grid import Field
from convlstm.datasets.transforms import Linear, LogRain, Reflectivity
from convlstm.forecasting.drawn_members import DrawnForecaster
from convlstm.forecasting.ensemble import EnsembleForecaster
from convlstm.forecasting.forecaster import Forecaster
from convlstm.forecasting.scale import AsItIs
from convlstm.products import Products
from tests.support.labelled import MAP, START, rain, temperature
from tests.support.tiny import Fade

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

xr = pytest.importorskip("xarray")

RATE = AsItIs("mm/h")


def persistence(scale=RATE, **options):
    return Forecaster(Persistence(), scale, **{"input_frames": 3, "horizon": 4} | options)


def degrees_celsius(name="t2m", **options):
    """Returns the scale of temperatures in degC."""
    return Channels([Channel(Field(name, "degC"), Linear(50.0))], **options)


def minutes(frames):
    """Returns the minutes of times since the first time of the input."""
    return ((frames.time.values - START) / np.timedelta64(1, "m")).tolist()


def test_forecast_minus_observation_aligns():
    whole = rain(xr, 16)
    observed = whole.to_dataset().assign_attrs(title="Radar", institution="Someone", history="made")
    forecast = persistence()(observed.isel(time=slice(12)))
    difference = forecast.rainfall - observed.rainfall
    assert difference.sizes == {"time": 4, "y": 16, "x": 20}
    np.testing.assert_array_equal(difference, whole.values[11] - whole.values[12:])
    assert minutes(forecast) == [60, 65, 70, 75]
    assert (forecast.lead_time.values / np.timedelta64(1, "m")).tolist() == [5, 10, 15, 20]
    assert forecast.forecast_reference_time.values == whole.time.values[11]
    assert forecast.time.attrs["standard_name"] == "time"
    assert forecast.attrs["institution"] == "Someone"
    assert re.fullmatch(r".* forecast by convlstm .*\nmade", forecast.attrs["history"])
    assert forecast.attrs["model"] == "Persistence"


def test_names_attributes_coordinates_and_map_are_those_of_the_input():
    observed = rain(xr)
    forecast = persistence()(observed)
    assert list(forecast.data_vars) == ["rainfall"]
    expected = {key: value for key, value in observed.attrs.items() if key != "valid_min"}
    assert forecast.rainfall.attrs == expected
    for name in ("y", "x", "latitude", "spatial_ref"):
        assert forecast[name].variable.identical(observed[name].variable)
    assert forecast.spatial_ref.attrs == MAP
    assert forecast.rainfall.encoding["grid_mapping"] == "spatial_ref"


def test_a_grid_mapping_among_the_variables(tmp_path):
    """As a file has it that is opened without further options."""
    pytest.importorskip("netCDF4")
    observed = rain(xr).rename(spatial_ref="crs").reset_coords("crs")
    observed.rainfall.attrs["grid_mapping"] = "crs"
    observed.to_netcdf(tmp_path / "in.nc")
    with xr.open_dataset(tmp_path / "in.nc") as opened:
        forecast = persistence()(opened)
    assert forecast.crs.attrs["grid_mapping_name"] == MAP["grid_mapping_name"]
    forecast.to_netcdf(tmp_path / "out.nc")
    with xr.open_dataset(tmp_path / "out.nc", decode_timedelta=True) as written:
        assert written.rainfall.attrs["grid_mapping"] == "crs"
        xr.testing.assert_equal(written.rainfall.drop_vars("crs", errors="ignore"), forecast.rainfall.drop_vars("crs"))


def test_files_put_together_bring_a_map_each():
    """As `open_mfdataset` has it, with latitudes among the variables."""
    whole = rain(xr).reset_coords(["spatial_ref", "latitude"])
    whole.rainfall.attrs["grid_mapping"] = "spatial_ref"
    together = xr.concat(
        [whole[["rainfall", "spatial_ref"]].isel(time=[n]) for n in range(12)], "time", data_vars="all"
    )
    together["latitude"] = whole.latitude
    assert together.spatial_ref.dims == ("time",)
    forecast = persistence()(together)
    assert forecast.spatial_ref.variable.identical(whole.spatial_ref.variable)
    assert forecast.latitude.variable.identical(whole.latitude.variable)


def test_order_of_rows_and_names_of_dimensions_are_kept():
    observed = temperature(xr).rename(time="valid_time")
    forecast = persistence(AsItIs("K"))(observed, 2)
    assert forecast.t2m.sizes == {"valid_time": 2, "lat": 6, "lon": 9}
    np.testing.assert_array_equal(forecast.lat, observed.lat)
    assert forecast.height == 2
    last = observed.isel(valid_time=-1, drop=True).transpose("lat", "lon")
    np.testing.assert_array_equal(forecast.t2m.isel(valid_time=1), last)
    assert ((forecast.t2m - last).sizes, float(abs(forecast.t2m - last).max())) == (forecast.t2m.sizes, 0)


def test_units_are_converted_there_and_back():
    observed = temperature(xr)
    forecast = persistence(degrees_celsius())(observed)
    np.testing.assert_allclose(forecast.t2m.isel(time=0), observed.isel(time=-1).T, atol=1e-3)
    assert forecast.t2m.attrs == observed.attrs
    heavy = rain(xr).astype(np.float64) / 3600
    heavy.attrs |= rain(xr).attrs | {"units": "kg m-2 s-1"}
    made = persistence(LogRain(maximum=100))(heavy)
    np.testing.assert_allclose(made.rainfall[0], heavy[-1], rtol=1e-4)
    assert made.rainfall.attrs["units"] == "kg m-2 s-1"


def test_amounts_come_back_as_amounts_at_the_times_of_the_input():
    # Rain that only ever rises would be a sum since a start.
    observed = (rain(xr)[::-1] / 12).assign_coords(time=rain(xr).time)
    observed.attrs = rain(xr).attrs | {"units": "mm", "standard_name": "precipitation_amount"}
    rates = []

    class Seen(Persistence):
        def __call__(self, inputs, horizon):
            rates.append(float(inputs[0, -1, 0, 0, 0]))
            return super().__call__(inputs, horizon)

    made = Forecaster(Seen(), RATE, input_frames=3)(observed, 1)
    assert rates == [pytest.approx(float(observed[-1, 0, 0]) * 12, rel=1e-5)]
    np.testing.assert_allclose(made.rainfall[0], observed[-1], rtol=1e-5)

    starts = observed.to_dataset()
    ends = starts.time + np.timedelta64(5, "m")
    starts["time_bnds"] = xr.concat([starts.time, ends], "nv").T
    starts.time.attrs["bounds"] = "time_bnds"
    assert minutes(persistence()(starts)) == minutes(persistence()(observed))


def test_reflectivity_becomes_rain_rate():
    observed = rain(xr, units="dBZ", standard_name="equivalent_reflectivity_factor").rename("dbzh")
    record = {"config": {"data": {"zr": [300.0, 1.5]}}}
    made = persistence(record=record)(observed)
    assert list(made.data_vars) == ["rain_rate"]
    assert made.rain_rate.attrs["units"] == "mm h-1"
    expected = (10 ** (observed[-1].values / 10) / 300) ** (1 / 1.5)
    np.testing.assert_allclose(made.rain_rate[0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("units", "message"),
    [
        (None, r"the Dataset has the rain 'rainfall' without units. .*attrs\['units'\] = 'mm/h'"),
        ("degC", "the rain 'rainfall' in 'degC', which are no units of rain"),
    ],
)
def test_rain_of_unknown_units_is_refused(units, message):
    observed = rain(xr)
    observed.attrs = {} if units is None else {"units": units}
    with pytest.raises(ValueError, match=message):
        persistence()(observed)


@pytest.mark.parametrize("units", ["m s-1", None])
def test_another_quantity_is_refused(units):
    observed = temperature(xr)
    observed.attrs = {} if units is None else {"units": units}
    with pytest.raises(ValueError, match="was trained on t2m: degC, but the Dataset has t2m: "):
        persistence(degrees_celsius())(observed)
    with pytest.raises(ValueError, match="was trained on degC, but the Dataset has"):
        persistence(AsItIs("degC"))(observed)


def test_numbers_without_units_stay_numbers():
    observed = temperature(xr)
    np.testing.assert_array_equal(persistence(AsItIs("raw"))(observed).t2m[0], observed[..., -1].T)


def test_variables_are_found_by_their_names_whatever_else_there_is():
    observed = temperature(xr).to_dataset()
    observed["wind"] = (observed.t2m - 280).assign_attrs(units="m s-1")
    observed["cloud"] = observed.t2m.assign_attrs(units="1")
    scale = Channels(
        [Channel(Field("wind", "km h-1"), Linear(100.0)), Channel(Field("t2m", "degC"), Linear(50.0))], ["t2m", "wind"]
    )

    class Swapped(Persistence):
        def __call__(self, inputs, horizon):
            return super().__call__(inputs, horizon)[..., ::-1]

    made = Forecaster(Swapped(), scale, input_frames=2, horizon=2)(observed)
    assert list(made.data_vars) == ["t2m", "wind"]
    for name in made.data_vars:
        np.testing.assert_allclose(made[name][1], observed[name].isel(time=-1).T, atol=2e-3)
    several = "has several fields: wind (m s-1), cloud (1). Choose one: data[['wind']]."
    with pytest.raises(ValueError, match=re.escape(several)):
        Forecaster(Swapped(), scale)(observed[["wind", "cloud"]])
    levels = observed.expand_dims(level=[850, 500])
    with pytest.raises(ValueError, match=re.escape("Choose one position: data.sel(level=VALUE).")):
        Forecaster(Swapped(), scale)(levels)
    selected = Forecaster(Swapped(), scale, input_frames=2, horizon=1)(levels.sel(level=500))
    assert selected.level == 500


def test_channels_become_variables():
    frames = xr.concat([rain(xr) / 40, rain(xr) / 80], xr.IndexVariable("channel", ["vv", "vh"]))
    frames = frames.transpose("time", "y", "x", "channel")
    frames.attrs = {}
    made = Forecaster(Persistence(), input_frames=2, horizon=1)(frames)
    assert list(made.data_vars) == ["vv", "vh"]
    np.testing.assert_array_equal(made.vh[0], frames[-1, ..., 1])
    numbered = Forecaster(Persistence(), input_frames=2, horizon=1)(frames.drop_vars("channel").rename("sar"))
    assert list(numbered.data_vars) == ["sar_0", "sar_1"]


def test_the_step_of_training_is_taken_from_the_times():
    observed = rain(xr, 12)
    record = {"data": {"frame_interval": 10.0}}
    seen = []

    class Seen(Persistence):
        def __call__(self, inputs, horizon):
            seen.append(np.array(inputs)[0, :, 0, 0, 0])
            return super().__call__(inputs, horizon)

    made = Forecaster(Seen(), RATE, input_frames=3, record=record)(observed, 2)
    np.testing.assert_array_equal(seen[0], observed.values[[7, 9, 11], 0, 0])
    assert minutes(made) == [65, 75]
    record["data"]["frame_interval"] = 7.0
    with pytest.warns(UserWarning, match="5 min apart, but the model was trained on steps of 7 min"):
        assert minutes(Forecaster(Seen(), RATE, input_frames=3, record=record)(observed, 2)) == [60, 65]


def test_pixels_of_another_size_are_told():
    record = {"data": {"pixel_km": 2.0}}
    with pytest.warns(UserWarning, match=r"1 km wide, but .* pixels of 2 km.*data.coarsen\(y=2, x=2\)"):
        persistence(record=record)(rain(xr))
    persistence(record=record)(rain(xr, km=2))


def test_gaps_unsorted_times_and_too_few_frames():
    observed = rain(xr, 4)
    with pytest.warns(UserWarning, match="of 3 input frames, these are missing and interpolated in time: 2"):
        made = persistence()(observed.isel(time=[3, 0, 1]), 1)
    assert minutes(made) == [20]
    np.testing.assert_array_equal(made.rainfall[0], observed[3])
    with pytest.raises(ValueError, match=r"needs 6 frames, 5 min apart, but the Dataset has 4 up to .*10:15:00"):
        persistence(input_frames=6)(observed)
    with pytest.raises(ValueError, match="must have two frames or more"):
        persistence(input_frames=1)(observed[:1])
    record = {"data": {"frame_interval": 10.0}}
    assert minutes(persistence(input_frames=1, record=record)(observed[:1], 2)) == [10, 20]


def test_months_stay_months():
    observed = temperature(xr).assign_coords(
        time=np.arange("2020-01", "2020-09", dtype="datetime64[M]").astype("M8[ns]")
    )
    made = persistence(AsItIs("K"), input_frames=2, record={"data": {"frame_interval": 44640.0}})(observed, 3)
    assert made.time.values.astype("M8[D]").astype(str).tolist() == ["2020-09-01", "2020-10-01", "2020-11-01"]


def test_times_and_places_reach_the_model():
    class Seen(nn.Module):
        def __call__(self, inputs, horizon):
            self._inputs = np.array(inputs)
            return mx.broadcast_to(inputs[:, -1:, ..., :1], (1, horizon, *inputs.shape[2:4], 1))

    model, observed = Seen(), temperature(xr)
    Forecaster(model, degrees_celsius(extras=["latitude", "day"]), input_frames=2, horizon=1)(observed)
    # From the north to the south.
    np.testing.assert_allclose(model._inputs[0, 0, :, 0, 1], (observed.lat.values[::-1] + 90) / 180, rtol=1e-6)
    assert model._inputs[0, :, 0, 0, 2].tolist() == pytest.approx(
        [0.5 + 0.5 * np.sin(2 * np.pi * h / 24) for h in (22, 4)]
    )


def test_ensembles_have_layers_and_members_in_the_units_of_the_input():
    observed = temperature(xr)
    forecasters = [Forecaster(Fade(weight, 0.0), degrees_celsius(), input_frames=2) for weight in (1.0, 0.8, 0.5)]
    ensemble = EnsembleForecaster(forecasters, products=Products(further=["members", "median"]))
    made = ensemble(observed, 2)
    assert list(made.data_vars) == ["t2m", "spread", "median", "t2m_members"]
    assert made.t2m_members.sizes == {"realization": 3, "time": 2, "lat": 6, "lon": 9}
    assert made.realization.values.tolist() == [1, 2, 3]
    last = observed.isel(time=-1).T.values
    expected = np.stack([273.15 + weight * (last - 273.15) for weight in (1.0, 0.8, 0.5)])
    np.testing.assert_allclose(made.t2m_members[:, 0], expected, atol=2e-3)
    np.testing.assert_allclose(made.t2m[0], expected.mean(0), atol=2e-3)
    np.testing.assert_allclose(made["median"][0], expected[1], atol=2e-3)
    np.testing.assert_allclose(made.spread[0], expected.std(0, ddof=1), atol=2e-3)
    assert made.t2m_members.attrs == {"units": "K", "long_name": "members of 2 metre temperature"}
    assert {made[name].attrs["units"] for name in ("t2m", "spread", "median")} == {"K"}
    assert made.t2m.attrs["cell_methods"] == "realization: mean"
    assert made.t2m.attrs["ancillary_variables"] == "spread median t2m_members"
    assert (ensemble.products.pixel_km, ensemble.all_members.shape) == (None, (3, 2, 6, 9, 1))


def test_layers_of_several_fields_have_their_units():
    observed = temperature(xr).to_dataset()
    observed["w"] = (observed.t2m - 280).assign_attrs(units="m s-1")
    channels = [Channel(Field("w", "km h-1"), Linear(100.0)), Channel(Field("t2m", "degC"), Linear(50.0))]
    ensemble = EnsembleForecaster(
        [Forecaster(Fade(weight, 0.0), Channels(channels), input_frames=2) for weight in (1.0, 0.5)]
    )
    made = ensemble(observed, 1)
    assert (made.spread_t2m.attrs["units"], made.spread_w.attrs["units"]) == ("K", "m s-1")
    np.testing.assert_allclose(made.spread_w[0], observed.w[..., -1].T * 0.5 / np.sqrt(2), atol=1e-3)


def test_probabilities_nearby_take_the_pixels_of_the_input():
    products = Products(further=["nearby"], radius=[2.5])
    ensemble = EnsembleForecaster([persistence(), persistence()], thresholds=[20.0], products=products)
    name = "probability_at_least_20_mmh_within_2p5_km"
    narrow, wide = (ensemble(rain(xr, km=km), 1) for km in (1.0, 3.0))
    assert float(narrow[name].sum()) >= float(wide[name].sum())
    assert narrow[name].attrs["units"] == "1"
    assert ensemble.products is products


def test_a_learned_steps_is_told_minutes_and_pixels():
    model = LearnedSTEPS(members=2, hidden_channels=[6], levels=3, training_members=2, training_leads=1)
    model.eval()
    forecaster = DrawnForecaster(model, Reflectivity(), input_frames=3, horizon=1)
    told = []
    forecaster.adopt = lambda **facts: told.append(facts)
    made = forecaster(rain(xr, 13, minutes=2.5, km=0.5))
    assert told == [{"minutes": 5.0, "pixel_km": (0.5, 0.5)}]  # every second frame
    assert minutes(made) == [35]
    assert "spread" in made
    unplaced = rain(xr).drop_vars(["y", "x", "latitude", "spatial_ref"])
    with pytest.warns(UserWarning, match=f"the side of a pixel, which is taken as {forecaster.trained_km:g} km"):
        forecaster(unplaced)
    assert told[1]["pixel_km"] == forecaster.trained_km


def test_steps_is_told_minutes_and_pixels():
    model = STEPS(2)
    forecaster = DrawnForecaster(model, Reflectivity(), input_frames=3, horizon=1)
    forecaster(rain(xr, minutes=10, km=2))
    assert (model.minutes, model.pixel_km) == (10, 2)


def test_fixed_times_calendars_and_missing_times_are_refused():
    observed = rain(xr)
    with pytest.raises(ValueError, match="'times' and 'degrees' must be left out for frames of xarray"):
        persistence()(observed, times=observed.time.values)
    with pytest.raises(ValueError, match="has no variable of times"):
        persistence()(observed.drop_vars("time"))
    unknown = observed.assign_coords(time=observed.time.where(observed.time > observed.time[0]))
    with pytest.raises(ValueError, match="has frames without a time"):
        persistence()(unknown)
    rising = (observed / 12).assign_attrs(units="mm")
    with pytest.raises(ValueError, match=r"Take their differences: data.diff\('time'\), or name the period of each: "):
        persistence()(rising)
    pytest.importorskip("cftime")
    other = observed.convert_calendar("noleap")
    with pytest.raises(ValueError, match=r"the calendar 'noleap'. Convert it: data.convert_calendar\('standard'"):
        persistence()(other)


def test_a_store_of_20_gb_is_read_frame_by_frame(tmp_path):
    """Only the newest frames have chunks, so the store takes no room, but whoever reads it all needs 20 GB."""
    zarr = pytest.importorskip("zarr")
    if zarr.__version__.startswith("2."):
        pytest.skip("needs zarr 3")
    count, side = 20_000, 512
    group = zarr.open_group(str(tmp_path / "rain.zarr"), mode="w", zarr_format=2)
    shape = {"shape": (count, side, side), "chunks": (1, side, side), "dtype": "f4", "fill_value": -1.0}
    frames = group.create_array("rainfall", **shape)
    frames.attrs.update({"_ARRAY_DIMENSIONS": ["time", "y", "x"], "units": "mm h-1"})
    frames[-4:] = np.full((4, side, side), 2, np.float32)
    axes = {"time": (300 * np.arange(count), {"units": "seconds since 2024-01-01"})}
    axes |= {name: (1000.0 * np.arange(side), {"units": "m"}) for name in "yx"}
    for name, (values, attributes) in axes.items():
        array = group.create_array(name, shape=values.shape, dtype=values.dtype, fill_value=None)
        array[:] = values
        array.attrs.update({"_ARRAY_DIMENSIONS": [name], **attributes})
    with xr.open_dataset(tmp_path / "rain.zarr", engine="zarr", consolidated=False, chunks=None) as observed:
        assert observed.rainfall.nbytes > 20e9
        tracemalloc.start()
        made = persistence(input_frames=4)(observed, 3)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (made.rainfall == 2).all()
        assert peak < 60e6  # a frame takes 1 MB
        assert (made.time.values[0] - observed.time.values[-1]) == np.timedelta64(5, "m")


def test_fixed_fields_are_those_of_the_place():
    observed = temperature(xr)
    height = np.arange(54, dtype=np.float32).reshape(6, 9)
    scale = degrees_celsius(
        static=[Channel(Field("z", "m"), Linear(100.0))],
        grid=outline(LabelledFrames(observed.to_dataset()).grid),
        arrays={"static": height[..., None]},
    )
    seen = []

    class Seen(Persistence):
        def __call__(self, inputs, horizon):
            seen.append(np.array(inputs)[0, -1, ..., 1])
            return super().__call__(inputs[..., :1], horizon)

    made = Forecaster(Seen(), scale, input_frames=2, horizon=1)(observed)
    np.testing.assert_allclose(seen[0], height / 100, rtol=1e-6)
    np.testing.assert_allclose(made.t2m[0], observed[..., -1].T, atol=1e-3)
    with pytest.raises(ValueError, match="must be of the same grid"):
        Forecaster(Seen(), scale, input_frames=2)(observed.assign_coords(lat=observed.lat + 3))
