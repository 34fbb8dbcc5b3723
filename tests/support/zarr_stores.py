"""Zarr stores written by hand, file by file, as a stranger can write them."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np

FRAMES = np.arange(1, 3 * 8 * 10 + 1, dtype="<i2").reshape(3, 8, 10)
TIMES = 300 * np.arange(3, dtype="<i8")
_ATTRIBUTES = {
    "rr": {"units": "mm/h", "_ARRAY_DIMENSIONS": ["time", "y", "x"]},
    "time": {"units": "seconds since 2021-07-01", "_ARRAY_DIMENSIONS": ["time"]},
}
_TYPES_3 = {"<i2": "int16", "<i8": "int64"}


class _Evil:
    """An object that makes a folder when it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


def evil(marker: Path) -> bytes:
    """Returns a pickle that makes the folder `marker` when it is loaded."""
    return pickle.dumps(_Evil(marker))


def metadata(name: str, version: int) -> dict[str, Any]:
    """Returns the metadata of the array `rr` or `time` of a store, with one chunk for each frame or for all times."""
    array = FRAMES if name == "rr" else TIMES
    chunks = [1, 8, 10] if name == "rr" else [3]
    if version == 2:
        described = {"zarr_format": 2, "shape": list(array.shape), "chunks": chunks, "dtype": array.dtype.str}
        return described | {"compressor": None, "filters": None, "fill_value": 0, "order": "C"}
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(array.shape),
        "data_type": _TYPES_3[array.dtype.str],
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunks}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "attributes": _ATTRIBUTES[name],
        "dimension_names": _ATTRIBUTES[name]["_ARRAY_DIMENSIONS"],
    }


def write_store(
    path: Path,
    version: int,
    *,
    rr: dict[str, Any] | None = None,
    time: dict[str, Any] | None = None,
    chunk: bytes | None = None,
) -> Path:
    """Writes a store of three frames; `rr` and `time` change the metadata, `chunk` takes the place of every chunk."""
    path.mkdir(parents=True)
    group = {"zarr_format": 2} if version == 2 else {"zarr_format": 3, "node_type": "group", "attributes": {}}
    (path / (".zgroup" if version == 2 else "zarr.json")).write_text(json.dumps(group))
    for name, changes in (("rr", rr or {}), ("time", time or {})):
        folder = path / name
        folder.mkdir()
        described = metadata(name, version) | changes
        (folder / (".zarray" if version == 2 else "zarr.json")).write_text(json.dumps(described))
        if version == 2:
            (folder / ".zattrs").write_text(json.dumps(_ATTRIBUTES[name]))
        blocks = FRAMES if name == "rr" else [TIMES]
        for number, block in enumerate(blocks):
            key = ([str(number), "0", "0"] if name == "rr" else ["0"]) if version == 3 else None
            file = folder.joinpath("c", *key) if key else folder / (f"{number}.0.0" if name == "rr" else "0")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(block.tobytes() if chunk is None else chunk)
    return path


PICKLE = {"id": "pickle", "protocol": 5}
VLEN = {"id": "vlen-utf8"}


def sharded(codecs):
    """Returns codecs of version 3 that store shards of chunks in these codecs."""
    configuration = {"chunk_shape": [1, 8, 10], "codecs": codecs, "index_codecs": ["bytes", "crc32c"]}
    return [{"name": "sharding_indexed", "configuration": configuration}]


BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
EVIL_2: dict[str, dict[str, Any]] = {
    "filter": {"rr": {"filters": [PICKLE]}},
    "compressor": {"rr": {"compressor": PICKLE}},
    "unknown": {"rr": {"filters": [{"id": "evil"}]}},
    "astype": {"rr": {"filters": [{"id": "astype", "encode_dtype": "|O", "decode_dtype": "<i2"}]}},
    "delta": {"rr": {"filters": [{"id": "delta", "dtype": "|O"}]}},
    "time's filter": {"time": {"filters": [PICKLE]}},
    "time's objects": {"time": {"dtype": "|O", "filters": [VLEN, PICKLE]}},
    "time's objects, pickled": {"time": {"dtype": "|O", "filters": [PICKLE]}},
    "objects": {"rr": {"dtype": "|O", "filters": [PICKLE]}},
    "json objects": {"rr": {"dtype": "|O", "filters": [{"id": "json2"}]}},
    "records": {"rr": {"dtype": [["a", "|O"]], "filters": [PICKLE]}},
    "no id": {"rr": {"filters": [{}]}},
    "a text": {"rr": {"filters": "pickle"}},
}
EVIL_3: dict[str, dict[str, Any]] = {
    "codec": {"rr": {"codecs": [BYTES, {"name": "numcodecs.pickle", "configuration": {}}]}},
    "short": {"rr": {"codecs": [BYTES, "pickle"]}},
    "first": {"rr": {"codecs": ["numcodecs.pickle", BYTES]}},
    "unknown": {"rr": {"codecs": [BYTES, {"name": "evil.codec"}]}},
    "sharded": {"rr": {"codecs": sharded([BYTES, "numcodecs.pickle"])}},
    "sharded twice": {"rr": {"codecs": sharded(sharded([BYTES, "numcodecs.pickle"]))}},
    "time's codec": {"time": {"codecs": [BYTES, "numcodecs.pickle"]}},
    "time's text": {"time": {"data_type": "string", "codecs": ["vlen-utf8"], "fill_value": ""}},
    "time's bytes": {"time": {"data_type": "variable_length_bytes", "codecs": ["vlen-bytes"], "fill_value": ""}},
    "delta": {"rr": {"codecs": [{"name": "numcodecs.delta", "configuration": {"dtype": "|O"}}, BYTES]}},
    "unknown type": {"rr": {"data_type": {"name": "evil", "configuration": {}}}},
    "transformer": {"rr": {"storage_transformers": [{"name": "evil"}]}},
    "grid": {"rr": {"chunk_grid": {"name": "evil", "configuration": {"chunk_shape": [1, 8, 10]}}}},
    "no name": {"rr": {"codecs": [{}]}},
}
