"""GeoTIFF files: bands, names, places and times."""

from dataclasses import replace

from convlstm.writers import Forecast, Layer, Place, write
from convlstm.writers.forecast import Coordinate
from tests.support.forecasts import EXTENT, OPERA
from tests.support.radar_files import open_file

import numpy as np
import pytest

rasterio = pytest.importorskip("rasterio")
STAMPS = ["20240131T235500Z", "20240201T000000Z", "20240201T000500Z"]


@pytest.fixture
def ensemble(forecast, rng):
    """Returns a forecast with two members (2, 3, 8, 12) and a probability."""
    members = rng.gamma(0.5, 4, (2, *forecast.values.shape)).astype(np.float32)
    about = {"threshold": 2.0, "threshold_units": "mm h-1"}
    layers = {"probability_at_least_2_mmh": Layer((members >= 2).mean(0), "1", "probability of 2 mm/h or more", about)}
    return replace(forecast, members=members, layers=layers)


def test_a_file_has_a_band_for_each_field_member_and_lead_time(tmp_path, ensemble):
    path = write(tmp_path / "f.tif", replace(ensemble, attributes={"license": "CC-BY-4.0"}))
    with rasterio.open(path) as file:
        assert file.count == 3 + 3 + 2 * 3
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.tags()["license"] == "CC-BY-4.0"
        assert file.tags()["forecast_reference_time"] == "2024-01-31T23:50:00Z"
        assert file.bounds == pytest.approx(EXTENT)
        assert file.crs.to_dict()["proj"] == "laea"
        assert rasterio.crs.CRS.from_string(OPERA).to_dict().items() <= file.crs.to_dict().items() | {("units", "m")}
        assert np.isnan(file.nodata)
        np.testing.assert_array_equal(file.read([1, 2, 3]), ensemble.values)
        np.testing.assert_array_equal(file.read([4, 5, 6]), ensemble.layers["probability_at_least_2_mmh"].values)
        # Of each lead time, member by member.
        np.testing.assert_array_equal(file.read([7, 8]), ensemble.members[:, 0])
        assert file.descriptions[0] == "rain_rate 2024-01-31T23:55:00Z (+5 min)"
        assert file.descriptions[7] == "rain_rate_members 2 2024-01-31T23:55:00Z (+5 min)"
        assert (file.units[0], file.units[3]) == ("mm h-1", "1")
        assert file.tags(4)["threshold"] == "2.0"
        tags = file.tags(12)
        assert (tags["variable"], tags["realization"], tags["lead_time_minutes"]) == ("rain_rate_members", "2", "15")
        assert tags["valid_time"] == "2024-02-01T00:05:00Z"


def test_a_folder_has_a_file_for_each_field_and_lead_time(tmp_path, ensemble):
    folder = write(tmp_path / "maps", ensemble, "geotiff_frames")
    names = ["probability_at_least_2_mmh", "rain_rate", "rain_rate_members"]
    assert sorted(file.name for file in folder.iterdir()) == [f"{a}_{b}.tif" for a in names for b in STAMPS]
    with rasterio.open(folder / f"rain_rate_members_{STAMPS[1]}.tif") as file:
        assert file.tags()["TIFFTAG_DATETIME"] == "2024:02:01 00:00:00"
        np.testing.assert_array_equal(file.read(), ensemble.members[:, 1])
    write(folder, ensemble, "geotiff_frames")  # a forecast is replaced
    (folder / "mine.tif").write_text("mine")
    with pytest.raises(FileExistsError, match="is left alone"):
        write(folder, ensemble, "geotiff_frames")


def test_our_own_reader_takes_the_files(tmp_path, forecast):
    write(tmp_path / "f.tif", forecast)
    reader, contents = open_file(tmp_path / "f.tif", band="time")
    np.testing.assert_array_equal(contents.times, forecast.times)
    assert contents.grid.extent == pytest.approx(EXTENT)
    np.testing.assert_array_equal(reader.read(tmp_path / "f.tif", 2), forecast.values[2])
    folder = write(tmp_path / "maps", forecast, "geotiff_frames")
    reader, contents = open_file(folder / f"rain_rate_{STAMPS[0]}.tif")
    assert contents.times[0] == forecast.times[0]
    assert contents.grid.units == "mm/h"


def test_degrees_and_frames_without_times(tmp_path, forecast):
    place = Place.of((8, 12), (5.0, 50.0, 11.0, 54.0), units="deg")
    bare = replace(forecast, issued=None, step=None, place=place)
    folder = write(tmp_path / "maps", bare, "geotiff_frames")
    assert sorted(file.name for file in folder.iterdir()) == [f"rain_rate_00{n}.tif" for n in (1, 2, 3)]
    with rasterio.open(folder / "rain_rate_001.tif") as file:
        assert file.crs.to_epsg() == 4326
        assert file.bounds == pytest.approx((5, 50, 11, 54))


def test_what_a_geotiff_cannot_say_is_refused(tmp_path, forecast):
    path = tmp_path / "f.tif"
    with pytest.raises(ValueError, match="a GeoTIFF needs the place of the pixels, which the input does not give"):
        write(path, replace(forecast, place=None))
    uneven = Coordinate("y", ("y",), np.array([9, 8, 7, 6, 5, 4, 3, 0.0]), {"units": "m"})
    place = replace(forecast.place, coordinates=(uneven, forecast.place.coordinates[1]))
    with pytest.raises(ValueError, match="needs rows and columns at equal distances"):
        write(path, replace(forecast, place=place))
    colour = Forecast(np.zeros((2, 8, 12, 3), np.float32), "", place=forecast.place)
    with pytest.raises(ValueError, match="'field' has 3 channels without a name"):
        write(path, colour)
    with pytest.warns(UserWarning, match="map projection is not known"):
        write(path, replace(forecast, place=replace(forecast.place, projection=None)))
    assert [file.name for file in tmp_path.iterdir()] == ["f.tif"]
