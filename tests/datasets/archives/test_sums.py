"""Sums since the start of a forecast in files of their own are refused, in archives and in forecasts."""

from convlstm.datasets.archives.archive import Archive
from convlstm.datasets.archives.forecast_input import ForecastInput
from tests.support.cf_files import HOURS, frames, write_cf

import numpy as np
import pytest

pytest.importorskip("netCDF4")

RAIN = {"units": "kg m-2", "standard_name": "precipitation_amount"}


def write(folder, periods, fields=("tp",)):
    """Writes a file with the sums of each period in hours."""
    folder.mkdir()
    for n, (begin, end) in enumerate(periods):
        variables = {name: (("time", "lat", "lon"), 1 + frames(1, 3, 4), RAIN) for name in fields}
        bounds = {"time_bnds": (("time", "two"), np.array([[begin, end]]), {})}
        write_cf(folder / f"f{n:02}.nc", variables | bounds, time=(("time",), [end], HOURS | {"bounds": "time_bnds"}))
    return folder


@pytest.mark.parametrize("fields", [("tp",), ("tp", "cp")])
def test_sums_since_one_start_are_refused(tmp_path, fields):
    folder = write(tmp_path / "a", [(0, 1), (0, 2), (0, 3)], fields)
    options = {"variable": list(fields)}
    message = r"f00.nc and f01.nc hold sums of 'tp' of different length that begin at 2020-01-01T00:00:00.*since_start"
    with pytest.raises(ValueError, match=message):
        Archive(folder, options=options, cache=tmp_path / "index", progress=False)
    with pytest.raises(ValueError, match=message):
        ForecastInput(folder, options=options).look()


@pytest.mark.parametrize("periods", [[(0, 1), (1, 2), (2, 3)], [(0, 744), (744, 1440), (1440, 2184)], [(0, 2), (1, 3)]])
def test_periods_of_their_own_and_sliding_ones_are_read(tmp_path, periods):
    folder = write(tmp_path / "a", periods)
    archive = Archive(folder, cache=tmp_path / "index", progress=False)
    assert len(archive) == len(periods)
    for n, (begin, end) in enumerate(periods):
        np.testing.assert_allclose(archive.frame(n), (1 + frames(3, 4)) / (end - begin), rtol=1e-6)
