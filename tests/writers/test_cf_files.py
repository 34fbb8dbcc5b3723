"""NetCDF files and Zarr stores: variables and attributes as CF has them."""

import json
from dataclasses import replace

from convlstm.writers import Coordinate, Forecast, Layer, Place, Quantity, write
from tests.support.forecasts import EXTENT
from tests.support.radar_files import open_file

import numpy as np
import pytest


def test_netcdf_follows_cf(tmp_path, forecast):
    netcdf = pytest.importorskip("netCDF4")
    path = write(tmp_path / "f.nc", forecast)
    with netcdf.Dataset(path) as file:
        rain = file["rain_rate"]
        assert rain.dimensions == ("time", "y", "x")
        assert rain.units == "mm h-1"
        assert rain.standard_name == "lwe_precipitation_rate"
        assert rain.coordinates.split() == ["lead_time", "forecast_reference_time"]
        np.testing.assert_array_equal(rain[:].filled(np.nan), forecast.values)
        assert rain.chunking() == [1, 8, 12]
        times = netcdf.num2date(file["time"][:], file["time"].units, file["time"].calendar)
        assert [f"{t:%Y-%m-%dT%H:%M}" for t in times] == ["2024-01-31T23:55", "2024-02-01T00:00", "2024-02-01T00:05"]
        assert file["time"].standard_name == "time"
        assert file["time"].units_metadata == "leap_seconds: none"
        np.testing.assert_array_equal(file["lead_time"][:], [5, 10, 15])
        assert (file["lead_time"].standard_name, file["lead_time"].units) == ("forecast_period", "minutes")
        issued = file["forecast_reference_time"]
        assert issued.standard_name == "forecast_reference_time"
        assert netcdf.num2date(issued[...], issued.units, issued.calendar).isoformat() == "2024-01-31T23:50:00"
        # Centres of pixels, north first.
        np.testing.assert_allclose(file["y"][:], 215_000 - 2000 * np.arange(8))
        np.testing.assert_allclose(file["x"][:], 101_000 + 2000 * np.arange(12))
        assert file["x"].standard_name == "projection_x_coordinate"
        mapping = file[rain.grid_mapping]
        assert mapping.grid_mapping_name == "lambert_azimuthal_equal_area"
        assert mapping.false_northing == -2_100_000
        assert file.Conventions.startswith("CF-1.")
        assert (file.checkpoint, file.commit) == ("runs/mine/checkpoints/best", "abc")
        assert json.loads(file.config) == {"model": {"a": 1}}


@pytest.mark.parametrize("name", ["f.nc", "f.zarr"])
def test_our_own_readers_read_the_files(tmp_path, forecast, name):
    pytest.importorskip("netCDF4" if name == "f.nc" else "zarr")
    path = write(tmp_path / name, forecast)
    reader, contents = open_file(path)
    np.testing.assert_array_equal(contents.times, forecast.times)
    assert contents.grid.units == "mm/h"
    assert contents.grid.extent == pytest.approx(EXTENT)
    assert contents.grid.pixel_size == pytest.approx((2000, 2000))
    assert pytest.importorskip("pyproj").CRS(contents.grid.projection).to_cf()["false_northing"] == -2_100_000
    for n, frame in enumerate(forecast.values):
        np.testing.assert_array_equal(reader.read(path, n), frame)


def test_zarr_has_a_chunk_for_each_frame_and_consolidated_metadata(tmp_path, forecast):
    zarr = pytest.importorskip("zarr")
    path = write(tmp_path / "f.zarr", forecast)
    group = zarr.open_group(str(path), mode="r")
    assert group["rain_rate"].chunks == (1, 8, 12)
    assert group["rain_rate"].attrs["_ARRAY_DIMENSIONS"] == ["time", "y", "x"]
    assert group["rain_rate"].attrs["grid_mapping"] == "crs"
    assert group.attrs["commit"] == "abc"
    assert (path / ".zmetadata").is_file()


@pytest.mark.parametrize(
    ("units", "name", "written"),
    [
        ("mm/h", "rain_rate", "mm h-1"),
        ("dBZ", "reflectivity", "dBZ"),
        ("raw", "field", "1"),
        ("", "field", "1"),
        ("degC", "field", "degC"),
    ],
)
def test_units_name_the_variable(tmp_path, forecast, units, name, written):
    netcdf = pytest.importorskip("netCDF4")
    with netcdf.Dataset(write(tmp_path / "f.nc", replace(forecast, units=units))) as file:
        assert file[name].units == written


def test_layers_stand_beside_the_forecast(tmp_path, forecast):
    netcdf = pytest.importorskip("netCDF4")
    spread = Layer(np.ones((3, 8, 12)), "mm h-1", "spread of the members", {"members": 5})
    with netcdf.Dataset(write(tmp_path / "f.nc", replace(forecast, layers={"spread": spread}))) as file:
        layer = file["spread"]
        assert (layer.units, layer.long_name, layer.members) == ("mm h-1", "spread of the members", 5)
        assert layer.grid_mapping == "crs"
        np.testing.assert_array_equal(layer[:], 1)


def test_degrees_are_latitudes_and_longitudes(tmp_path, forecast):
    netcdf = pytest.importorskip("netCDF4")
    place = Place.of((8, 12), (5.0, 50.0, 11.0, 54.0), units="deg", projection="+proj=longlat +datum=WGS84")
    with netcdf.Dataset(write(tmp_path / "f.nc", replace(forecast, place=place))) as file:
        assert file["rain_rate"].dimensions == ("time", "lat", "lon")
        assert (file["lat"].units, file["lon"].units) == ("degrees_north", "degrees_east")
        assert file["lat"][0] == 53.75
        assert file["crs"].grid_mapping_name == "latitude_longitude"


