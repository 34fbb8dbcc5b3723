import sys

from convlstm.datasets.readers import ReadError, make_reader
from tests.support.radar_files import FMI_HEADER, open_file, write_fmi

import numpy as np
import pytest


@pytest.mark.parametrize("name", ["201609281445.pgm", "201609281445.pgm.gz"])
def test_fmi(tmp_path, name):
    path = write_fmi(tmp_path / name, np.array([[0, 64, 255], [84, 1, 254]]))
    reader, contents = open_file(path)
    assert reader.format == "fmi_pgm"
    assert contents.times.tolist() == [np.datetime64("2016-09-28T14:45:00").item()]
    np.testing.assert_array_equal(reader.read(path, 0), [[-32, 0, np.nan], [10, -31.5, 95]])
    grid = contents.grid
    assert (grid.shape, grid.units, grid.pixel_size) == ((2, 3), "dBZ", (999.62859, 999.674053))
    # The composite is 760 x 1226 pixels, and pysteps has its south-western corner at (-380886.310, -3395677.920).
    left, bottom, right, top = grid.extent
    assert (left, bottom) == pytest.approx((-380886.310, -3395677.920), abs=0.02)
    assert (right - left, top - bottom) == pytest.approx((760 * 999.674053, 1226 * 999.62859), abs=2)


def test_fmi_without_a_map(tmp_path):
    lines = [line for line in FMI_HEADER.splitlines(keepends=True) if "central" not in line and "meters" not in line]
    grid = open_file(write_fmi(tmp_path / "a.pgm", np.zeros((2, 2)), "".join(lines)))[1].grid
    assert (grid.pixel_size, grid.projection, grid.extent) == (None, None, None)


def test_without_pyproj_there_is_no_place(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyproj", None)
    header = FMI_HEADER.replace("centrallongitude 25", "centrallongitude 26")  # which no other test has
    grid = open_file(write_fmi(tmp_path / "a.pgm", np.zeros((2, 2)), header))[1].grid
    assert (grid.projection, grid.extent) == (None, None)
    assert "needs the library pyproj" in grid.unplaced


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (FMI_HEADER.replace("CorrectedReflectivity", "EchoTop"), "is of 'EchoTop'"),
        (FMI_HEADER.replace("obstime", "time"), "has no 'obstime' among its comments"),
        ("P5\n65535 2 ", "a maximum up to 255 but has"),
        ("P2\n", "is not a binary PGM file"),
        (FMI_HEADER + "# " * 10 + "\n1000 ", "is cut off|maximum"),
    ],
)
def test_fmi_refuses(tmp_path, header, message):
    path = write_fmi(tmp_path / "a.pgm", np.zeros((2, 2)), header)
    with pytest.raises(ReadError, match=rf"\[fmi_pgm\] .*a\.pgm .*({message})"):
        make_reader("fmi_pgm").read(path, make_reader("fmi_pgm").contents(path).times.size - 1)


@pytest.mark.parametrize(("name", "size"), [("a.pgm", 460), ("a.pgm.gz", 300), ("a.pgm", 50)])
def test_cut_off_fmi_is_refused(tmp_path, name, size):
    pixels = np.random.default_rng(0).integers(0, 255, (60, 60))
    path = write_fmi(tmp_path / name, pixels)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ReadError, match=r"\[fmi_pgm\] .*a\.pgm"):
        make_reader("fmi_pgm").read(path, 0)
