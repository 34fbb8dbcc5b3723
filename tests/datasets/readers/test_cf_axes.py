"""Dimensions of CF fields in any order, further ones, and times of any calendar."""

from convlstm.datasets.readers import ReadError, make_reader
from tests.support.cf_files import HOURS, LAT, LON, frames, write_cf
from tests.support.radar_files import open_file

import numpy as np
import pytest

pytest.importorskip("netCDF4")

VALUES = frames(6, 3, 4)
KELVIN = {"units": "K"}


def first_frames(path, **options):
    """Returns the first two frames of a file."""
    reader, _ = open_file(path, **options)
    return np.stack([reader.read(path, n) for n in (0, 1)])


@pytest.mark.parametrize(
    "order", [("time", "lon", "lat"), ("lat", "lon", "time"), ("lon", "time", "lat"), ("lon", "lat", "time")]
)
def test_any_order_of_dimensions(tmp_path, order):
    axes = [("time", "lat", "lon").index(name) for name in order]
    path = write_cf(tmp_path / "a.nc", {"t": (order, VALUES.transpose(axes), KELVIN)})
    np.testing.assert_array_equal(first_frames(path), VALUES[:2])


def test_both_axes_reversed(tmp_path):
    north_up = {"units": "degrees_north"}
    path = write_cf(
        tmp_path / "a.nc",
        {"t": (("time", "lat", "lon"), VALUES, KELVIN)},
        lat=(("lat",), LAT[::-1], north_up),
        lon=(("lon",), LON[::-1], {"units": "degrees_east"}),
    )
    np.testing.assert_array_equal(first_frames(path), VALUES[:2, ::-1, ::-1])
    lat, lon = open_file(path)[1].grid.coordinates
    np.testing.assert_array_equal(lat.values, LAT)
    np.testing.assert_array_equal(lon.values, LON)


LEVELS = (("level",), np.array([1000, 500], np.int32), {"units": "millibars"})


def test_a_level_is_selected_by_its_value(tmp_path):
    values = frames(6, 2, 3, 4)
    path = write_cf(tmp_path / "a.nc", {"t": (("time", "level", "lat", "lon"), values, KELVIN)}, level=LEVELS)
    message = r"has 't' over the dimension 'level' of 2 \(1000, 500 millibars\) beside time, rows and columns\. Choose"
    with pytest.raises(ReadError, match=message):
        open_file(path)
    np.testing.assert_array_equal(first_frames(path, select={"level": 500}), values[:2, 1])
    np.testing.assert_array_equal(first_frames(path, select={"level": 1000.0}), values[:2, 0])
    with pytest.raises(ReadError, match=r"has no level=700; 't' has \(1000, 500 millibars\)"):
        open_file(path, select={"level": 700})
    with pytest.raises(ReadError, match=r"no dimension 'plev' to select from: 't' is over time, level, lat, lon"):
        open_file(path, select={"plev": 500})
    with pytest.raises(ValueError, match=r"\[netcdf\] 'select' must name dimensions with a value .* but got 500"):
        make_reader("netcdf", select=500)


def test_a_dimension_without_coordinates_takes_a_number(tmp_path):
    values = frames(6, 2, 3, 4)
    path = write_cf(tmp_path / "a.nc", {"t": (("time", "number", "lat", "lon"), values, KELVIN)})
    with pytest.raises(ReadError, match=r"over the dimension 'number' of 2 beside time"):
        open_file(path)
    np.testing.assert_array_equal(first_frames(path, select={"number": 1}), values[:2, 1])
    with pytest.raises(ReadError, match=r"'select' takes a number from 0 to 1, but it is 2"):
        open_file(path, select={"number": 2})


def test_dimensions_of_one_are_left_out(tmp_path):
    values = frames(6, 1, 1, 3, 4)
    path = write_cf(
        tmp_path / "a.nc",
        {"t2m": (("time", "number", "height", "lat", "lon"), values, KELVIN)},
        height=(("height",), [2.0], {"units": "m", "axis": "Z", "positive": "up"}),
        number=(("number",), [0], {}),
    )
    np.testing.assert_array_equal(first_frames(path), values[:2, 0, 0])
    np.testing.assert_array_equal(first_frames(path, select={"height": 2}), values[:2, 0, 0])


def test_heights_are_no_rows(tmp_path):
    values = frames(6, 2, 3, 4)
    for attributes in ({"units": "m"}, {"units": "m", "positive": "up"}):
        height = (("height",), [2.0, 10.0], attributes)
        path = write_cf(tmp_path / "a.nc", {"u": (("time", "height", "lat", "lon"), values, KELVIN)}, height=height)
        np.testing.assert_array_equal(first_frames(path, select={"height": 10}), values[:2, 1])
    # Pictures call their rows so.
    sides = {"lat": None, "lon": None}
    path = write_cf(tmp_path / "b.nc", {"u": (("time", "height", "width"), VALUES, KELVIN)}, **sides)
    np.testing.assert_array_equal(first_frames(path), VALUES[:2])


