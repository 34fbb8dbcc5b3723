"""Times in CF files."""

from convlstm.datasets.readers import ReadError
from tests.support.cf_files import frames, write_cf
from tests.support.radar_files import open_file

import numpy as np
import pytest

cftime = pytest.importorskip("cftime")
pytest.importorskip("netCDF4")

KELVIN = {"units": "K", "cell_methods": "time: mean"}


def times_of(path, numbers, units, calendar=None, **variables):
    """Returns the times of a file with these."""
    about = {"units": units} | ({} if calendar is None else {"calendar": calendar})
    if variables:
        about["bounds"] = "time_bnds"
    numbers = np.asarray(numbers)
    t = (("time", "lat", "lon"), frames(len(numbers), 3, 4), KELVIN)
    write_cf(path / "t.nc", {"t": t, **variables}, time=(("time",), numbers, about))
    return open_file(path / "t.nc")[1].times


@pytest.mark.parametrize(
    ("units", "calendar"),
    [
        ("days since 1950-01-01", "standard"),
        ("hours since 1900-01-01 00:00:0.0", "gregorian"),
        ("minutes since 1970-01-01T00:00:00Z", "proleptic_gregorian"),
        ("hours since 1-1-1 00:00:00", "standard"),  # of the Julian calendar, as reanalyses had it
        ("days since 0001-01-01", "proleptic_gregorian"),
        ("days since 2015-01-01", "noleap"),
        ("days since 2015-01-01", "365_day"),
    ],
)
def test_as_cftime_has_them(tmp_path, units, calendar):
    dates = [cftime.datetime(2020, 2, day, 6, calendar=calendar) for day in (26, 27, 28)]
    numbers = cftime.date2num(dates, units, calendar)
    expected = [np.datetime64(f"2020-02-{day}T06:00:00") for day in (26, 27, 28)]
    np.testing.assert_array_equal(times_of(tmp_path, np.asarray(numbers, np.float64), units, calendar), expected)


def test_a_year_without_leap_day_has_its_own_first_of_march(tmp_path):
    times = times_of(tmp_path, [58, 59], "days since 2020-01-01", "noleap")
    assert times.tolist() == np.array(["2020-02-28", "2020-03-01"], "datetime64[s]").tolist()


def test_months_of_thirty_days(tmp_path):
    middle = 30 * np.arange(4) + 15
    times = times_of(tmp_path, middle, "days since 2020-01-01", "360_day")
    np.testing.assert_array_equal(times, [np.datetime64(f"2020-{month:02d}-16", "s") for month in range(1, 5)])
    message = "has a frame of 2020-02-30T00:00:00 in the calendar '360_day', a date that does not exist"
    with pytest.raises(ReadError, match=message):
        times_of(tmp_path, [58, 59], "days since 2020-01-01", "360_day")


def test_days_as_float32_and_nanoseconds(tmp_path):
    days = np.array([24000.25, 24000.5], np.float32)
    times = times_of(tmp_path, days, "days since 1950-01-01")
    assert times[1] - times[0] == np.timedelta64(6 * 3600, "s")
    nano = np.array([0, 90]) * 10**9
    assert times_of(tmp_path, nano, "nanoseconds since 2020-01-01")[1] == np.datetime64("2020-01-01T00:01:30")


def test_missing_and_impossible_times(tmp_path):
    with pytest.raises(ReadError, match="has frames without a time"):
        times_of(tmp_path, [0.0, np.nan], "days since 2020-01-01")
    with pytest.raises(ReadError, match=r"times in 'months since 2000-01-01' .* which are not understood"):
        times_of(tmp_path, [0, 1], "months since 2000-01-01")
    with pytest.raises(ReadError, match=r"times in 'days since the flood' of the calendar 'standard', which are not"):
        times_of(tmp_path, [0, 1], "days since the flood")
    with pytest.raises(ReadError, match=r"frames from .* which no radar has seen|frames without a time|not understood"):
        times_of(tmp_path, [0, 1e300], "days since 2000-01-01")


def test_a_mean_has_the_time_of_the_file(tmp_path):
    """Bounds are those of a mean, whose time is its middle in the file and in forecasts."""
    bounds = (("time", "two"), np.array([[0, 24], [24, 48]]), {})
    times = times_of(tmp_path, [12, 36], "hours since 2020-01-01", time_bnds=bounds)
    assert times.tolist() == np.array(["2020-01-01T12", "2020-01-02T12"], "datetime64[s]").tolist()
