"""The metadata of Zarr stores, versions 2 and 3, checked before anything of a store is decoded.

A codec may be any code: `pickle` runs whatever its bytes say. So only the codecs listed here are used, and only arrays
of numbers and dates are read. A store holds plain files and folders, no links, so it shows nothing of other files.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.plain_files import open_plain

import numpy as np

# Codecs that turn bytes into bytes or numbers into numbers, by their names in version 2 (in version 3 with `numcodecs.`
# before them).
_CODECS = (
    "blosc", "zlib", "gzip", "zstd", "lz4", "bz2", "lzma",
    "shuffle", "delta", "fixedscaleoffset", "quantize", "bitround", "packbits",
    "crc32", "crc32c", "adler32", "fletcher32", "jenkins_lookup3",
)  # fmt: skip
_CODECS_3 = ("bytes", "transpose", "blosc", "gzip", "zstd", "crc32c", "sharding_indexed")
_NUMBER = re.compile(r"[<>|]?(b1|[iu][1248]|f[248])")
_DATE = re.compile(r"[<>|]?[Mm]8\[(Y|M|W|D|h|m|s|ms|us|ns)\]")
_NUMBER_3 = re.compile(r"bool|u?int(8|16|32|64)|float(16|32|64)")
_UNIT = re.compile(r"Y|M|W|D|h|m|s|ms|us|ns")
# Bytes of a metadata file: attributes are short, but a group may repeat those of all its arrays.
_LARGEST = 16 << 20


class ArrayMetadata(NamedTuple):
    """One array of a store. The type is object if it is neither of numbers nor of dates."""

    version: int
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype
    dimensions: tuple[str, ...]
    attributes: dict[str, Any]


def read_metadata(path: Path) -> dict[str, ArrayMetadata]:
    """Returns the arrays at the root of a store by name.

    Raises:
        UnreadableError: If the store has links or anything else that is no plain file, or a numeric array with a codec
            that is not listed, or its metadata makes no sense.
    """
    _check_files(path)
    version = version_of(path)
    file = "zarr.json" if version == 3 else ".zarray"
    arrays = {}
    for folder in sorted(child for child in path.iterdir() if (child / file).is_file()):
        record = _object(folder / file)
        if version == 2 or record.get("node_type") == "array":
            try:
                arrays[folder.name] = (_version_3 if version == 3 else _version_2)(folder, record)
            except (KeyError, TypeError, AttributeError) as error:
                raise UnreadableError(f"has {folder.name}/{file}, which makes no sense ({error!r})") from error
    return arrays


def group_attributes(path: Path) -> dict[str, Any]:
    """Returns the attributes of a store's root.

    Raises:
        UnreadableError: If they are no JSON object.
    """
    if version_of(path) == 3:
        attributes = _object(path / "zarr.json").get("attributes") or {}
    else:
        attributes = _object(path / ".zattrs") if (path / ".zattrs").is_file() else {}
    if not isinstance(attributes, dict):
        raise UnreadableError("has attributes that are no JSON object")
    return attributes


def version_of(path: Path) -> int:
    """Returns the version of a store's format, 2 or 3."""
    return 3 if (path / "zarr.json").is_file() else 2


def _check_files(store: Path) -> None:
    folders = [os.fspath(store)]
    for folder in folders:  # the list grows
        with os.scandir(folder) as items:
            for item in items:
                if item.is_dir(follow_symlinks=False):
                    folders.append(item.path)
                elif not item.is_file(follow_symlinks=False):
                    kind = "a link" if item.is_symlink() else "a pipe, a socket or a device"
                    raise UnreadableError(
                        f"has {os.path.relpath(item.path, store)}, which is {kind}. A store may have plain files and "
                        "folders only"
                    )


def _object(file: Path) -> dict[str, Any]:
    with open_plain(file) as opened:
        data = opened.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise UnreadableError(f"has {file.name} of more than {_LARGEST >> 20} MiB")
    record = json.loads(data)
    if not isinstance(record, dict):
        raise UnreadableError(f"has {file.parent.name}/{file.name}, which is no JSON object")
    return record


