import threading

from convlstm.datasets.readers import NO_ECHO_DBZ, ReadError, make_reader
from convlstm.datasets.readers.cf.quantity import units_of
from tests.support.radar_files import open_file, write_rainfields

import numpy as np
import pytest

netCDF4 = pytest.importorskip("netCDF4")


CODES = np.array([[0, 20, -1], [2, 40, 100]], np.int16)


# 0.05 mm in 10 minutes are 0.3 mm/h.
RAIN = np.array([[0, 6, np.nan], [0.6, 12, 30]], np.float32)


@pytest.mark.parametrize("mode", ["NETCDF4", "NETCDF3_CLASSIC", "NETCDF3_64BIT_DATA"])
def test_rainfields(tmp_path, mode):
    path = write_rainfields(tmp_path / "66.prcp-c10.nc", CODES, mode=mode)
    reader, contents = open_file(path)
    assert reader.format == "netcdf"
    assert contents.times.tolist() == [np.datetime64("2020-10-31T00:10:00").item()]
    np.testing.assert_allclose(reader.read(path, 0), RAIN, rtol=1e-6)
    grid = contents.grid
    assert (grid.shape, grid.units, grid.pixel_size, grid.pixel_units) == ((2, 3), "mm/h", (500, 500), "m")
    assert grid.extent == (-750, -500, 750, 500)
    # In the forecast as in the file.
    y, x, mapping = grid.coordinates
    assert (y.name, y.values.tolist(), x.values.tolist()) == ("y", [0.25, -0.25], [-0.5, 0, 0.5])
    assert (x.attributes["units"], mapping.attributes["false_easting"]) == ("km", 2)


def test_rows_from_south_to_north_are_flipped(tmp_path):
    path = write_rainfields(tmp_path / "up.nc", CODES[::-1], y=np.array([-0.25, 0.25]))
    reader, contents = open_file(path)
    np.testing.assert_allclose(reader.read(path, 0), RAIN, rtol=1e-6)
    assert contents.grid.extent == (-750, -500, 750, 500)


def write_stack(path, values, *, units="mm h-1", start=0, chunks=None, name="rain", **attributes):
    """Writes a NetCDF stack of frames 5 minutes apart, on rising latitudes and without a map."""
    with netCDF4.Dataset(path, "w") as file:
        for side, size in zip(("time", "lat", "lon"), values.shape, strict=True):
            file.createDimension(side, size)
        time = file.createVariable("time", "f8", ("time",))
        time.setncatts({"units": "minutes since 2020-01-01T00:00:00+01:00", "calendar": "gregorian"})
        time[:] = 5 * np.arange(len(values)) + start
        for side, first in (("lat", 47.0), ("lon", 8.0)):
            variable = file.createVariable(side, "f4", (side,))
            variable.units = "degrees_north" if side == "lat" else "degrees_east"
            variable[:] = first + 0.01 * np.arange(file.dimensions[side].size)
        height = file.createVariable("height", "f4", ("lat", "lon"))
        height.units = "m"
        height[:] = 500
        rain = file.createVariable(name, values.dtype, ("time", "lat", "lon"), chunksizes=chunks, zlib=True)
        rain.setncatts({"units": units} | attributes)
        rain.set_auto_maskandscale(False)
        rain[:] = values
    return path


def stack(frames=7, height=3, width=4):
    return np.arange(frames * height * width, dtype=np.float32).reshape(frames, height, width)


