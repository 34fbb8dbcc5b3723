"""Attacks with files to forecast from: codecs, filters, links, headers, bombs, and files that name other files."""

from __future__ import annotations

import gzip
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from fault_tests.attacks.stage import Attack, Stage
from tests.support import hdf5_strangers, radar_files, zarr_stores
from tests.support.forecast_runs import READER
from tests.support.hostile_weights import npy

import numpy as np

STAMP = "202006010000"


def attacks() -> Iterator[Attack]:
    """Yields the attacks of this module."""
    if find_spec("zarr") is not None:
        for version, changes in ((2, zarr_stores.EVIL_2), (3, zarr_stores.EVIL_3)):
            for name in changes:
                yield Attack(f"Zarr {version}: codecs", name, partial(_zarr, version, name))
        huge = {"shape": [3, 10**6, 10**6], "chunks": [1, 10**6, 10**6]}
        yield Attack("headers that claim too much", "zarr", partial(_huge_zarr, huge))
    if find_spec("h5py") is not None:
        for format in ("knmi", "odim"):
            for way in hdf5_strangers.WAYS:
                yield Attack(f"HDF5: {format}", way, partial(_hdf5, format, way))
    for (row, content), write in FILES.items():
        yield Attack(row, content, partial(_file, write))
    for kind in ("FIFO", "device", "socket", "link to a secret", "folder"):
        for ending in (".png", ".npy", ".h5", ".mp4"):
            yield Attack("FIFOs, devices, sockets, links", f"{kind}{ending}", partial(_special, kind, ending))
    for word in ("concat:SECRET", "http://127.0.0.1:9/a.mp4", "subfile,,start,0,end,0,,:SECRET", "/vsicurl/SECRET"):
        yield Attack("inputs that name other files", word, partial(_address, word))


def _zarr(version: int, name: str, stage: Stage) -> list[str]:
    changes = (zarr_stores.EVIL_2 if version == 2 else zarr_stores.EVIL_3)[name]
    chunk = zarr_stores.evil(stage.canary)
    return stage.forecast(zarr_stores.write_store(stage.work / "radar.zarr", version, **changes, chunk=chunk))


def _huge_zarr(changes: dict[str, list[int]], stage: Stage) -> list[str]:
    return stage.forecast(zarr_stores.write_store(stage.work / "radar.zarr", 2, rr=changes))


def _hdf5(format: str, way: str, stage: Stage) -> list[str]:
    import h5py

    pixels = np.arange(256).reshape(16, 16)
    path = stage.work / "rain.h5"
    if format == "knmi":
        radar_files.write_knmi(path, pixels.astype(np.uint16))
    else:
        radar_files.write_odim(path, {"DBZH": pixels.astype(np.uint8)})
    name = {"knmi": "image1/image_data", "odim": "dataset1/data1/data"}[format]
    with h5py.File(path, "a") as file:
        old = file[name]
        hdf5_strangers.replace(
            file, name, way, hdf5_strangers.write_secret(stage.victim / "hdf5", old.shape, old.dtype)
        )
    return stage.forecast(path)


def _file(write: Callable[[Stage], Path], stage: Stage) -> list[str]:
    path = write(stage)
    return stage.forecast(path, *([READER] if path.suffix == ".png" else []))


def _special(kind: str, ending: str, stage: Stage) -> list[str]:
    path = stage.work / f"{STAMP}{ending}"
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "socket":
        import socket

        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(os.path.relpath(path))
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(stage.secret)
    return stage.forecast(path)


def _address(word: str, stage: Stage) -> list[str]:
    return stage.forecast(Path(word.replace("SECRET", str(stage.secret))))


def _png(width: int, height: int, more: bytes = b"") -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + more + pixels + chunk(b"IEND", b"")


def _zip(parts: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return file.getvalue()


def _content(name: str, content: bytes | str | Callable[[], bytes], stage: Stage) -> Path:
    if isinstance(content, str):
        text = content.replace("SECRET", str(stage.secret)).encode()
    else:
        text = content() if callable(content) else content
    path = stage.work / name
    path.write_bytes(text)
    return path


def _objects(stage: Stage) -> Path:
    head = npy((1,), "|O", zarr_stores.evil(stage.canary))
    return _content(f"{STAMP}.npz", _zip({"rain.npy": head, "times.npy": head}), stage)


def _pickled(stage: Stage) -> Path:
    return _content(f"{STAMP}.npy", npy((1,), "|O", zarr_stores.evil(stage.canary)), stage)


_ZEROS = bytes(1 << 20)


def _text_bomb() -> bytes:
    text = b"\0\0\0\0" + bytes(8) + zlib.compress(_ZEROS * 64, 9)
    return _png(9, 9, struct.pack(">I", len(text)) + b"zTXt" + text + bytes(4))


# Bombs are packed where they are used: it takes seconds.
FILES: dict[tuple[str, str], Callable[[Stage], Path]] = {
    ("objects in NumPy's files", ".npy"): _pickled,
    ("objects in NumPy's files", ".npz"): _objects,
    ("headers that claim too much", ".npy"): partial(_content, f"{STAMP}.npy", npy((9, 10**6, 10**6))),
    ("headers that claim too much", ".npz"): partial(_content, "a.npz", _zip({"rain.npy": npy((9, 10**12))})),
    ("headers that claim too much", "png"): partial(_content, f"{STAMP}.png", _png(100_000, 100_000)),
    ("headers that claim too much", "png of 2^31"): partial(_content, f"{STAMP}.png", _png(2**31 - 1, 2**31 - 1)),
    ("headers that claim too much", "gif"): partial(_content, "a.gif", b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(9)),
    ("headers that claim too much", "pgm"): partial(_content, f"{STAMP}.pgm", b"P5\n999999 999999\n255\n" + bytes(99)),
    ("headers that claim too much", "mp4"): partial(
        _content, "a.mp4", b"\0\0\0\x18ftypisom\0\0\0\0isom\0\0\0\x01moov" + b"\x7f" * 8
    ),
    ("bombs", "gzip"): partial(_content, f"{STAMP}.pgm.gz", lambda: gzip.compress(b"P5\n9 9\n255\n" + _ZEROS * 200)),
    ("bombs", "zip"): partial(
        _content, "a.npz", lambda: _zip({"rain.npy": npy((250, 1024, 1024), "|u1", _ZEROS * 250)})
    ),
    ("bombs", "a PNG's text"): partial(_content, f"{STAMP}.png", _text_bomb),
    ("names in zips that leave", ".npz"): partial(_content, "a.npz", _zip({"../../out/rain.npy": npy((4,))})),
    ("files that name other files", "m3u8"): partial(_content, "a.m3u8", "#EXTM3U\n#EXTINF:1,\nSECRET\n"),
    ("files that name other files", "m3u8 as mp4"): partial(_content, "a.mp4", "#EXTM3U\n#EXTINF:1,\nSECRET\n"),
    ("files that name other files", "m3u8 as avi"): partial(
        _content, "a.avi", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nconcat:SECRET\n"
    ),
    ("files that name other files", "ffconcat as mkv"): partial(_content, "a.mkv", "ffconcat version 1.0\nfile SECRET"),
    ("files that name other files", "ffconcat as mov"): partial(_content, "a.mov", "ffconcat version 1.0\nfile SECRET"),
    ("files that name other files", "vrt"): partial(
        _content, "a.vrt", "<VRTDataset><SourceFilename>SECRET</SourceFilename></VRTDataset>"
    ),
    ("files that name other files", "svg"): partial(
        _content, "a.svg", '<svg><image href="file://SECRET"/><script>1</script></svg>'
    ),
}
