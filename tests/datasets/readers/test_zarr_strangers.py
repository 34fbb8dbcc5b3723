"""Zarr stores from strangers: nothing runs, nothing outside the store is read, and each ends soon with a message."""

from __future__ import annotations

import json
import os
import socket
import time

from convlstm.datasets.readers import ReadError, make_reader, recognise
from convlstm.datasets.readers.zarr_metadata import read_metadata
from tests.support.zarr_stores import BYTES, EVIL_2, EVIL_3, FRAMES, PICKLE, VLEN, evil, metadata, write_store

import numpy as np
import pytest

zarr = pytest.importorskip("zarr")
VERSIONS = [2, 3] if not zarr.__version__.startswith("2.") else [2]


@pytest.fixture
def marker(tmp_path):
    """A folder that exists only if a stranger's code has run."""
    yield tmp_path / "marker"
    assert not (tmp_path / "marker").exists(), "a stranger's code has run"


def refusal(path, marker=None):
    """Returns the message with which a store is refused, within 10 s, and checks that it names the store."""
    began = time.monotonic()
    reader = make_reader("zarr")
    with pytest.raises(ReadError, match=rf"\[zarr\] .*{path.name}") as caught:  # noqa: PT012
        for position in range(len(reader.contents(path).times)):
            reader.read(path, position)
    assert time.monotonic() - began < 10
    return str(caught.value)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_store_of_these_tests_is_read(tmp_path, version):
    path = write_store(tmp_path / "radar", version)
    reader = recognise(path)
    assert reader.contents(path).times[2] == np.datetime64("2021-07-01T00:10:00")
    for position in range(3):
        np.testing.assert_array_equal(reader.read(path, position), FRAMES[position])


@pytest.mark.parametrize(
    ("version", "name"), [(2, name) for name in EVIL_2] + [(3, name) for name in EVIL_3 if 3 in VERSIONS]
)
def test_codecs_and_types_that_are_not_listed(tmp_path, marker, version, name):
    changes = (EVIL_2 if version == 2 else EVIL_3)[name]
    refusal(write_store(tmp_path / "radar", version, **changes, chunk=evil(marker)))


@pytest.mark.parametrize("version", VERSIONS)
def test_the_message_names_the_array_and_the_codec(tmp_path, version):
    changes = {"filters": [PICKLE]} if version == 2 else {"codecs": [BYTES, "numcodecs.pickle"]}
    text = refusal(write_store(tmp_path / "radar", version, rr=changes))
    assert "has 'rr' stored by the codec" in text
    assert "pickle" in text
    kind = {"dtype": "|O", "filters": [VLEN]} if version == 2 else {"data_type": "string", "codecs": ["vlen-utf8"]}
    text = refusal(write_store(tmp_path / "text", version, time=kind))
    assert "has 'time' of the type object, where numbers or dates are expected" in text


@pytest.mark.parametrize("only_consolidated", [False, True])
def test_consolidated_metadata_is_not_believed(tmp_path, marker, only_consolidated):
    path = write_store(tmp_path / "radar", 2)
    evil_rr = metadata("rr", 2) | {"filters": [PICKLE]}
    kept = {".zgroup": {"zarr_format": 2}, "rr/.zarray": evil_rr, "time/.zarray": metadata("time", 2)}
    (path / ".zmetadata").write_text(json.dumps({"zarr_consolidated_format": 1, "metadata": kept}))
    if only_consolidated:
        (path / "rr" / "0.0.0").write_bytes(evil(marker))
        (path / "rr" / ".zarray").unlink()
        assert "no field of rows and columns" in refusal(path)
    else:
        np.testing.assert_array_equal(make_reader("zarr").read(path, 1), FRAMES[1])


@pytest.mark.skipif(3 not in VERSIONS, reason="zarr 2 knows version 2 only")
@pytest.mark.parametrize("version", [2, 3])
def test_metadata_of_the_other_version_is_not_used(tmp_path, marker, version):
    path = write_store(tmp_path / "radar", version)
    other = metadata("rr", 5 - version)
    other |= {"filters": [PICKLE]} if version == 3 else {"codecs": [BYTES, "numcodecs.pickle"]}
    (path / "rr" / (".zarray" if version == 3 else "zarr.json")).write_text(json.dumps(other))
    np.testing.assert_array_equal(make_reader("zarr").read(path, 1), FRAMES[1])
    inline = {"consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": {"rr": other}}}
    if version == 3:
        group = json.loads((path / "zarr.json").read_text())
        (path / "zarr.json").write_text(json.dumps(group | inline))
        np.testing.assert_array_equal(make_reader("zarr").read(path, 1), FRAMES[1])


def replace(path, how, secret):
    """Moves a file or folder of a store to `secret`, and puts something in its place that is neither."""
    path.rename(secret)
    if how == "link":
        path.symlink_to(secret)
    elif how == "pipe":
        os.mkfifo(path)
    elif how == "socket":
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(os.path.relpath(path))
    else:
        path.symlink_to("/dev/zero")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("how", ["link", "pipe", "socket", "device"])
