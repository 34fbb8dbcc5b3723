import sys

from convlstm.datasets.readers import MissingLibraryError, ReadError, limits, make_reader, recognise
from tests.support.geotiff_files import write_geotiff
from tests.support.radar_files import open_file

import numpy as np
import pytest

PIXELS = np.array([[0, 1, 255], [100, 200, 64]], np.uint8)
# As in the composites of the Finnish Meteorological Institute.
FMI = """<GDALMetadata>
<Item name="Observation time" format="YYYYMMDDhhmm">201609281445</Item>
<Item name="Quantity" unit="dBZ">Corrected reflectivity</Item>
<Item name="Gain">0.500000</Item>
<Item name="Offset">-32.000000</Item>
<Item name="Nodata">255</Item>
<Item name="Undetect">0</Item>
</GDALMetadata>
"""


def test_tags_say_time_units_and_scale(tmp_path):
    path = write_geotiff(tmp_path / "a.tif", PIXELS, tags={"GDAL_METADATA": FMI})
    reader, contents = open_file(path)
    assert reader.format == "geotiff"
    assert contents.times.astype(str).tolist() == ["2016-09-28T14:45:00"]
    assert str(contents.fields[0]) == "corrected_reflectivity: dBZ"
    np.testing.assert_array_equal(reader.read(path, 0), [[-32, -31.5, np.nan], [18, 68, 0]])
    grid = contents.grid
    assert (grid.pixel_size, grid.extent) == ((500, 250), (100_000, 6_999_000, 100_750, 7_000_000))
    assert "3067" in grid.projection


def test_scale_offset_nodata_and_units_of_the_format(tmp_path):
    path = write_geotiff(
        tmp_path / "sst_20240601T1200.tif", PIXELS.astype(np.int16), nodata=255, units="degC", turned=True,
        crs="EPSG:4326",
    )  # fmt: skip
    import rasterio

    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (0.1,), (5.0,)
    reader, contents = open_file(path)
    assert (contents.fields[0].units, contents.grid.pixel_units) == ("degC", "deg")
    assert contents.times.astype(str).tolist() == ["2024-06-01T12:00:00"]
    # The first row of the file is the southern one.
    np.testing.assert_allclose(reader.read(path, 0), [[15, 25, 11.4], [5, 5.1, np.nan]], rtol=1e-6)


def test_options(tmp_path):
    path = write_geotiff(tmp_path / "d01-27.03.tif", np.array([[-9999, -9998, 10.5], [3, 4, 5]], np.float32))
    reader = make_reader("geotiff", pattern="%d.%m", units="dBZ", name="VMI")
    with pytest.raises(ReadError, match=r"has pixels of -9999, but does not say that they are missing\. Set"):
        reader.read(path, 0)
    options = {"pattern": "%d.%m", "units": "dBZ", "name": "VMI", "missing": [-9999], "undetect": -9998}
    reader = make_reader("geotiff", **options)
    assert (reader.contents(path).fields[0].name, reader.contents(path).grid.units) == ("VMI", "dBZ")
    np.testing.assert_array_equal(reader.read(path, 0), [[np.nan, -32, 10.5], [3, 4, 5]])
    rain = make_reader("geotiff", **options | {"units": "mm", "step_minutes": 10, "scale": 2, "offset": 1})
    np.testing.assert_allclose(rain.read(path, 0), [[np.nan, 0, 22 * 6], [42, 54, 66]])
    with pytest.raises(ReadError, match=r"accumulations of an unknown period\. Give the minutes by 'step_minutes'"):
        make_reader("geotiff", **options | {"units": "mm"}).contents(path)


