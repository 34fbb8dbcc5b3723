"""Sums since the start of a forecast, or since midnight, whose differences are read."""

from convlstm.datasets.readers import ReadError, make_reader
from tests.support.cf_files import HOURS, LAT, LON, frames, write_cf
from tests.support.grib_files import grib_message
from tests.support.radar_files import open_file

import numpy as np
import pytest

pytest.importorskip("netCDF4")

GRID = ("time", "lat", "lon")
RAIN = {"units": "m", "long_name": "Total precipitation"}


def amounts(count=6):
    """Returns amounts of rain in m of each step, (count, 3, 4)."""
    return np.random.default_rng(1).gamma(0.5, 0.002, (count, 3, 4))


def read_all(path, **options):
    reader, contents = open_file(path, **options)
    return np.stack([reader.read(path, n) for n in range(len(contents.times))]), contents


def hours(contents):
    return ((contents.times - np.datetime64("2020-01-01")) / np.timedelta64(1, "h")).tolist()


def test_the_first_sum_without_a_start_is_only_a_base(tmp_path):
    each, ends = amounts(), np.array([1, 2, 3, 5, 6, 9])
    path = write_cf(
        tmp_path / "a.nc", {"tp": (GRID, each.cumsum(0).astype(np.float32), RAIN)}, time=(("time",), ends, HOURS)
    )
    values, contents = read_all(path, accumulated="since_start")
    assert hours(contents) == [2, 3, 5, 6, 9]
    lengths = np.diff(ends)[:, None, None]
    np.testing.assert_allclose(values, 1000 * each[1:] / lengths, rtol=1e-4, atol=1e-4)
    field = contents.fields[0]
    assert (field.units, field.is_rain, field.minutes) == ("mm/h", True, 60)
    assert str(field) == "tp: rain rate, mm/h from the differences of m in 60 min"


@pytest.mark.parametrize("told_by", ["bounds", "reference"])
def test_the_start_is_that_of_the_bounds_or_of_the_forecast(tmp_path, told_by):
    """Then the first sum is a frame, and one at the start itself is none."""
    each = amounts()
    sums = np.concatenate([np.zeros((1, 3, 4)), each]).cumsum(0).astype(np.float32)
    about = HOURS | ({"bounds": "time_bnds"} if told_by == "bounds" else {})
    changes = {"time": (("time",), np.arange(7) + 3, about)}
    more = {
        "bounds": {"time_bnds": (("time", "two"), np.stack([np.full(7, 3), np.arange(7) + 3], axis=1), {})},
        "reference": {"start": ((), np.int32(3), HOURS | {"standard_name": "forecast_reference_time"})},
    }[told_by]
    path = write_cf(tmp_path / "a.nc", {"tp": (GRID, sums, RAIN), **more}, **changes)
    values, contents = read_all(path, accumulated="since_start")
    assert hours(contents) == [4, 5, 6, 7, 8, 9]
    np.testing.assert_allclose(values, 1000 * each, rtol=1e-4, atol=1e-4)


def test_sums_since_midnight_begin_anew_each_day(tmp_path):
    """As in ERA5-Land: the sum of 0 UTC is that of the whole day before."""
    each = amounts(24)
    sums = each.reshape(2, 12, 3, 4).cumsum(1).reshape(24, 3, 4).astype(np.float32)
    time = (("time",), 2 * np.arange(1, 25), HOURS)  # every two hours, to 0 UTC of the third day
    path = write_cf(tmp_path / "a.nc", {"tp": (GRID, sums, RAIN)}, time=time)
    values, contents = read_all(path, accumulated="since_midnight")
    assert hours(contents) == (2 * np.arange(1, 25)).tolist()
    np.testing.assert_allclose(values, 1000 * each / 2, rtol=1e-3, atol=1e-4)


