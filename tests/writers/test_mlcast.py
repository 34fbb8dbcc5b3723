"""Zarr stores as mlcast's specification describes them, stores of version 3, and attributes of files."""

import json
from dataclasses import replace

from convlstm.writers import Forecast, MissingWriterError, Place, Quantity, write
from tests.support.forecasts import OPERA
from tests.support.radar_files import open_file

import numpy as np
import pytest

zarr = pytest.importorskip("zarr")
pyproj = pytest.importorskip("pyproj")

ATTRIBUTES = {
    "license": "CC-BY-4.0",
    "mlcast_created_by": "A Person <person@example.org>",
    "mlcast_created_with": "https://github.com/mlcast-community/mlcast-dataset-a-b@v1.0.0",
    "mlcast_dataset_version": "1.0.0",
    "mlcast_dataset_validator_version": "0.4.0",
    "mlcast_dataset_identifier": "NL-a-rainfall_flux",
}


def test_a_store_has_the_form_of_mlcast(tmp_path, forecast):
    members = np.stack([forecast.values] * 2)
    given = replace(forecast, members=members, attributes=ATTRIBUTES)
    path = write(tmp_path / "f.zarr", given, "mlcast")
    group = zarr.open_group(str(path), mode="r")
    assert set(group.array_keys()) == {
        *("time", "lead_time", "forecast_reference_time", "y", "x", "crs", "lat", "lon", "rainfall_flux")
    }
    rain = group["rainfall_flux"]
    assert rain.attrs["_ARRAY_DIMENSIONS"] == ["time", "y", "x"]
    assert (rain.attrs["standard_name"], rain.attrs["units"]) == ("rainfall_flux", "kg m-2 h-1")
    assert rain.attrs["long_name"] == "rain rate"
    assert rain.attrs["coordinates"].split() == ["lead_time", "forecast_reference_time", "lat", "lon"]
    assert rain.chunks == (1, 8, 12)
    assert json.loads((path / "rainfall_flux" / ".zarray").read_text())["compressor"]["id"] == "zstd"
    assert (path / ".zmetadata").is_file()
    np.testing.assert_array_equal(rain[:], forecast.values)
    mapping = dict(group["crs"].attrs)
    assert mapping["spatial_ref"] == mapping["crs_wkt"]
    x, y = pyproj.Transformer.from_crs("EPSG:4326", OPERA, always_xy=True).transform(group["lon"][:], group["lat"][:])
    np.testing.assert_allclose(x, np.broadcast_to(group["x"][:], (8, 12)), atol=1e-3)
    np.testing.assert_allclose(y, np.broadcast_to(group["y"][:][:, None], (8, 12)), atol=1e-3)
    attributes = dict(group.attrs)
    assert ATTRIBUTES.items() <= attributes.items()
    assert attributes["mlcast_created_on"].endswith("Z")
    assert open_file(path)[1].grid.units == "mm/h"


def test_the_format_is_for_rain_on_a_map(tmp_path, forecast):
    path = tmp_path / "f.zarr"
    full = replace(forecast, attributes=ATTRIBUTES)
    with pytest.warns(UserWarning, match="asks for the attributes license, mlcast_created_by, .*attributes={license"):
        write(path, forecast, "mlcast")
    with pytest.raises(ValueError, match=r"is for one field of rain in mm/h or reflectivity in dBZ but got 'degC'"):
        write(path, replace(full, fields=(Quantity("sst", "degC"),)), "mlcast")
    two = Forecast(np.zeros((2, 8, 12, 2), np.float32), "mm/h", attributes=ATTRIBUTES)
    with pytest.raises(ValueError, match=r"one field .* of shape \(2, 8, 12, 2\)"):
        write(path, two, "mlcast")
    degrees = Place.of((8, 12), (5.0, 50.0, 11.0, 54.0), units="deg", projection="+proj=longlat +datum=WGS84")
    for place in (None, degrees, replace(forecast.place, projection=None)):
        with pytest.raises(ValueError, match="needs rows and columns in metres and their map projection"):
            write(path, replace(full, place=place), "mlcast")
    echo = zarr.open_group(str(write(path, replace(full, units="dBZ"), "mlcast")), mode="r")
    assert echo["equivalent_reflectivity_factor"].attrs["units"] == "dBZ"


def test_stores_of_version_3(tmp_path, forecast, monkeypatch):
    path = tmp_path / "f.zarr"
    if zarr.__version__.startswith("2."):
        with pytest.raises(MissingWriterError, match="needs zarr 3"):
            write(path, forecast, "zarr3")
        return
    write(path, forecast)
    write(path, forecast, "zarr3")  # replaces the store of version 2
    described = json.loads((path / "zarr.json").read_text())
    assert described["zarr_format"] == 3
    assert "consolidated_metadata" in described
    rain = json.loads((path / "rain_rate" / "zarr.json").read_text())
    assert rain["dimension_names"] == ["time", "y", "x"]
    assert rain["chunk_grid"]["configuration"]["chunk_shape"] == [1, 8, 12]
    assert "zstd" in [codec["name"] for codec in rain["codecs"]]
    reader, contents = open_file(path)
    np.testing.assert_array_equal(contents.times, forecast.times)
    np.testing.assert_array_equal(reader.read(path, 1), forecast.values[1])
    write(path, forecast)  # and back
    assert (path / ".zgroup").is_file()
    monkeypatch.setattr(zarr, "__version__", "2.18.0")
    with pytest.raises(MissingWriterError, match=r"a store of version 3 needs zarr 3 but zarr 2.18.0 is installed"):
        write(path, forecast, "zarr3")


def test_attributes_describe_the_file(tmp_path, forecast):
    netcdf = pytest.importorskip("netCDF4")
    about = {"license": "CC-BY-4.0", "title": "Rain of the next hour", "edition": 3}
    with netcdf.Dataset(write(tmp_path / "f.nc", replace(forecast, attributes=about))) as file:
        assert {name: file.getncattr(name) for name in about} == about
        assert file.source.startswith("convlstm")
    for wrong in ({"source": "me"}, {"Conventions": "CF-1.6"}, {"a b": "x"}, {1: "x"}):
        with pytest.raises(ValueError, match=r"'attributes' must have names of letters, digits and _, other than"):
            replace(forecast, attributes=wrong)
    with pytest.raises(ValueError, match=r"'attributes' must be texts and numbers but 'license' is \['a'\]"):
        replace(forecast, attributes={"license": ["a"]})
