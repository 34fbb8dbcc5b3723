"""Monthly data are one notion of a step in training and in forecasts."""

from convlstm.datasets.archives.archive import Archive
from convlstm.datasets.archives.forecast_input import ForecastInput
from convlstm.datasets.windows import window_starts
from tests.support.cf_files import frames, write_cf

import numpy as np
import pytest

pytest.importorskip("netCDF4")

MONTHS = np.arange("2018-01", "2020-01", dtype="datetime64[M]")


def write_months(path, months=MONTHS):
    days = (months.astype("datetime64[D]") - np.datetime64("2000-01-01")).astype(int)
    time = (("time",), days, {"units": "days since 2000-01-01"})
    return write_cf(path, {"sst": (("time", "lat", "lon"), frames(len(months), 3, 4), {"units": "degC"})}, time=time)


def test_training_and_forecasts_use_the_same_months(tmp_path):
    path = write_months(tmp_path / "monthly.nc")
    archive = Archive(path, progress=False)
    assert len(window_starts(archive.times, archive.event, archive.step, 14)) == 11
    latest = ForecastInput(path, frames=14, trained={"frame_interval": archive.step})
    latest.look()
    window, problems = latest.window(latest.times[-1])
    assert (window.absent, problems) == ([], [])
    np.testing.assert_array_equal(window.times, MONTHS[-14:].astype("datetime64[s]"))
    np.testing.assert_array_equal(window.frames[0], frames(24, 3, 4)[10])
    coming = np.arange("2020-01", "2021-03", dtype="datetime64[M]")
    np.testing.assert_array_equal(latest.after(latest.times[-1], 14), coming.astype("datetime64[s]"))


def test_missing_months_do_not_shift_the_others(tmp_path):
    path = write_months(tmp_path / "monthly.nc", np.delete(MONTHS, [14, 15, 16, 20]))
    latest = ForecastInput(path, frames=12, trained={"frame_interval": 31 * 1440.0})
    latest.look()
    window, _ = latest.window(latest.times[-1])
    assert window.absent == [2, 3, 4, 8]
    np.testing.assert_array_equal(window.times, MONTHS[12:].astype("datetime64[s]"))


def test_a_season_of_monthly_data(tmp_path):
    path = write_months(tmp_path / "monthly.nc")
    latest = ForecastInput(path, frames=4, trained={"frame_interval": 92 * 1440.0})
    latest.look()
    window, _ = latest.window(latest.times[-1])
    np.testing.assert_array_equal(window.times, MONTHS[[14, 17, 20, 23]].astype("datetime64[s]"))
