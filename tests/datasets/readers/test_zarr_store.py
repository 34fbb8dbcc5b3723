from convlstm.datasets.readers import ReadError, recognise
from tests.support.radar_files import open_file

import numpy as np
import pytest

# Its functions write the stores here. Stores of version 2 are written by hand in `test_zarr_strangers.py`.
zarr = pytest.importorskip("zarr", minversion="3")


def stack(frames=7, height=3, width=4):
    return np.arange(frames * height * width, dtype=np.float32).reshape(frames, height, width)


WKT = 'PROJCS["Swiss",BASEGEOGCRS["CH1903"]]'


def write_zarr(path, values, *, version=3, units="mm/h", named=True, **options):
    """Writes a store in mlcast's layout: time x y x x, a chunk per frame, a WKT of the map, NaN for missing."""
    group = zarr.open_group(str(path), mode="w", zarr_format=version)

    def put(name, array, dimensions, attributes, **settings):
        names = {"dimension_names": dimensions} if named and version == 3 else {}
        item = group.create_array(name, shape=array.shape, dtype=array.dtype, **names, **settings)
        item[...] = array
        item.attrs.update(attributes)
        if named and version == 2:
            item.attrs["_ARRAY_DIMENSIONS"] = list(dimensions)

    _, height, width = values.shape
    times = {"units": "seconds since 2021-07-01", "standard_name": "time"}
    put("time", 300 * np.arange(len(values)), ("time",), times)
    put("y", 1000.0 * np.arange(height), ("y",), {"units": "m"})
    put("x", 2000.0 * np.arange(width), ("x",), {"units": "m"})
    put("crs", np.array(0), (), {"crs_wkt": WKT, "spatial_ref": WKT})
    attributes = {"units": units, "grid_mapping": "crs", "standard_name": "rainfall_flux"}
    put("rr", values, ("time", "y", "x"), attributes, chunks=(1, height, width), **options)
    return path


@pytest.mark.parametrize("version", [2, 3])
def test_zarr_store_counts_as_a_file(tmp_path, version):
    values = stack()
    values[3, 1, 1] = np.nan
    path = write_zarr(tmp_path / "radar.zarr", values, version=version, fill_value=np.nan)
    assert recognise(path).format == "zarr"
    reader, contents = open_file(path)
    assert contents.times[-1] == np.datetime64("2021-07-01T00:30:00")
    np.testing.assert_array_equal(reader.read(path, 3), values[3, ::-1])
    grid = contents.grid
    assert (grid.shape, grid.units, grid.pixel_size) == ((3, 4), "mm/h", (1000, 2000))
    assert (grid.projection, grid.extent) == (WKT, (-1000, -500, 7000, 2500))
    np.testing.assert_array_equal(reader.read(write_zarr(path, values + 1, version=version), 3), values[3, ::-1] + 1)


@pytest.mark.parametrize("version", [2, 3])
def test_a_projection_may_be_an_attribute_of_the_store(tmp_path, version):
    path, geos = write_zarr(tmp_path / "clouds.zarr", stack(), version=version), "+proj=geos +lon_0=0 +h=35785863"
    group = zarr.open_group(str(path))
    group.attrs["gdal_projection"] = geos
    assert open_file(path)[1].grid.projection == WKT
    del group["crs"], group["rr"].attrs["grid_mapping"]
    assert open_file(path)[1].grid.projection == geos


def test_zarr_codes_of_missing_values(tmp_path):
    values = np.array([[[0, 5], [7, 9]]], np.int16)
    second = write_zarr(tmp_path / "two", values, version=2, fill_value=7)
    np.testing.assert_array_equal(open_file(second)[0].read(second, 0), [[np.nan, 9], [0, 5]])
    dry = write_zarr(tmp_path / "dry", values, version=2, fill_value=0)
    np.testing.assert_array_equal(open_file(dry)[0].read(dry, 0), values[0, ::-1])
    # As xarray writes -9999 into version 3.
    coded = write_zarr(tmp_path / "three", np.array([[[-9999, 5], [7, 9]]], np.float32))
    zarr.open_group(str(coded), mode="a")["rr"].attrs["_FillValue"] = "AAAAAICHw8A="
    np.testing.assert_array_equal(open_file(coded)[0].read(coded, 0), [[7, 9], [np.nan, 5]])


def test_zarr_refuses(tmp_path, monkeypatch):
    with pytest.raises(ReadError, match=r"\[zarr\] .*bare has no field of rows and columns; it has .*rr"):
        open_file(write_zarr(tmp_path / "bare", stack(), named=False))
    with monkeypatch.context() as patch:
        patch.setattr(zarr, "__version__", "2.18.3")
        with pytest.raises(ReadError, match=r"is of Zarr's version 3, which zarr 2\.18\.3 does not know"):
            open_file(tmp_path / "bare")
    path = write_zarr(tmp_path / "broken", stack())
    (path / "rr" / "zarr.json").write_text("{")
    with pytest.raises(ReadError, match=r"\[zarr\] .*broken"):
        open_file(path)
    path = write_zarr(tmp_path / "damaged", stack())
    reader, _ = open_file(path)
    chunk = next(file for file in (path / "rr" / "c" / "2").rglob("*") if file.is_file())
    chunk.write_bytes(b"nothing")
    with pytest.raises(ReadError, match=r"\[zarr\] .*damaged cannot be read at frame 2"):
        reader.read(path, 2)
    np.testing.assert_array_equal(reader.read(path, 1), stack()[1, ::-1])
    (tmp_path / "folder").mkdir()
    assert recognise(tmp_path / "folder") is None
