"""Zarr stores that follow the CF conventions, version 2 or 3: stacks of time x y x x."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from convlstm.backend.child_main import unhurried
from convlstm.datasets.readers.base import library
from convlstm.datasets.readers.cf.grid import projection_of_file
from convlstm.datasets.readers.cf.reader import CFReader
from convlstm.datasets.readers.cf.variable import Variable
from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.zarr_metadata import ArrayMetadata, group_attributes, read_metadata, version_of
from convlstm.datasets.remote import fetch

import numpy as np

_METADATA = ("zarr.json", ".zmetadata", ".zgroup", ".zattrs", ".zarray")


@dataclass(frozen=True)
class Zarr(CFReader):
    """Zarr, a folder that counts as one file. `CFReader` describes its values and options.

    The folder may have no links. Arrays of numbers and dates are read, and codecs that only pack or scale numbers are
    used, whichever others are installed.
    """

    format = "zarr"

    def _recognises(self, path: Path, head: bytes) -> bool:
        return path.is_dir() and any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zmetadata"))

    @contextmanager
    def _open(self, path: Path) -> Iterator[Mapping[str, Variable]]:
        zarr = library("zarr", path)
        if version_of(path) == 3 and zarr.__version__.startswith("2."):
            raise UnreadableError(
                f"is of Zarr's version 3, which zarr {zarr.__version__} does not know. Use zarr 3 or later"
            )
        arrays, attributes = _checked_metadata(path, self._identity(path))
        own = {name: _variable(zarr, path, name, array) for name, array in arrays.items()}
        yield projection_of_file(attributes) | own

    def _identity(self, path: Path) -> Any:
        # An array that grows has new metadata; the store's folder itself does not change.
        folders = [path, *(child for child in path.iterdir() if child.is_dir())]
        files = (folder / name for folder in folders for name in _METADATA)
        return max((file.stat().st_mtime_ns for file in files if file.is_file()), default=0)


# Cached, since the frames of a store are read one after the other.
@lru_cache(maxsize=64)
def _checked_metadata(path: Path, _: Any) -> tuple[dict[str, ArrayMetadata], dict[str, Any]]:
    return read_metadata(path), group_attributes(path)


def _variable(zarr: Any, path: Path, name: str, array: ArrayMetadata) -> Variable:
    def load(index: Any) -> np.ndarray:
        try:
            with unhurried():
                fetch(path, name, index)
        except OSError as error:
            raise UnreadableError(str(error).rstrip(".")) from error
        # The metadata of this version has been checked; zarr must not look for another one.
        version = {} if zarr.__version__.startswith("2.") else {"zarr_format": array.version}
        return np.asarray(zarr.open_array(str(path / name), mode="r", **version)[index])

    return Variable(
        name=name,
        dimensions=array.dimensions,
        shape=array.shape,
        dtype=array.dtype,
        attributes=array.attributes,
        load=load,
        chunks=array.chunks,
    )
