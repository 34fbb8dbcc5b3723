"""Zarr stores on web servers and in object stores, read by the ways that files take."""

import builtins
from dataclasses import replace

import convlstm
from convlstm.datasets import arguments, remote, remote_addresses
from convlstm.datasets.archives.archive import Archive
from convlstm.datasets.readers import ReadError, make_reader
from convlstm.writers import write
from tests.support.forecasts import example
from tests.support.loopback import served

import numpy as np
import pytest

zarr = pytest.importorskip("zarr")
fsspec = pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")
IS_ZARR_2 = zarr.__version__.startswith("2.")


@pytest.fixture
def rain(rng):
    """Returns ten frames of 40x48 pixels, without missing ones, on a map."""
    given = example(rng)
    values = rng.gamma(0.5, 4, (10, 40, 48)).astype(np.float32)
    place = given.place.of((40, 48), (0, 0, 48_000, 40_000), projection=given.place.projection)
    return replace(given, values=values, inputs=None, place=place)


@pytest.fixture
def site(tmp_path):
    """Serves a folder, and yields it with the server's address, the paths asked for, and those to refuse."""
    folder = tmp_path / "site"
    folder.mkdir()
    with served(folder) as (address, asked, refused):
        yield folder, address, asked, refused


def chunks_of(asked, name):
    return [path for path in asked if f"/{name}/" in path and not path.endswith((".zarray", ".zattrs", "zarr.json"))]


def test_an_archive_is_opened_over_http_and_read_frame_by_frame(site, rain):
    pytest.importorskip("xarray")
    folder, address, asked, _ = site
    write(folder / "rain.zarr", rain)
    opened = convlstm.open_archive(f"{address}/rain.zarr")
    field = opened.rain_rate
    assert field.attrs["units"] == "mm h-1"
    np.testing.assert_array_equal(field.time.values, rain.times.astype("datetime64[ns]"))
    np.testing.assert_allclose(opened.x.values, 500 + 1000 * np.arange(48))
    assert chunks_of(asked, "rain_rate") == []
    np.testing.assert_array_equal(field[3].values, rain.values[3])
    assert len(chunks_of(asked, "rain_rate")) == 1
    np.testing.assert_array_equal(field[3:5].values, rain.values[3:5])
    assert len(chunks_of(asked, "rain_rate")) == 2  # a chunk travels once


@pytest.mark.parametrize("format", ["mlcast", pytest.param("zarr3", marks=pytest.mark.skipif(IS_ZARR_2, reason="2"))])
@pytest.mark.filterwarnings("ignore:.*mlcast's specification asks")
def test_stores_of_mlcast_and_of_version_3(site, rain, format):
    folder, address, asked, _ = site
    write(folder / "rain.zarr", rain, format)
    store, reader = remote.mirror(f"{address}/rain.zarr"), make_reader("zarr")
    contents = reader.contents(store)
    np.testing.assert_array_equal(contents.times, rain.times)
    assert contents.grid.units == "mm/h"
    name = "rainfall_flux" if format == "mlcast" else "rain_rate"
    assert chunks_of(asked, name) == []
    np.testing.assert_array_equal(reader.read(store, 3), rain.values[3])
    assert len(chunks_of(asked, name)) == 1


def test_training_and_readers_take_addresses(site, rain):
    folder, address, _, _ = site
    write(folder / "rain.zarr", rain)
    archive = Archive(f"{address}/rain.zarr", progress=False)
    assert (archive.name, len(archive)) == ("rain.zarr", 10)
    np.testing.assert_array_equal(archive.frame(7), rain.values[7])
    (again,) = arguments.paths("RadarEcho", "archive", [f"{address}/rain.zarr"])
    assert again == archive.files[0]


def test_a_store_that_grows_or_changes_is_read_anew(site, rain):
    folder, address, asked, _ = site
    path = folder / "rain.zarr"
    write(path, replace(rain, values=rain.values[:4]))
    first = remote.mirror(f"{address}/rain.zarr")
    reader = make_reader("zarr")
    np.testing.assert_array_equal(reader.read(first, 3), rain.values[3])
    write(path, rain)
    again = remote.mirror(f"{address}/rain.zarr/")
    assert again == first
    asked.clear()
    assert len(reader.contents(again).times) == 10
    np.testing.assert_array_equal(reader.read(again, 9), rain.values[9])
    np.testing.assert_array_equal(reader.read(again, 3), rain.values[3])
    assert [name[-5:] for name in chunks_of(asked, "rain_rate")] == ["9.0.0"]  # frame 3 is kept
    write(path, replace(rain, units="dBZ"))
    contents = reader.contents(remote.mirror(f"{address}/rain.zarr"))
    assert contents.grid.units == "dBZ"
    assert not (again / "rain_rate").exists() or not list((again / "rain_rate").glob(".z*"))


