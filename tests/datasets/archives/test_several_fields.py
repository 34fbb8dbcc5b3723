"""Archives of other fields than rain, and of several at once."""

from convlstm.datasets.archives.archive import Archive
from convlstm.datasets.archives.forecast_input import ForecastInput
from tests.support.cf_files import LAT, LON, frames, write_cf

import numpy as np
import pytest

pytest.importorskip("netCDF4")

GRID = ("time", "lat", "lon")


def write_sea(path):
    """Writes temperatures and winds of the sea. The first column is land."""
    sst = frames(6, 3, 4)
    sst[..., 0] = np.nan
    about = {"units": "degC", "standard_name": "sea_surface_temperature", "long_name": "sea surface temperature"}
    wind = {"units": "m s-1", "standard_name": "eastward_wind"}
    return write_cf(path, {"sst": (GRID, sst, about), "u10": (GRID, -frames(6, 3, 4), wind)})


def test_several_fields_are_channels(tmp_path):
    archive = Archive(write_sea(tmp_path / "sea.nc"), options={"variable": ["sst", "u10"]}, progress=False)
    assert [str(field) for field in archive.fields] == [
        "sst: sea surface temperature, degC",
        "u10: eastward wind, m s-1",
    ]
    frame = archive.frame(2)
    assert frame.shape == (3, 4, 2)
    np.testing.assert_array_equal(frame[:, 1:, 0], frames(6, 3, 4)[2][:, 1:])
    # Negative values are no rain, so they stay.
    np.testing.assert_array_equal(frame[..., 1], -frames(6, 3, 4)[2])
    np.testing.assert_allclose(archive.missing, 0.25)
    assert archive.known().tolist() == [[0, 6, 6, 6]] * 3
    np.testing.assert_allclose(archive.frame(0, 2)[0, 1], [np.mean([3, 4, 7, 8]), -np.mean([3, 4, 7, 8])])
    assert [field["name"] for field in archive.describe()["fields"]] == ["sst", "u10"]
    assert archive.units == "raw"


def test_the_input_of_a_forecast_has_all_of_them(tmp_path):
    latest = ForecastInput(write_sea(tmp_path / "sea.nc"), frames=2, options={"variable": ["u10", "sst"]})
    latest.look()
    window, problems = latest.window(latest.times[-1])
    assert (window.frames.shape, problems) == ((2, 3, 4, 2), [])
    np.testing.assert_array_equal(window.frames[..., 0], -frames(6, 3, 4)[-2:])


def test_without_a_choice_the_list_is_named(tmp_path):
    path = write_sea(tmp_path / "sea.nc")
    with pytest.raises(ValueError, match=r"has several fields: sst \(degC\), u10 \(m s-1\)\. Choose one by"):
        Archive(path, progress=False)


def test_the_index_keeps_the_coordinates(tmp_path, index_folder):
    path = write_sea(tmp_path / "sea.nc")
    options = {"options": {"variable": "sst"}, "progress": False}
    first = Archive(path, **options)
    (stored,) = index_folder.iterdir()
    size = stored.stat().st_size
    again = Archive(path, **options)
    assert again.grid == first.grid
    assert hash(again.grid) == hash(first.grid)
    lat, lon = again.grid.coordinates
    np.testing.assert_array_equal(lat.values, LAT)
    np.testing.assert_array_equal(lon.values, LON)
    assert (lat.name, lat.values.dtype, dict(lat.attributes)) == (
        "lat",
        np.float32,
        {"standard_name": "latitude", "units": "degrees_north"},
    )
    assert size < 5000


def test_files_of_different_fields_are_no_series(tmp_path):
    for n, name in enumerate(["sst", "sst", "t2m"]):
        hours = (("time",), 6 * n + np.arange(6), {"units": "hours since 2020-01-01"})
        write_cf(tmp_path / f"{n}.nc", {name: (GRID, frames(6, 3, 4), {"units": "K"})}, time=hours)
    with pytest.warns(UserWarning, match=r"2\.nc \(3 x 4 t2m in K instead of 3 x 4 sst in K\)"):
        archive = Archive(tmp_path, progress=False)
    assert len(archive) == 12
