"""Zarr stores that follow the CF conventions, version 2 or 3: stacks of time x y x x."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convlstm.datasets.readers.base import UnreadableError, library
from convlstm.datasets.readers.cf.reader import CFReader
from convlstm.datasets.readers.cf.variable import Variable

import numpy as np

_METADATA = ("zarr.json", ".zmetadata", ".zgroup", ".zattrs", ".zarray")


@dataclass(frozen=True)
class Zarr(CFReader):
    """Zarr, a folder that counts as one file. `CFReader` describes its values and options."""

    format = "zarr"

    def _recognises(self, path: Path, head: bytes) -> bool:
        return path.is_dir() and any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zmetadata"))

    @contextmanager
    def _open(self, path: Path) -> Iterator[Mapping[str, Variable]]:
        zarr = library("zarr", path)
        if (path / "zarr.json").is_file() and zarr.__version__.startswith("2."):
            raise UnreadableError(
                f"is of Zarr's version 3, which zarr {zarr.__version__} does not know. Use zarr 3 or later"
            )
        group = zarr.open_group(str(path), mode="r")
        yield {name: _variable(array) for name, array in group.arrays()}

    def _identity(self, path: Path) -> Any:
        # An array that grows has new metadata; the store's folder itself does not change.
        folders = [path, *(child for child in path.iterdir() if child.is_dir())]
        files = (folder / name for folder in folders for name in _METADATA)
        return max((file.stat().st_mtime_ns for file in files if file.is_file()), default=0)


def _variable(array: Any) -> Variable:
    attributes = dict(array.attrs)
    dimensions = attributes.pop("_ARRAY_DIMENSIONS", None)
    if dimensions is None:
        dimensions = getattr(array.metadata, "dimension_names", None) if hasattr(array, "metadata") else None
    if dimensions is None:
        # Without names an array is not a field, but it does not keep others from being read.
        dimensions = [f"dim_{number}" for number in range(array.ndim)]
    # Version 2 stores the code of missing values as the value of unwritten chunks. 0 is the default there, not a code:
    # it means no rain.
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
