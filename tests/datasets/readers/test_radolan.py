from convlstm.datasets.readers import ReadError, make_reader, recognise
from tests.support.radar_files import open_file
from tests.support.radolan_files import radolan_bytes, write_radolan

import numpy as np
import pytest

# 25 in the north-west, no data (2500 with its flag) and clutter beside it; 4 in the south-west.
NUMBERS = np.array([[25, 0x29C4, 0x8000 + 2490], [4, 0x1000 + 7, 0x4000 + 3]])


def test_rain_of_an_hour(tmp_path):
    path = write_radolan(tmp_path / "raa01-rw", NUMBERS)
    reader, contents = open_file(path)
    assert reader.format == "radolan"
    assert contents.times.astype(str).tolist() == ["2019-07-31T13:50:00"]
    assert str(contents.fields[0]) == "rain_rate: mm/h from mm in 60 min"
    np.testing.assert_allclose(reader.read(path, 0), [[2.5, np.nan, np.nan], [0.4, 0.7, -0.3]], rtol=1e-6)


@pytest.mark.parametrize(
    ("product", "about", "factor", "units"),
    [
        ("RY", {"precision": -2, "interval": "   5"}, 0.01 * 12, "mm/h"),
        ("SF", {"interval": "1440"}, 0.1 / 24, "mm/h"),
        ("W1", {"interval": "   7U1"}, 0.1 / 24 / 7, "mm/h"),
        ("RE", {"precision": -3, "interval": "  60"}, 0.001, "1"),
    ],
)
def test_units_of_products(tmp_path, product, about, factor, units):
    data = radolan_bytes(NUMBERS, product, precision=about.get("precision", -1))
    (tmp_path / "a").write_bytes(data.replace(b"INT  60", b"INT" + about["interval"].encode()))
    reader, contents = open_file(tmp_path / "a")
    assert contents.fields[0].units == units
    np.testing.assert_allclose(reader.read(tmp_path / "a", 0)[0, 0], 25 * factor, rtol=1e-6)


def test_reflectivity_in_one_and_two_bytes(tmp_path):
    path = write_radolan(tmp_path / "rx", np.array([[65, 249], [250, 255]]), "RX")
    reader, contents = open_file(path)
    assert contents.grid.units == "dBZ"
    np.testing.assert_array_equal(reader.read(path, 0), [[0, np.nan], [np.nan, np.nan]])
    path = write_radolan(tmp_path / "wn", np.array([[650, 0x2000 + 2500]]), "WN")
    np.testing.assert_allclose(open_file(path)[0].read(path, 0), [[0, np.nan]], atol=1e-5)


def test_a_forecast_has_its_valid_time(tmp_path):
    path = write_radolan(tmp_path / "rv", NUMBERS, "RV", "312355", "1219", version=5, extra="VV 010")
    assert open_file(path)[1].times.astype(str).tolist() == ["2020-01-01T00:05:00"]


@pytest.mark.parametrize(
    ("shape", "version", "corner", "datum"),
    [
        # The corners in km are those of the DWD's table of grids, and of wradlib for the ellipsoid.
        ((900, 900), 3, (-523.4622, -4658.645), "+R=6370040"),
        ((1100, 900), 3, (-443.4622, -4758.645), "+R=6370040"),
        ((1500, 1400), 3, (-673.4622, -5008.645), "+R=6370040"),
        ((900, 900), 5, (-523.6968, -4672.0889), "WGS84"),
        ((1200, 1100), 5, (-543.6968, -4822.0889), "WGS84"),
    ],
)
def test_grids(tmp_path, shape, version, corner, datum):
    grid = open_file(write_radolan(tmp_path / "a", np.zeros(shape), version=version))[1].grid
    left, bottom, right, top = grid.extent
    assert (left / 1000, bottom / 1000) == pytest.approx(corner, abs=6e-4)
    assert (right - left, top - bottom) == (shape[1] * 1000, shape[0] * 1000)
    assert datum in grid.projection


def test_the_corners_of_the_sphere(tmp_path):
    pyproj = pytest.importorskip("pyproj")
    grid = open_file(write_radolan(tmp_path / "a", np.zeros((900, 900))))[1].grid
    longitude, latitude = pyproj.Proj(grid.projection)(*grid.extent[:2], inverse=True)
    assert (longitude, latitude) == pytest.approx((3.5889, 46.9526), abs=1e-4)


def test_radolan_refuses(tmp_path):
    path = write_radolan(tmp_path / "a", NUMBERS)
    data = path.read_bytes()
    for spoiled, message in (
        (data[:-2], r"is cut off: 10 of 12 bytes are there"),
        (data.replace(b"10000", b"10132"), r"is of the single radar 10132\. Only composites"),
        (data.replace(b"GP   2x   3", b"BG460460   "), r"is the RADOLAN product RW, which has no grid in its header"),
        (data.replace(b"INT  60", b"       "), r"is the RADOLAN product RW, whose period is not in its header"),
        (data.replace(b"GP   2x   3", b"GP99999x99999"), r"frames of 99999 x 99999, which needs"),
    ):
        path.write_bytes(spoiled)
        assert recognise(path).format == "radolan"
        with pytest.raises(ReadError, match=rf"\[radolan\] .*a {message}|\[radolan\] .*{message}"):
            make_reader("radolan").read(path, 0)
    unknown = write_radolan(tmp_path / "b", np.zeros((4, 5)))
    grid = open_file(unknown)[1].grid
    assert (grid.extent, grid.unplaced) == (None, "no composite of (4, 5) pixels is known")
