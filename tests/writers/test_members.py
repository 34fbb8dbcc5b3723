"""Members and other products in files: the axis `realization`, and which of the fields is the forecast."""

import json
import re
from dataclasses import replace

from convlstm.writers import Forecast, Layer, Quantity, write
from tests.support.radar_files import open_file

import numpy as np
import pytest

ABOUT = {"cell_methods": "realization: median", "comment": "median of 4 members"}
SIZE = {"ensemble_size": 4}


@pytest.fixture
def ensemble(forecast, rng):
    """Returns a forecast with four members (4, 3, 8, 12) and a layer in the units of rain."""
    members = rng.gamma(0.5, 4, (4, *forecast.values.shape)).astype(np.float32)
    members[:, :, 0, 0] = np.nan
    layers = {"quantile_0p9": Layer(members[3], "mm h-1", "quantile at 0.9 of 4 members", {"quantile": 0.9})}
    return replace(forecast, members=members, layers=layers, about=ABOUT | SIZE)


def test_members_have_the_axis_realization(tmp_path, ensemble):
    netcdf = pytest.importorskip("netCDF4")
    with netcdf.Dataset(write(tmp_path / "f.nc", ensemble)) as file:
        file.set_auto_mask(False)
        members, rain = file["rain_rate_members"], file["rain_rate"]
        assert members.dimensions == ("realization", "time", "y", "x")
        assert members.chunking() == [1, 1, 8, 12]
        np.testing.assert_array_equal(members[:], ensemble.members)
        # The forecast is made of all members, whose number is a coordinate in place of the axis.
        assert rain.coordinates.split() == [*members.coordinates.split(), "number_of_realizations"]
        assert (file["number_of_realizations"][...], file["number_of_realizations"].dimensions) == (4, ())
        for name in ("units", "standard_name", "grid_mapping"):
            assert members.getncattr(name) == rain.getncattr(name)
        assert not {"cell_methods", "comment", "ancillary_variables"} & {*members.ncattrs()}
        axis = file["realization"]
        assert (axis.standard_name, axis.units, axis.dimensions) == ("realization", "1", ("realization",))
        np.testing.assert_array_equal(axis[:], [1, 2, 3, 4])
        assert {name: rain.getncattr(name) for name in ABOUT} == ABOUT
        assert rain.ancillary_variables == "quantile_0p9 rain_rate_members"
        assert file["quantile_0p9"].quantile == 0.9


def test_zarr_has_a_chunk_for_each_frame_of_a_member(tmp_path, ensemble):
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(write(tmp_path / "f.zarr", ensemble)), mode="r")
    members = group["rain_rate_members"]
    assert members.chunks == (1, 1, 8, 12)
    assert members.attrs["_ARRAY_DIMENSIONS"] == ["realization", "time", "y", "x"]
    np.testing.assert_array_equal(members[:], ensemble.members)
    np.testing.assert_array_equal(group["realization"][:], [1, 2, 3, 4])


@pytest.mark.parametrize("name", ["f.nc", "f.zarr"])
def test_our_own_readers_take_the_forecast_or_a_member(tmp_path, ensemble, name):
    pytest.importorskip("netCDF4" if name == "f.nc" else "zarr")
    path = write(tmp_path / name, ensemble)
    reader, contents = open_file(path)
    np.testing.assert_array_equal(contents.times, ensemble.times)
    np.testing.assert_array_equal(reader.read(path, 1), ensemble.values[1])
    reader, _ = open_file(path, variable="rain_rate_members", select={"realization": 3})
    np.testing.assert_array_equal(reader.read(path, 1), ensemble.members[2, 1])


def test_each_field_has_its_members(tmp_path):
    netcdf = pytest.importorskip("netCDF4")
    members = np.arange(3 * 2 * 4 * 5 * 2, dtype=np.float32).reshape(3, 2, 4, 5, 2)
    fields = (Quantity("sst", "degC", "", "sea surface temperature"), Quantity("u", "m s-1"))
    forecast = Forecast(members.mean(axis=0), "", fields=fields, members=members)
    with netcdf.Dataset(write(tmp_path / "f.nc", forecast)) as file:
        np.testing.assert_array_equal(file["sst_members"][:], members[..., 0])
        np.testing.assert_array_equal(file["u_members"][:], members[..., 1])
        assert file["sst_members"].long_name == "members of sea surface temperature"
        assert file["u"].ancillary_variables == "u_members"


def test_channels_of_members_are_a_dimension(tmp_path):
    netcdf = pytest.importorskip("netCDF4")
    members = np.zeros((2, 2, 4, 5, 3), np.float32)
    with netcdf.Dataset(write(tmp_path / "f.nc", Forecast(members[0], "", members=members))) as file:
        assert file["field_members"].dimensions == ("realization", "time", "y", "x", "channel")


def test_npy_holds_the_members_instead_of_the_forecast(tmp_path, ensemble):
    np.testing.assert_array_equal(np.load(write(tmp_path / "f.npy", ensemble)), ensemble.members)
    description = json.loads((tmp_path / "f.json").read_text())
    assert (description["shape"], description["dimensions"]) == ([4, 3, 8, 12], ["realization", "time", "y", "x"])
    write(tmp_path / "g.npy", replace(ensemble, members=None))
    description = json.loads((tmp_path / "g.json").read_text())
    assert (description["shape"], description["dimensions"]) == ([3, 8, 12], ["time", "y", "x"])


def test_members_of_another_shape(forecast):
    text = "[Forecast] 'members' must be of shape (M, 3, 8, 12) but got (4, 3, 8, 11)."
    with pytest.raises(ValueError, match=re.escape(text)):
        replace(forecast, members=np.zeros((4, 3, 8, 11)))
    with pytest.raises(ValueError, match=re.escape("'members' must be of shape (M, 3, 8, 12) but got (0, 3, 8, 12).")):
        replace(forecast, members=np.zeros((0, 3, 8, 12)))
    with pytest.raises(ValueError, match="'members' must be an array of numbers but got list"):
        replace(forecast, members=[1])
    with pytest.raises(ValueError, match="'about' must be a Mapping but got"):
        replace(forecast, about="median")