def _version_2(folder: Path, record: dict[str, Any]) -> ArrayMetadata:
    text = record["dtype"]
    numeric = isinstance(text, str) and _NUMBER.fullmatch(text) is not None
    dated = isinstance(text, str) and _DATE.fullmatch(text) is not None
    if numeric or dated:
        codecs = [record.get("compressor"), *(record.get("filters") or [])]
        for codec in [codec for codec in codecs if codec is not None]:
            _check_codec(folder.name, codec["id"], codec, _CODECS)
    dtype = np.dtype(text) if numeric or dated else np.dtype(object)
    attributes = _object(folder / ".zattrs") if (folder / ".zattrs").is_file() else {}
    # The value of unwritten chunks is also the code of missing values, except for 0: that is the default, and no rain.
    fill = record.get("fill_value")
    if numeric and fill and "_FillValue" not in attributes:
        attributes["_FillValue"] = np.array(float(fill) if isinstance(fill, str) else fill, dtype)[()]
    names = attributes.pop("_ARRAY_DIMENSIONS", None)
    return _metadata(2, record["shape"], record["chunks"], dtype, names, attributes)


def _version_3(folder: Path, record: dict[str, Any]) -> ArrayMetadata:
    kind = record["data_type"]
    dtype = np.dtype(object)
    if isinstance(kind, str) and _NUMBER_3.fullmatch(kind):
        dtype = np.dtype(kind)
    elif isinstance(kind, dict) and kind["name"] in ("numpy.datetime64", "numpy.timedelta64"):
        unit, scale = kind["configuration"]["unit"], kind["configuration"].get("scale_factor", 1)
        if not _UNIT.fullmatch(unit) or not isinstance(scale, int):
            raise UnreadableError(f"has {folder.name!r} in the unit {unit!r} of time")
        dtype = np.dtype(f"{kind['name'].removeprefix('numpy.')}[{scale}{unit}]")
    if dtype.kind != "O":
        _check_codecs_3(folder.name, record["codecs"])
    grid = record["chunk_grid"]
    if grid["name"] != "regular" or record.get("storage_transformers"):
        raise UnreadableError(f"has {folder.name!r} in chunks of the kind {grid['name']!r}, which is not read")
    chunks = grid["configuration"]["chunk_shape"]
    for codec in record["codecs"]:  # chunks inside shards are read one by one
        if isinstance(codec, dict) and codec["name"] == "sharding_indexed":
            chunks = codec["configuration"]["chunk_shape"]
    names = record.get("dimension_names")
    return _metadata(3, record["shape"], chunks, dtype, names, record.get("attributes") or {})


def _check_codecs_3(name: str, codecs: Any) -> None:
    allowed = (*_CODECS_3, *(f"numcodecs.{codec}" for codec in _CODECS))
    for codec in codecs:
        codec = {"name": codec} if isinstance(codec, str) else codec
        settings = codec.get("configuration") or {}
        _check_codec(name, codec["name"], settings, allowed)
        for nested in ("codecs", "index_codecs"):
            _check_codecs_3(name, settings.get(nested, []))


def _check_codec(name: str, codec: str, settings: Mapping[str, Any], allowed: tuple[str, ...]) -> None:
    if codec not in allowed:
        raise UnreadableError(
            f"has {name!r} stored by the codec {codec!r}. Only the usual codecs that pack or scale numbers are used, "
            "since a codec may run any code"
        )
    for key in ("dtype", "astype"):
        if key in settings and not _NUMBER.fullmatch(settings[key]):
            raise UnreadableError(f"has {name!r} stored by the codec {codec!r} of the type {settings[key]!r}")


def _metadata(
    version: int, shape: Any, chunks: Any, dtype: np.dtype, names: Any, attributes: dict[str, Any]
) -> ArrayMetadata:
    shape, chunks = (tuple(int(size) for size in sides) for sides in (shape, chunks))
    if len(shape) != len(chunks) or min(shape, default=0) < 0 or min(chunks, default=1) < 1:
        raise UnreadableError(f"has an array of {shape} in chunks of {chunks}")
    valid = isinstance(names, list) and len(names) == len(shape) and all(isinstance(name, str) for name in names)
    # Without names an array is not a field, but it does not keep others from being read.
    dimensions = tuple(names) if valid else tuple(f"dim_{number}" for number in range(len(shape)))
    return ArrayMetadata(version, shape, chunks, dtype, dimensions, attributes)
