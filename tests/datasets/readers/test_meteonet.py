import pickle

from convlstm.datasets.readers import ReadError, make_reader, recognise
from tests.support.meteonet_files import START, write_meteonet
from tests.support.radar_files import open_file

import numpy as np
import pytest

NUMBERS = np.array([[[0, 100, -1], [25, 1, 2]], [[1, 2, 3], [4, 5, 6]], [[0, 0, 0], [0, 0, 255]]], np.int16)


def test_rain(tmp_path):
    path = write_meteonet(tmp_path / "rainfall_NW_2016_08.3.npz", NUMBERS)
    reader, contents = open_file(path)
    assert reader.format == "meteonet"
    assert contents.times.astype(str).tolist() == [
        "2016-08-21T23:50:00", "2016-08-21T23:55:00", "2016-08-22T00:00:00",
    ]  # fmt: skip
    assert contents.grid.units == "mm/h"
    # 100 are 1 mm in 5 minutes.
    np.testing.assert_allclose(reader.read(path, 0), [[0, 12, np.nan], [3, 0.12, 0.24]], rtol=1e-6)
    assert contents.grid.unplaced == "radar_coords_NW.npz lies neither beside the file nor above it"


def test_reflectivity(tmp_path):
    path = write_meteonet(tmp_path / "reflectivity_old_product_SE_2016_08.1.npz", NUMBERS)
    reader, contents = open_file(path)
    assert contents.grid.units == "dBZ"
    np.testing.assert_array_equal(reader.read(path, 2), [[0, 0, 0], [0, 0, np.nan]])


@pytest.mark.parametrize("folder", ["", "2016"])
def test_places_are_in_the_file_of_coordinates(tmp_path, folder):
    (tmp_path / folder).mkdir(exist_ok=True)
    path = write_meteonet(tmp_path / folder / "rainfall_NW_2016_08.3.npz", NUMBERS)
    latitudes, longitudes = np.meshgrid([51.89, 51.88], [-5.84, -5.83, -5.82], indexing="ij")
    np.savez(tmp_path / "radar_coords_NW.npz", lats=latitudes, lons=longitudes)
    grid = open_file(path)[1].grid
    assert grid.extent == pytest.approx((-5.845, 51.875, -5.815, 51.895))
    assert [coordinate.name for coordinate in grid.coordinates] == ["latitude", "longitude"]
    np.savez(tmp_path / "radar_coords_NW.npz", lats=latitudes, lons=longitudes[:1])
    grid = make_reader("meteonet").contents(path).grid
    assert (grid.extent, grid.unplaced) == (None, "radar_coords_NW.npz has no 'lats' and 'lons' of (2, 3)")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_dates_of_all_pickles(tmp_path, monkeypatch, protocol):
    real = pickle.dump
    monkeypatch.setattr(pickle, "dump", lambda data, file, **more: real(data, file, **more | {"protocol": protocol}))
    path = write_meteonet(tmp_path / "rainfall_NW_2016_08.3.npz", NUMBERS)
    assert make_reader("meteonet").contents(path).times[0] == np.datetime64(START)


class Evil:
    """An object that would run a command if it was loaded."""

    def __reduce__(self):
        import os

        return os.system, ("touch /tmp/convlstm_was_here",)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_no_pickle_is_run(tmp_path, monkeypatch, protocol):
    real = pickle.dump
    monkeypatch.setattr(pickle, "dump", lambda data, file, **more: real(data, file, **more | {"protocol": protocol}))
    path = write_meteonet(tmp_path / "rainfall_NW_2016_08.3.npz", NUMBERS, [Evil()] * 3)
    monkeypatch.setattr("os.system", lambda _: pytest.fail("a pickle has been run"))
    assert recognise(path).format == "meteonet"
    with pytest.raises(ReadError, match=r"has objects '.*system' among its dates|has 3 frames but 0 dates"):
        make_reader("meteonet").contents(path)


def test_meteonet_refuses(tmp_path):
    path = write_meteonet(tmp_path / "rainfall_NW_2016_08.3.npz", NUMBERS, [START])
    with pytest.raises(ReadError, match=r"\[meteonet\] .*has 3 frames but 1 dates"):
        make_reader("meteonet").contents(path)
    path = write_meteonet(tmp_path / "rainfall_NW_2016_08.3.npz", NUMBERS[0])
    with pytest.raises(ReadError, match=r"must have whole numbers \(T, H, W\) in 'data' but has int16 of \(2, 3\)"):
        make_reader("meteonet").contents(path)
    other = write_meteonet(tmp_path / "other.npz", NUMBERS)
    assert recognise(other).format == "numpy"
    with pytest.raises(ReadError, match=r"is not called rainfall_ZONE_"):
        make_reader("meteonet").contents(other)