def test_without_times_and_place_frames_are_numbered(tmp_path, forecast):
    netcdf = pytest.importorskip("netCDF4")
    bare = replace(forecast, issued=None, step=None, place=None, provenance={})
    with netcdf.Dataset(write(tmp_path / "f.nc", bare)) as file:
        assert set(file.variables) == {"time", "rain_rate"}
        np.testing.assert_array_equal(file["time"][:], [1, 2, 3])
        assert not hasattr(file["rain_rate"], "grid_mapping")


def test_channels_are_a_dimension(tmp_path, forecast):
    netcdf = pytest.importorskip("netCDF4")
    colour = Forecast(np.zeros((2, 4, 5, 3), np.float32), "")
    with netcdf.Dataset(write(tmp_path / "f.nc", colour)) as file:
        assert file["field"].dimensions == ("time", "y", "x", "channel")
    with netcdf.Dataset(write(tmp_path / "g.nc", Forecast(np.zeros((2, 4, 5, 1), np.float32), ""))) as file:
        assert file["field"].dimensions == ("time", "y", "x")


def test_fields_keep_their_names_and_units(tmp_path):
    netcdf = pytest.importorskip("netCDF4")
    fields = (
        Quantity("sst", "degC", "sea_surface_temperature", "sea surface temperature"),
        Quantity("u10", "m s-1", "eastward_wind"),
    )
    values = np.arange(2 * 4 * 5 * 2, dtype=np.float32).reshape(2, 4, 5, 2)
    with netcdf.Dataset(write(tmp_path / "f.nc", Forecast(values, "", fields=fields))) as file:
        sst, wind = file["sst"], file["u10"]
        assert (sst.units, sst.standard_name, sst.long_name) == ("degC", fields[0].standard_name, fields[0].long_name)
        assert (wind.units, wind.standard_name) == ("m s-1", "eastward_wind")
        assert sst.units_metadata == "temperature: on_scale"
        assert not hasattr(wind, "units_metadata")
        assert not hasattr(wind, "long_name")
        np.testing.assert_array_equal(sst[:], values[..., 0])
        np.testing.assert_array_equal(wind[:], values[..., 1])
    one = Forecast(values[..., 0], "degC", fields=fields[:1])
    with netcdf.Dataset(write(tmp_path / "g.nc", one)) as file:
        assert (file["sst"].dimensions, file["sst"].units) == (("time", "y", "x"), "degC")


def rotated_place():
    """Returns a place on a grid with a rotated pole, with latitudes."""
    rows, columns = np.linspace(2, 1, 8, dtype=np.float32), np.arange(12.0) / 7
    lat = np.add.outer(rows, columns).astype(np.float32)
    pole = {"grid_mapping_name": "rotated_latitude_longitude", "grid_north_pole_latitude": 37.5}
    coordinates = (
        Coordinate("rlat", ("rlat",), rows, {"units": "degrees", "standard_name": "grid_latitude"}),
        Coordinate("rlon", ("rlon",), columns, {"units": "degrees", "standard_name": "grid_longitude"}),
        Coordinate("lat", ("rlat", "rlon"), lat, {"units": "degrees_north"}),
        Coordinate("rotated_pole", (), np.int32(0), pole),
    )
    return Place(("rlat", "rlon"), coordinates)


@pytest.mark.parametrize("name", ["f.nc", "f.zarr"])
def test_coordinates_come_back_as_they_are(tmp_path, forecast, name):
    pytest.importorskip("netCDF4" if name == "f.nc" else "zarr")
    place = rotated_place()
    grid = open_file(write(tmp_path / name, replace(forecast, place=place)))[1].grid
    assert grid.dimensions == place.dimensions
    found = {coordinate.name: coordinate for coordinate in grid.coordinates}
    for given in place.coordinates:
        back = found[given.name]
        assert (back.dimensions, back.values.dtype) == (given.dimensions, given.values.dtype)
        np.testing.assert_array_equal(back.values, given.values)
        assert dict(back.attributes) == given.attributes


def test_coordinates_of_a_file_are_written_as_they_are(tmp_path, forecast):
    netcdf = pytest.importorskip("netCDF4")
    place = rotated_place()
    rows, columns, lat, _ = (coordinate.values for coordinate in place.coordinates)
    with netcdf.Dataset(write(tmp_path / "f.nc", replace(forecast, place=place))) as file:
        rain = file["rain_rate"]
        assert rain.dimensions == ("time", "rlat", "rlon")
        assert rain.grid_mapping == "rotated_pole"
        assert rain.coordinates.split() == ["lead_time", "forecast_reference_time", "lat"]
        assert (file["rlat"].dtype, file["rlat"].standard_name) == (np.float32, "grid_latitude")
        np.testing.assert_array_equal(file["rlon"][:], columns)
        np.testing.assert_array_equal(file["lat"][:], lat)
        assert file["rotated_pole"].grid_north_pole_latitude == 37.5
        assert "crs" not in file.variables
    short = replace(place, coordinates=(replace(place.coordinates[2], values=lat[:, 1:]),))
    with pytest.raises(ValueError, match=r"'place' must have coordinates 'lat' of \(8, 12\) but has \(8, 11\)"):
        replace(forecast, place=short)