def test_stores_without_consolidated_metadata_are_listed(site, rain):
    folder, address, _, _ = site
    write(folder / "rain.zarr", rain)
    (folder / "rain.zarr" / ".zmetadata").unlink()
    store = remote.mirror(f"{address}/rain.zarr")
    np.testing.assert_array_equal(make_reader("zarr").read(store, 2), rain.values[2])
    assert remote_addresses.address_of(store) == f"{address}/rain.zarr"
    assert remote_addresses.address_of(folder / "rain.zarr") is None


def test_chunks_that_a_server_lacks_are_missing_values(site, rain):
    folder, address, _, refused = site
    write(folder / "rain.zarr", rain)
    (folder / "rain.zarr" / "rain_rate" / "4.0.0").unlink()
    store = remote.mirror(f"{address}/rain.zarr")
    assert np.isnan(make_reader("zarr").read(store, 4)).all()
    refused.append("5.0.0")
    with pytest.raises(ReadError, match=r"\[zarr\] .*rain.zarr \[remote\] http:.* cannot be read .*403.* credentials"):
        make_reader("zarr").read(store, 5)


def test_what_goes_wrong_says_what_to_do(site, rain, monkeypatch):
    folder, address, _, refused = site
    write(folder / "rain.zarr", rain)
    with pytest.raises(FileNotFoundError, match=r"there is no Zarr store at http:.*/rain.nc: .* Check the address"):
        remote.mirror(f"{address}/rain.nc")
    with pytest.raises(ConnectionError, match=r"http://127.0.0.1:1/a.zarr cannot be read \(.*Check the address and"):
        remote.mirror("http://127.0.0.1:1/a.zarr")
    refused.append(".zmetadata")
    with pytest.raises(ConnectionError, match=r"cannot be read \(.*403.*Set the credentials of its protocol"):
        remote.mirror(f"{address}/rain.zarr")
    with pytest.raises(ValueError, match=r"\[remote\] the address of host must have no user, password or query") as e:
        remote.mirror("https://me:secret@host/a.zarr")
    assert "secret" not in str(e.value)
    (folder / "list.zarr").mkdir()
    (folder / "list.zarr" / ".zmetadata").write_text("[1]")
    refused.clear()
    with pytest.raises(FileNotFoundError, match=r".zmetadata of http:.*/list.zarr is no JSON object"):
        remote.mirror(f"{address}/list.zarr")
    original = builtins.__import__

    def without_fsspec(name, *args, **options):
        if name == "fsspec":
            raise ImportError("No module named 'fsspec'")
        return original(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without_fsspec)
    with pytest.raises(ValueError, match=r"s3://bucket/a.zarr needs a library .*fsspec.* pip install 'convlstm\[r"):
        remote.mirror("s3://bucket/a.zarr")


def test_a_copy_elsewhere_asks_no_server(tmp_path, site, rain):
    folder, address, asked, _ = site
    write(folder / "rain.zarr", rain)
    stolen = tmp_path / "stolen.zarr"
    remote.mirror(f"{address}/rain.zarr").rename(stolen)
    asked.clear()
    with pytest.raises(ReadError, match=r"is the copy of a remote store, but not in .*Name the store's address"):
        make_reader("zarr").read(stolen, 0)
    assert asked == []


def test_an_address_names_a_folder_of_its_own(tmp_path):
    root = tmp_path / "data" / "remote"
    for address in ("s3://b/../../etc/a.zarr", "s3://b/a%2e%2e/..", "https://host:8/a b/%00.zarr"):
        assert remote_addresses.folder_of(address).resolve().is_relative_to(root)
        assert ".." not in remote_addresses.folder_of(address).parts
    assert remote_addresses.is_address("s3://b/a.zarr")
    assert remote_addresses.is_address("https:/host/a.zarr")  # what is left of it in a Path
    assert not any(map(remote_addresses.is_address, ["/a/b", "a.zarr", "c:/a", "file:///a", 3, None]))


def test_an_object_store(tmp_path, rain, monkeypatch):
    pytest.importorskip("s3fs")
    write(tmp_path / "bucket" / "rain.zarr", rain)
    (tmp_path / "bucket" / "rain.zarr" / ".zmetadata").unlink()
    with served(tmp_path, objects=True) as (address, asked, _):
        monkeypatch.setitem(fsspec.config.conf, "s3", {"anon": True, "endpoint_url": address})
        store = remote.mirror("s3://bucket/rain.zarr")
        np.testing.assert_array_equal(make_reader("zarr").read(store, 6), rain.values[6])
        assert [path[-5:] for path in chunks_of(asked, "rain_rate")] == ["6.0.0"]
        with pytest.raises(FileNotFoundError, match=r"there is no Zarr store at s3://bucket/none.zarr"):
            remote.mirror("s3://bucket/none.zarr")