def test_rounding_is_no_rain_and_larger_falls_stay(tmp_path):
    sums = np.full((4, 3, 4), 10, np.float32)
    sums[2], sums[3] = 9.95, 5.0  # mm: a fall of the packing, and one of another start
    path = write_cf(
        tmp_path / "a.nc", {"tp": (GRID, sums, RAIN | {"units": "mm"})}, time=(("time",), np.arange(4), HOURS)
    )
    values, _ = read_all(path, accumulated="since_start")
    np.testing.assert_allclose(values[:, 0, 0], [0, 0, -4.95], atol=1e-5)  # which is missing, with a warning


def test_other_sums_keep_their_units_and_fields_beside_them_their_times(tmp_path):
    radiation, wind = frames(6, 3, 4).cumsum(0), frames(6, 3, 4, first=-30)
    fields = {
        "ssrd": (GRID, radiation, {"units": "J m-2", "cell_methods": "time: sum"}),
        "u10": (GRID, wind, {"units": "m s-1"}),
    }
    path = write_cf(tmp_path / "a.nc", fields)
    values, contents = read_all(path, accumulated="since_start", variable=["ssrd", "u10"])
    assert hours(contents) == [1, 2, 3, 4, 5]
    np.testing.assert_allclose(values[..., 0], np.diff(radiation, axis=0))
    np.testing.assert_array_equal(values[..., 1], wind[1:])
    assert [field.units for field in contents.fields] == ["J m-2", "m s-1"]
    assert "from the differences of J m-2 in 60 min" in str(contents.fields[0])
    with pytest.raises(
        ReadError, match=r"has no sums among u10, by their units and cell_methods, for the option 'accu"
    ):
        open_file(path, accumulated="since_start", variable="u10")


def rain(begin, end, amount, name="tp"):
    return grib_message(
        np.full((2, 3), amount),
        productDefinitionTemplateNumber=8,
        shortName=name,
        dataTime=0,
        stepUnits="h",
        stepRange=f"{begin}-{end}",
    )


def test_sums_of_grib(tmp_path):
    path = tmp_path / "tp.grib"
    sums = {0: 0.0, 1: 0.002, 3: 0.006, 6: 0.0105}  # m
    buckets = [rain(0, 1, 9.0), rain(3, 6, 0.0045)]  # of which the longer ones count
    path.write_bytes(b"".join([*(rain(0, end, amount) for end, amount in sums.items()), buckets[1]]))
    with pytest.raises(ReadError, match=r"has sums 'tp' whose periods overlap.* reader.accumulated=since_start"):
        make_reader("grib").contents(path)
    values, contents = read_all(path, accumulated="since_start")
    assert contents.times.astype(str).tolist() == [f"2024-02-29T0{n}:00:00" for n in (1, 3, 6)]
    np.testing.assert_allclose(values[:, 0, 0], [2.0, 2.0, 1.5], atol=1e-3)
    # Nothing is said of sums beside the field that is wanted.
    path.write_bytes(path.read_bytes() + grib_message(np.full((2, 3), 280.0)))
    assert make_reader("grib", variable="2t").contents(path).fields[0].units == "K"


def test_means_since_a_start_are_named(tmp_path):
    def mean(begin, end, value):
        keys = {"productDefinitionTemplateNumber": 8, "dataTime": 0, "stepUnits": "h", "typeOfStatisticalProcessing": 0}
        return grib_message(np.full((2, 3), value), shortName="2t", stepRange=f"{begin}-{end}", **keys)

    path = tmp_path / "mean.grib"
    path.write_bytes(mean(0, 1, 280.0) + mean(0, 2, 281.0))
    field = open_file(path)[1].fields[0]
    assert field.remark == "2 of the 2 frames are over periods that begin at 2024-02-29T00:00:00"
    path.write_bytes(mean(0, 1, 280.0) + mean(1, 2, 281.0))
    assert open_file(path)[1].fields[0].remark == ""


