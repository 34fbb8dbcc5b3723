"""Zarr stores that keep the CF conventions, version 2 or 3: stacks of time x y x x, a chunk per frame at best."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convlstm.datasets.readers.base import UnreadableError, library
from convlstm.datasets.readers.cf_reader import CFReader
from convlstm.datasets.readers.cf_variable import Variable

import numpy as np

_METADATA = ("zarr.json", ".zmetadata", ".zgroup", ".zattrs", ".zarray")


@dataclass(frozen=True)
class Zarr(CFReader):
    """Zarr, a folder that counts as one file; what becomes of its values, and the options: :class:`CFReader`."""

    format = "zarr"

    def _recognises(self, path: Path, head: bytes) -> bool:
        return path.is_dir() and any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zmetadata"))

    @contextmanager
    def _open(self, path: Path) -> Iterator[Mapping[str, Variable]]:
        zarr = library("zarr", path)
        if (path / "zarr.json").is_file() and zarr.__version__.startswith("2."):
            raise UnreadableError(
                f"is of Zarr's version 3, which zarr {zarr.__version__} does not know: use zarr 3 or later"
            )
        group = zarr.open_group(str(path), mode="r")
        yield {name: _variable(array) for name, array in group.arrays()}

    def _identity(self, path: Path) -> Any:
        # An array that grows has new metadata; the store's folder stays as it was.
        places = [path, *(child for child in path.iterdir() if child.is_dir())]
        files = (place / name for place in places for name in _METADATA)
        return max((file.stat().st_mtime_ns for file in files if file.is_file()), default=0)


def _variable(array: Any) -> Variable:
    attributes = dict(array.attrs)
    dimensions = attributes.pop("_ARRAY_DIMENSIONS", None)
    if dimensions is None:
        dimensions = getattr(array.metadata, "dimension_names", None) if hasattr(array, "metadata") else None
    if dimensions is None:
        # Without names an array is none of the fields, but no obstacle to the others.
        dimensions = [f"dim_{number}" for number in range(array.ndim)]
    # Version 2 keeps the code of missing values as what unwritten chunks are filled with; 0 there is no such code but
    # the default, and no rain.
    version_2 = getattr(getattr(array, "metadata", None), "zarr_format", 2) == 2
    if version_2 and "_FillValue" not in attributes and array.fill_value:
        attributes["_FillValue"] = array.fill_value
    return Variable(
        dimensions=tuple(dimensions),
        shape=tuple(array.shape),
        dtype=np.dtype(array.dtype),
        attributes=attributes,
        load=lambda index: array[index],
        chunks=tuple(array.chunks),
    )
