import sys

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
    assert str(contents.fields[0]) == "rain_rate: mm/h from mm in 15 min"
    assert open_file(path, variable="DBZH")[1].grid.units == "dBZ"
    assert str(open_file(path, variable="QIND")[1].fields[0]) == "QIND: raw"
    rate = write_odim(tmp_path / "rate.h5", {"RATE": ECHO}, what=scale)
    np.testing.assert_allclose(open_file(rate)[0].read(rate, 0), [[0, 6.4, np.nan], [8.4, 0.1, 20]], rtol=1e-6)


def test_odim_refuses(tmp_path):
    volume = write_odim(tmp_path / "pvol.h5", {"DBZH": ECHO}, kind="PVOL")
    with pytest.raises(ReadError, match=r"\[odim\] .*pvol\.h5 holds an object 'PVOL', not a composite\. Put .*xradar"):
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


# Belgium's composite, as its service describes it.
LAMBERT = "+proj=lcc +lat_1=49.83333333333334 +lat_2=51.16666666666666 +lat_0=50.797815 +lon_0=4.359215833333333 "
LAMBERT += "+x_0=649328 +y_0=665262 +ellps=GRS80 +towgs84=0,0,0,0,0,0,0 +units=m +no_defs "
BELGIUM = {
    "projdef": np.bytes_(LAMBERT),
    "LL_lon": -0.2666973996088157,
    "LL_lat": 47.41679117656605,
    "UR_lon": 9.664159875778674,
    "UR_lat": 53.69199685747096,
    "xscale": 100_000.0,
    "yscale": 100_000.0,
}
SEVEN = np.full((7, 7), 100, np.uint8)


def test_corners_in_any_projection(tmp_path):
    pytest.importorskip("pyproj")
    grid = open_file(write_odim(tmp_path / "rmi.h5", {"DBZH": SEVEN}, where=BELGIUM))[1].grid
    assert grid.extent == (300_000, 300_000, 1_000_000, 1_000_000)
    assert (grid.projection, grid.unplaced) == (LAMBERT.strip(), "")
    degrees = {"projdef": np.bytes_("+proj=longlat +datum=WGS84"), "LL_lon": 5.0, "LL_lat": 50.0}
    path = write_odim(tmp_path / "deg.h5", {"DBZH": SEVEN}, where=degrees | {"xscale": 0.5, "yscale": 0.25})
    grid = open_file(path)[1].grid
    assert (grid.extent, grid.pixel_units) == ((5, 50, 8.5, 51.75), "deg")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"projdef": np.bytes_("+proj=martian +lon_0=4")}, "'+proj=martian +lon_0=4' is not known to PROJ"),
        (
            {"xscale": 90_000.0},
            "its corners are 700000 and 700000 apart in its projection, but its pixels cover 630000",
        ),
        ({"LL_lat": 480.0}, "has no point at -0.266697"),
    ],
)
def test_a_place_that_is_not_known_has_no_coordinates(tmp_path, changes, reason):
    pytest.importorskip("pyproj")
    grid = open_file(write_odim(tmp_path / "rmi.h5", {"DBZH": SEVEN}, where=BELGIUM | changes))[1].grid
    assert (grid.extent, grid.projection) == (None, None)
    assert reason in grid.unplaced


def test_without_pyproj_there_is_no_place(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyproj", None)
    other = {"projdef": np.bytes_(LAMBERT.replace("649328", "649329"))}  # which no other test has
    grid = open_file(write_odim(tmp_path / "rmi.h5", {"DBZH": SEVEN}, where=BELGIUM | other))[1].grid
    assert (grid.extent, grid.projection) == (None, None)
    assert "needs the library pyproj" in grid.unplaced
