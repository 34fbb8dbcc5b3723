from convlstm.datasets.readers import NO_ECHO_DBZ, ReadError
from tests.support.radar_files import open_file, write_odim

import numpy as np
import pytest

h5py = pytest.importorskip("h5py")


ECHO = np.array([[0, 64, 255], [84, 1, 200]], np.uint8)


def test_odim_reflectivity_and_its_grid(tmp_path):
    path = write_odim(tmp_path / "comp.h5", {"DBZH": ECHO})
    reader, contents = open_file(path)
    assert reader.format == "odim"
    assert contents.times.tolist() == [np.datetime64("2024-01-31T23:55:00").item()]
    np.testing.assert_array_equal(reader.read(path, 0), [[NO_ECHO_DBZ, 0, np.nan], [10, -31.5, 68]])
    grid = contents.grid
    assert (grid.shape, grid.units, grid.pixel_size) == ((2, 3), "dBZ", (1000, 2000))
    # The corner of OPERA's composite, from which x_0 and y_0 are chosen: (0, -4400000).
    assert grid.extent == pytest.approx((0, -4400000, 6000, -4398000), abs=1)


def test_odim_prefers_rain_and_takes_the_chosen_variable(tmp_path):
    scale = {"gain": 0.1, "offset": 0.0}
    path = write_odim(tmp_path / "both.h5", {"DBZH": ECHO, "ACRR": ECHO, "QIND": ECHO}, what=scale)
    reader, contents = open_file(path)
    assert contents.grid.units == "mm/h"
    assert contents.times.tolist() == [np.datetime64("2024-02-01T00:00:00").item()]
    # A quarter of an hour.
    np.testing.assert_allclose(reader.read(path, 0), [[0, 25.6, np.nan], [33.6, 0.4, 80]], rtol=1e-6)
    assert open_file(path, variable="DBZH")[1].grid.units == "dBZ"
    assert open_file(path, variable="QIND")[1].grid.units == "raw"
    rate = write_odim(tmp_path / "rate.h5", {"RATE": ECHO}, what=scale)
    np.testing.assert_allclose(open_file(rate)[0].read(rate, 0), [[0, 6.4, np.nan], [8.4, 0.1, 20]], rtol=1e-6)


def test_odim_refuses(tmp_path):
    volume = write_odim(tmp_path / "pvol.h5", {"DBZH": ECHO}, kind="PVOL")
    with pytest.raises(ReadError, match=r"\[odim\] .*pvol\.h5 holds an object 'PVOL', not a composite"):
        open_file(volume)
    wind = write_odim(tmp_path / "wind.h5", {"VRAD": ECHO})
    with pytest.raises(ReadError, match="has the quantities VRAD but none of RATE, ACRR"):
        open_file(wind)
    never = write_odim(
        tmp_path / "never.h5", {"ACRR": ECHO}, what={"endtime": np.bytes_("000000"), "enddate": "20240131"}
    )
    with pytest.raises(ReadError, match="start before its end"):
        open_file(never)
    with h5py.File(never, "a") as file:
        del file["dataset1/what"].attrs["endtime"]
    with pytest.raises(ReadError, match="has no 'enddate' or no 'endtime'"):
        open_file(never)