def test_stack_of_rates(tmp_path):
    values = stack()
    values[2, 0, 1] = np.nan
    reader, contents = open_file(write_stack(tmp_path / "stack.nc", values))
    assert contents.times[0] == np.datetime64("2019-12-31T23:00:00"), "the offset of the origin counts"
    assert set(np.diff(contents.times).astype(int)) == {300}
    assert len(contents.times) == 7
    for position in (2, 0, 6):
        np.testing.assert_array_equal(reader.read(tmp_path / "stack.nc", position), values[position, ::-1])
    grid = contents.grid
    assert (grid.pixel_units, grid.projection) == ("deg", None)
    assert grid.pixel_size == pytest.approx((0.01, 0.01), rel=1e-3)
    assert grid.extent == pytest.approx((7.995, 46.995, 8.035, 47.025), abs=1e-5)
    with pytest.raises(ReadError, match=r"\[netcdf\] .*stack\.nc has no frame 7"):
        reader.read(tmp_path / "stack.nc", 7)
    with pytest.raises(ReadError, match="has no frame -1"):
        reader.read(tmp_path / "stack.nc", -1)


def test_frames_of_one_chunk_are_read_together(tmp_path):
    values = stack()
    path = write_stack(tmp_path / "chunks.nc", values, chunks=(3, 3, 4))
    reader, _ = open_file(path)
    for position in (6, 1, 2, 3, 0):
        np.testing.assert_array_equal(reader.read(path, position), values[position, ::-1])
    # Cached blocks are not used after the file has changed.
    write_stack(path, values + 1, chunks=(3, 3, 4), start=60)
    np.testing.assert_array_equal(reader.read(path, 1), values[1, ::-1] + 1)


@pytest.mark.parametrize(
    ("units", "attributes", "options", "factor"),
    [
        ("kg m-2 s-1", {}, {}, 3600),
        ("m s-1", {}, {}, 3.6e6),
        ("mm", {}, {}, 12),  # by the step
        ("mm", {"cell_methods": "time: sum (interval: 15 minutes)"}, {}, 4),
        ("kg m-2", {"accumulation_period": "PT1H"}, {}, 1),
        ("mm", {}, {"step_minutes": 10}, 6),
        ("1", {}, {"units": "mm/h"}, 1),
    ],
)
def test_units_become_mm_per_hour(tmp_path, units, attributes, options, factor):
    path = write_stack(tmp_path / "stack.nc", stack(), units=units, standard_name="rainfall", **attributes)
    reader, contents = open_file(path, **options)
    assert contents.grid.units == "mm/h"
    np.testing.assert_allclose(reader.read(path, 1), factor * stack()[1, ::-1], rtol=1e-6)


def test_bounds_give_period_and_end(tmp_path):
    path = write_stack(tmp_path / "stack.nc", stack(), units="mm")
    with netCDF4.Dataset(path, "a") as file:
        file.createDimension("two", 2)
        bounds = file.createVariable("time_bnds", "f8", ("time", "two"))
        bounds[:] = 5 * np.arange(7)[:, None] + np.array([0, 2.5])
        file["time"].bounds = "time_bnds"
    reader, contents = open_file(path)
    assert contents.times[1] == np.datetime64("2019-12-31T23:07:30")
    np.testing.assert_allclose(reader.read(path, 1), 24 * stack()[1, ::-1], rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mm/h", ("mm/h", 1)),
        ("mm hr^-1", ("mm/h", 1)),
        ("kg m**-2 s**-1", ("mm/h", 3600)),
        ("kg/m^2", ("mm", 1)),
        ("dBZ", ("dBZ", 1)),
        ("K", ("raw", 1)),
    ],
)
def test_units_of(text, expected):
    assert units_of(text) == expected


def test_codes_of_missing_values(tmp_path):
    values = np.array([[[0, 1, 2, 3], [4, 5, 200, 255], [9, 8, 7, 6]]], np.uint8)
    attributes = {"_Unsigned": "true", "missing_value": np.int8(-1), "valid_max": np.uint8(100), "scale_factor": 0.5}
    path = write_stack(tmp_path / "codes.nc", values.view(np.int8), units="dBZ", **attributes)
    reader, contents = open_file(path)
    assert contents.grid.units == "dBZ"
    expected = values[0, ::-1] * 0.5
    expected[1, 2:] = np.nan
    np.testing.assert_array_equal(reader.read(path, 0), expected)