@pytest.mark.parametrize("what", ["chunk", "metadata", "group", "folder", "beside"])
def test_links_and_pipes_in_a_store(tmp_path, version, how, what):
    path = write_store(tmp_path / "radar", version)
    if what == "beside":
        (path / "note").write_text("nothing")
    targets = {
        "chunk": path / "rr" / ("1.0.0" if version == 2 else "c/1/0/0"),
        "metadata": path / "rr" / (".zarray" if version == 2 else "zarr.json"),
        "group": path / (".zgroup" if version == 2 else "zarr.json"),
        "folder": path / "rr",
        "beside": path / "note",
    }
    replace(targets[what], how, tmp_path / "secret")
    began = time.monotonic()
    if recognise(path) is not None or what == "group":
        assert "A store may have plain files and folders only" in refusal(path)
    assert time.monotonic() - began < 10


CLAIMS = {
    "a million squared": {"shape": [3, 10**6, 10**6]},
    "a large chunk": ([1, 10**6, 10**6], None),
    "many frames": {"shape": [10**12, 8, 10]},
    "huge": {"shape": [10**30, 8, 10]},
    "negative": {"shape": [-3, 8, 10]},
    "no number": {"shape": ["many", 8, 10]},
    "no list": {"shape": 7},
    "none": {"shape": None},
    "too few chunks": ([1, 8], None),
    "empty chunks": ([0, 8, 10], None),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("claim", CLAIMS)
def test_headers_that_claim_too_much(tmp_path, version, claim):
    changes = CLAIMS[claim]
    if isinstance(changes, tuple):
        grid = {"name": "regular", "configuration": {"chunk_shape": changes[0]}}
        changes = {"chunks": changes[0]} if version == 2 else {"chunk_grid": grid}
    refusal(write_store(tmp_path / "radar", version, rr=changes))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_coordinate_in_too_many_chunks(tmp_path, version):
    grid = {"name": "regular", "configuration": {"chunk_shape": [1]}}
    chunks = {"chunks": [1]} if version == 2 else {"chunk_grid": grid}
    path = write_store(tmp_path / "radar", version, rr={"shape": [10**7, 8, 10]}, time={"shape": [10**7], **chunks})
    assert "has 'time' in 10,000,000 chunks" in refusal(path)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"7",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b'{"a":' * 100_000,
        b"[" * 1_000_000,
        b'{"shape": ' + b"9" * 5000 + b"}",
        b'{"a": "' + b"x" * (17 << 20) + b'"}',
    ],
    ids=range(10),
)
def test_metadata_that_is_no_metadata(tmp_path, version, text):
    path = write_store(tmp_path / "radar", version)
    (path / "rr" / (".zarray" if version == 2 else "zarr.json")).write_bytes(text)
    refusal(path)


@pytest.mark.parametrize(
    "options",
    [
        {"compressor": {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1}},
        *({"compressor": {"id": name}} for name in ("zlib", "gzip", "zstd", "lz4", "bz2", "lzma", "crc32")),
        {"compressor": {"id": "zlib"}, "filters": [{"id": "shuffle", "elementsize": 2}]},
        {"filters": [{"id": "delta", "dtype": "<i2"}]},
        {"filters": [{"id": "fixedscaleoffset", "scale": 1, "offset": 0, "dtype": "<i2"}]},
    ],
    ids=str,
)
def test_codecs_that_are_used(tmp_path, options):
    """The chunks are packed by numcodecs itself."""
    import numcodecs

    path = write_store(tmp_path / "radar", 2, rr=options)
    for number, frame in enumerate(FRAMES):
        data = frame
        for codec in [*(options.get("filters") or []), options.get("compressor")]:
            data = data if codec is None else numcodecs.get_codec(dict(codec)).encode(np.ascontiguousarray(data))
        (path / "rr" / f"{number}.0.0").write_bytes(bytes(data))
        np.testing.assert_array_equal(make_reader("zarr").read(path, number), frame)


@pytest.mark.skipif(3 not in VERSIONS, reason="zarr 2 knows version 2 only")
@pytest.mark.parametrize(
    "options", [{"compressors": None}, {"shards": (2, 8, 10)}, {}, {"filters": "transpose"}], ids=str
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of NumPy 2.5, in zarr
def test_stores_as_zarr_writes_them(tmp_path, options):
    path = tmp_path / "radar"
    group = zarr.open_group(str(path), mode="w", zarr_format=3)
    if options.get("filters"):
        options = {"filters": [zarr.codecs.TransposeCodec(order=(0, 2, 1))]}
    array = group.create_array(
        "rr", shape=FRAMES.shape, dtype=FRAMES.dtype, chunks=(1, 4, 5), dimension_names=("time", "y", "x"), **options
    )
    array[...] = FRAMES
    array.attrs["units"] = "mm/h"
    times = np.datetime64("2021-07-01", "s") + 300 * np.arange(3).astype("timedelta64[s]")
    stamps = group.create_array("time", shape=(3,), dtype="datetime64[ns]", dimension_names=("time",))
    stamps[...] = times.astype("datetime64[ns]")
    group.create_array("station", shape=(3,), dtype="str", dimension_names=("station",))
    reader = make_reader("zarr")
    np.testing.assert_array_equal(reader.contents(path).times, times)
    for position in range(3):
        np.testing.assert_array_equal(reader.read(path, position), FRAMES[position])
    assert read_metadata(path)["station"].dtype == object