@pytest.mark.parametrize("dimensions", [("time", "expver", "lat", "lon"), ("expver", "lat", "time", "lon")])
@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_versions_of_era5_complement_each_other(tmp_path, dimensions, order):
    """The final version counts, and the preliminary one where it has no value, in whichever order the file has them."""
    final, early = frames(6, 3, 4), 1000 + frames(6, 3, 4)
    final[4:] = np.nan
    final[0, 1, 2] = np.nan
    early[:2, 0] = np.nan
    values = np.stack([final, early], axis=1)[:, order]
    axes = [("time", "expver", "lat", "lon").index(name) for name in dimensions]
    expver = (("expver",), np.array([1, 5], np.int32)[order], {})
    path = write_cf(tmp_path / "a.nc", {"t2m": (dimensions, values.transpose(axes), KELVIN)}, expver=expver)
    reader, contents = open_file(path)
    assert str(contents.fields[0]) == "t2m: K (expver 1, where it is missing expver 5)"
    read = np.stack([reader.read(path, n) for n in range(6)])
    np.testing.assert_array_equal(read, np.where(np.isnan(final), early, final))
    np.testing.assert_array_equal(first_frames(path, select={"expver": 5}), early[:2])


def test_lead_times_of_a_single_forecast(tmp_path):
    """As cfgrib writes it: a start, steps in hours, and the time of each."""
    values = frames(1, 6, 3, 4)
    path = write_cf(
        tmp_path / "a.nc",
        {"t": (("time", "step", "lat", "lon"), values, KELVIN)},
        time=(("time",), [0], HOURS),
        step=(("step",), np.arange(6.0), {"units": "hours"}),
        valid_time=(("time", "step"), np.arange(6)[None] + 3, HOURS),
    )
    reader, contents = open_file(path)
    assert contents.times[0] == np.datetime64("2020-01-01T03:00:00")
    assert len(contents.times) == 6
    np.testing.assert_array_equal(reader.read(path, 1), values[0, 1])


def test_latitudes_of_each_pixel(tmp_path):
    """Rows, columns and their order follow from latitudes and longitudes alone."""
    lat = np.broadcast_to(LAT[::-1, None], (3, 4)) + np.float32(0.01) * np.arange(4, dtype=np.float32)
    lon = np.broadcast_to(LON[::-1], (3, 4)).astype(np.float32)
    about = [{"units": "degrees_north"}, {"units": "degrees_east"}]
    for order, turn in ((("j", "i"), False), (("i", "j"), True)):
        variables = {
            "t": (("time", *order), VALUES.swapaxes(1, 2) if turn else VALUES, KELVIN),
            "nav_lat": (order, lat.T if turn else lat, about[0]),
            "nav_lon": (order, lon.T if turn else lon, about[1]),
        }
        path = write_cf(tmp_path / f"{order[0]}.nc", variables, lat=None, lon=None)
        np.testing.assert_array_equal(first_frames(path), VALUES[:2, ::-1, ::-1])
        grid = open_file(path)[1].grid
        assert grid.dimensions == ("j", "i")
        np.testing.assert_array_equal(grid.coordinates[0].values, lat[::-1, ::-1])
        np.testing.assert_array_equal(grid.coordinates[1].values, lon[::-1, ::-1])
        assert (grid.pixel_size, grid.extent) == (None, None)


def test_a_chosen_level_of_several_fields(tmp_path):
    levels = {"t": (("time", "level", "lat", "lon"), frames(6, 2, 3, 4), KELVIN)}
    flat = {"t2m": (("time", "lat", "lon"), VALUES, KELVIN), "orog": (("lat", "lon"), VALUES[3], {"units": "m"})}
    path = write_cf(tmp_path / "a.nc", levels | flat, level=LEVELS)
    read = first_frames(path, variable=["t", "orog", "t2m"], select={"level": 500})
    assert read.shape == (2, 3, 4, 3)
    np.testing.assert_array_equal(read[..., 0], frames(6, 2, 3, 4)[:2, 1])
    # The height of the ground is the same in all frames.
    np.testing.assert_array_equal(read[..., 1], np.stack([VALUES[3]] * 2))
    np.testing.assert_array_equal(read[..., 2], VALUES[:2])


def test_fields_that_do_not_fit_together(tmp_path):
    small = (("time", "y", "x"), frames(6, 2, 2), KELVIN)
    other_times = (("days", "lat", "lon"), frames(2, 3, 4), KELVIN)
    variables = {"t": (("time", "lat", "lon"), VALUES, KELVIN), "small": small, "daily": other_times}
    days = (("days",), [0, 1], {"units": "days since 2020-01-01"})
    path = write_cf(tmp_path / "a.nc", variables, days=days)
    with pytest.raises(ReadError, match=r"has 'small' on another grid than 't'"):
        open_file(path, variable=["t", "small"])
    with pytest.raises(ReadError, match=r"has 'daily' at other times than 't'"):
        open_file(path, variable=["t", "daily"])
    with pytest.raises(ValueError, match=r"'variable' must be one or more different names but got \['t', 't'\]"):
        make_reader("netcdf", variable=["t", "t"])


def test_longitudes_that_pass_the_date_line_keep_their_order(tmp_path):
    east = {"units": "degrees_east"}
    for lon in ([180.0, 270.0, 0.0, 90.0], [90.0, 180.0, -90.0, 0.0]):
        path = write_cf(
            tmp_path / "a.nc", {"t": (("time", "lat", "lon"), VALUES, KELVIN)}, lon=(("lon",), np.array(lon), east)
        )
        np.testing.assert_array_equal(first_frames(path), VALUES[:2])
        np.testing.assert_array_equal(open_file(path)[1].grid.coordinates[1].values, lon)