def test_no_echo_at_all(tmp_path):
    values = np.array([[[-np.inf, 3], [np.inf, 4]]], np.float32)
    path = write_stack(tmp_path / "z.nc", values, units="dBZ")
    np.testing.assert_array_equal(open_file(path)[0].read(path, 0), [[np.inf, 4], [NO_ECHO_DBZ, 3]])


def test_one_field_of_several_is_chosen(tmp_path):
    path = write_stack(tmp_path / "stack.nc", stack())
    with netCDF4.Dataset(path, "a") as file:
        other = file.createVariable("precipitation_rate", "f4", ("time", "lat", "lon"))
        other.units = "mm/h"
        other[:] = 1
    with pytest.raises(
        ReadError, match=r"has several fields: rain \(mm h-1\), precipitation_rate \(mm/h\)\. Choose .* 'variable'"
    ):
        open_file(path)
    assert open_file(path, variable="precipitation_rate")[0].read(path, 0).max() == 1
    with pytest.raises(ReadError, match="has 1 frames but 7 times"):
        open_file(path, variable="height", units="mm/h")
    with pytest.raises(
        ReadError, match=r"has no frames 'snow'; it has height \(m\), rain \(mm h-1\), precipitation_rate"
    ):
        open_file(path, variable="snow")


def test_other_fields_are_raw(tmp_path):
    values = stack()
    for path, options in (
        (write_stack(tmp_path / "sea.nc", values, units="degC", name="sst"), {}),
        (write_stack(tmp_path / "rain.nc", values, units="mm"), {"units": "raw"}),
    ):
        reader, contents = open_file(path, **options)
        assert contents.grid.units == "raw"
        np.testing.assert_array_equal(reader.read(path, 2), values[2, ::-1])


def test_metadata_that_are_not_understood(tmp_path):
    path = write_stack(tmp_path / "stack.nc", stack(1), units="mm")
    with pytest.raises(ReadError, match=r"unknown period\. Give the minutes with the option 'step_minutes'"):
        open_file(path)
    with pytest.raises(ReadError, match=r"has the rain 'rain' in 'furlongs', which are no units of rain\. Name its"):
        open_file(path, units="furlongs")
    with pytest.raises(ValueError, match=r"\[netcdf\] 'step_minutes' must be a number of minutes above 0 but got 0"):
        make_reader("netcdf", step_minutes=0)
    with netCDF4.Dataset(path, "a") as file:
        file["time"].calendar = "martian"
    with pytest.raises(ReadError, match="of the calendar 'martian', which are not understood"):
        open_file(path, units="mm/h")
    with netCDF4.Dataset(path, "a") as file:
        file["time"].setncatts({"units": "months since 2000-01-01", "calendar": "standard"})
    with pytest.raises(ReadError, match="has times in 'months since 2000-01-01'"):
        open_file(path, units="mm/h")
    with netCDF4.Dataset(tmp_path / "empty.nc", "w") as file:
        file.createDimension("x", 3)
    with pytest.raises(ReadError, match=r"\[netcdf\] .*empty\.nc has no field of rows and columns; it has nothing"):
        open_file(tmp_path / "empty.nc")


@pytest.mark.parametrize("mode", ["NETCDF4", "NETCDF3_CLASSIC"])
def test_cut_off_files_are_refused(tmp_path, mode):
    path = write_rainfields(tmp_path / "66.nc", np.full((300, 300), 7, np.int16), mode=mode)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(ReadError, match=r"\[netcdf\] .*66\.nc"):
        make_reader("netcdf").read(path, make_reader("netcdf").contents(path).times.size - 1)


def test_threads_share_a_reader(tmp_path):
    values = stack(frames=40)
    path = write_stack(tmp_path / "stack.nc", values)
    reader, _ = open_file(path)
    wrong = []

    def work():
        for position in range(40):
            if not np.array_equal(reader.read(path, position), values[position, ::-1]):
                wrong.append(position)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