def test_a_period_of_its_own_and_single_sums_are_refused(tmp_path):
    time = (("time",), np.arange(1, 7), HOURS | {"bounds": "time_bnds"})
    bounds = {"time_bnds": (("time", "two"), np.stack([np.arange(6), np.arange(1, 7)], axis=1), {})}
    path = write_cf(tmp_path / "a.nc", {"tp": (GRID, frames(6, 3, 4), RAIN), **bounds}, time=time)
    with pytest.raises(ReadError, match="has sums with a period of their own by the bounds of their times"):
        open_file(path, accumulated="since_start")
    path = write_cf(tmp_path / "b.nc", {"tp": (GRID, frames(1, 3, 4), RAIN)}, time=(("time",), [3], HOURS))
    with pytest.raises(ReadError, match=r"has no two sums since the same start, .* must be in one, as 'cat"):
        open_file(path, accumulated="since_start")
    with pytest.raises(ValueError, match=r"'accumulated' must be since_start or since_midnight but got 'hourly'"):
        make_reader("netcdf", accumulated="hourly")


def test_further_numbers_that_mean_missing(tmp_path):
    values = frames(6, 3, 4)
    values[:, 0, 0], values[:, 1, 1] = -9999, -888
    path = write_cf(tmp_path / "a.nc", {"t": (GRID, values, {"units": "K", "missing_value": np.float32(-888)})})
    read, _ = read_all(path, missing=-9999)
    np.testing.assert_array_equal(np.isnan(read), (values < 0))
    read, _ = read_all(path, missing=[-9999, 5])
    assert np.isnan(read).sum() == 13
    with pytest.raises(ValueError, match=r"'missing' must be a number or a list of numbers but got 'low'"):
        make_reader("netcdf", missing="low")


@pytest.mark.parametrize(
    ("dtype", "code"), [("f4", 9.969209968386869e36), ("f8", 9.969209968386869e36), ("i2", -32767)]
)
def test_numbers_that_were_never_written_are_missing(tmp_path, dtype, code):
    """Their code is missing if no other one is named, as the library of NetCDF has it."""
    import netCDF4

    values = frames(6, 3, 4).astype(dtype)
    values[2, 1, 1] = code
    path = write_cf(tmp_path / "a.nc", {"t": (GRID, values, {"units": "K"})})
    read, _ = read_all(path)
    with netCDF4.Dataset(path) as file:
        np.testing.assert_array_equal(np.isnan(read), np.ma.getmaskarray(file["t"][:]))
    named = write_cf(tmp_path / "b.nc", {"t": (GRID, values, {"units": "K", "_FillValue": values[0, 0, 0]})})
    assert np.isnan(read_all(named)[0]).sum() == 1


def test_packed_numbers_without_a_missing_one_are_named(tmp_path):
    packing = {"units": "K", "scale_factor": 0.5, "add_offset": 100.0}
    values = frames(6, 3, 4).astype(np.int16)
    path = write_cf(tmp_path / "a.nc", {"t": (GRID, values, packing)})
    read, contents = read_all(path)
    assert str(contents.fields[0]) == "t: K (packed as int16 without a number for missing values)"
    np.testing.assert_array_equal(read, values * 0.5 + 100)
    named = write_cf(tmp_path / "b.nc", {"t": (GRID, values, packing | {"valid_min": np.int16(0)})})
    assert read_all(named)[1].fields[0].remark == ""


def test_longitudes_that_decrease_are_turned_with_their_values(tmp_path):
    values = frames(6, 3, 4)
    lon = (("lon",), LON[::-1].copy(), {"units": "degrees_east", "standard_name": "longitude"})
    path = write_cf(tmp_path / "a.nc", {"t": (GRID, values, {"units": "K"})}, lon=lon)
    read, contents = read_all(path)
    np.testing.assert_array_equal(read, values[:, :, ::-1])
    latitudes, longitudes = contents.grid.coordinates
    np.testing.assert_array_equal(longitudes.values, LON)
    np.testing.assert_array_equal(latitudes.values, LAT)