def test_several_bands(tmp_path):
    bands = np.stack([PIXELS, PIXELS // 2])
    stamps = [{"time": "2024-06-01T12:00:00"}, {"time": "2024-06-01 12:05:30"}]
    path = write_geotiff(tmp_path / "202406010000.tif", bands, band_tags=stamps)
    with pytest.raises(ReadError, match=r"has 2 bands\. Choose one by the option 'band' \(reader\.band=1\), several"):
        make_reader("geotiff").contents(path)
    np.testing.assert_array_equal(make_reader("geotiff", band=2).read(path, 0), PIXELS // 2)
    both = make_reader("geotiff", band=[1, 2])
    assert len(both.contents(path).fields) == 2
    np.testing.assert_array_equal(both.read(path, 0), np.moveaxis(bands, 0, -1))
    series = make_reader("geotiff", band="time")
    assert series.contents(path).times.astype(str).tolist() == ["2024-06-01T12:00:00", "2024-06-01T12:05:30"]
    np.testing.assert_array_equal(series.read(path, 1), PIXELS // 2)
    with pytest.raises(ReadError, match="has no frame 2"):
        series.read(path, 2)
    with pytest.raises(ReadError, match=r"has the bands 1 to 2, but 'band' is 3"):
        make_reader("geotiff", band=3).contents(path)
    untimed = write_geotiff(tmp_path / "b.tif", bands)
    with pytest.raises(ReadError, match=r"has 2 bands, but not a time in the tags of each"):
        series.contents(untimed)


def test_no_other_file_is_read(tmp_path):
    """Neither sidecar files nor other drivers: what a file beside it says does not count."""
    path = write_geotiff(tmp_path / "202406010000.tif", PIXELS)
    expected = make_reader("geotiff").contents(path).grid
    (tmp_path / "202406010000.tif.aux.xml").write_text(
        '<PAMDataset><Metadata><MDI key="time">2001-01-01T00:00</MDI></Metadata>'
        '<PAMRasterBand band="1"><NoDataValue>1</NoDataValue><Scale>9</Scale></PAMRasterBand></PAMDataset>'
    )
    (tmp_path / "202406010000.tfw").write_text("1\n0\n0\n-1\n0\n0\n")
    write_geotiff(tmp_path / "202406010000.tif.msk", np.zeros((2, 3), np.uint8))
    reader, contents = open_file(path)
    assert contents.times.astype(str).tolist() == ["2024-06-01T00:00:00"]
    assert contents.grid == expected
    np.testing.assert_array_equal(reader.read(path, 0), PIXELS)
    vrt = tmp_path / "202406010001.tif"
    vrt.write_text(
        f'<VRTDataset rasterXSize="3" rasterYSize="2"><VRTRasterBand dataType="Byte" band="1">'
        f"<SimpleSource><SourceFilename>{path}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    assert recognise(vrt) is None
    with pytest.raises(ReadError, match="is not a TIFF file"):
        make_reader("geotiff").contents(vrt)
    with pytest.raises(ReadError, match="geotiff"):
        make_reader("geotiff").contents("/vsicurl/http://127.0.0.1:9/a.tif")


def test_geotiff_refuses(tmp_path, monkeypatch):
    path = write_geotiff(tmp_path / "a.tif", PIXELS)
    with pytest.raises(ReadError, match=r"has no time in its tags or its name; set the option 'pattern'"):
        make_reader("geotiff").contents(path)
    whole = write_geotiff(tmp_path / "202406010000.tif", np.arange(4000, dtype=np.uint16).reshape(50, 80))
    for size in (2000, 200, 6):
        cut = tmp_path / "202406010001.tif"
        cut.write_bytes(whole.read_bytes()[:size])
        with pytest.raises(ReadError, match=r"\[geotiff\] .*202406010001\.tif"):
            make_reader("geotiff").read(cut, 0)
    monkeypatch.setattr(limits, "memory", lambda: 1000)
    with pytest.raises(ReadError, match=r"has frames of 50 x 80, which needs"):
        make_reader("geotiff").contents(whole)
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(MissingLibraryError, match=r"needs the library rasterio .*pip install 'convlstm\[geotiff\]'"):
        make_reader("geotiff").contents(path)
