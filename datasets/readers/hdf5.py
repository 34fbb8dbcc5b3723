"""What the readers of HDF5 files share: a look at the root, and attributes as plain Python values."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from convlstm.datasets.readers.base import MissingLibraryError, library

import numpy as np

_SCALES = "dimension scales"
SIGNATURE = b"\x89HDF\r\n\x1a\n"


def open_hdf5(path: Path) -> Any:
    """An ``h5py.File`` to read, a context manager. h5py lets one thread at a time into the HDF5 library."""
    return library("h5py", path).File(path, "r")


def holds(path: Path, head: bytes, names: tuple[str, ...], mark: bytes) -> bool:
    """Whether a file is HDF5 with all these names at its root.

    Without h5py, and for a damaged file, it goes by ``mark``, which files of the format have among their first bytes:
    so that what is said in the end is which library is missing, or which file is damaged.
    """
    if not head.startswith(SIGNATURE):
        return False
    try:
        return set(names) <= _root(path, identity(path))
    except (MissingLibraryError, OSError):
        return mark in head


def identity(path: Path) -> tuple[int, int]:
    """When a file was changed, and its size: what is kept of it holds for as long as these stay."""
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size


def has_scales(path: Path) -> bool:
    """Whether a file has dimensions as NetCDF-4 stores them. True, if h5py is not there to tell."""
    try:
        return _SCALES in _root(path, identity(path))
    except MissingLibraryError:
        return True


# Four formats look at the same file in turn.
@lru_cache(maxsize=16)
def _root(path: Path, _: tuple[int, int]) -> frozenset[str]:
    """The names at the root, and ``_SCALES`` if one of them is a dimension."""
    with open_hdf5(path) as file:
        names = frozenset(file)
        if any(text(item.attrs.get("CLASS", "")) == "DIMENSION_SCALE" for item in file.values()):
            return names | {_SCALES}
        return names


def text(value: Any) -> str:
    """A text attribute, of whichever kind: bytes, text, or an array of one of these."""
    value = np.ravel(value)[0]
    return value.decode("latin-1").strip() if isinstance(value, bytes) else str(value).strip()


def number(value: Any) -> float:
    """A numeric attribute, an array of one or not."""
    return float(np.ravel(value)[0])


def first(groups: list[Any], name: str, kind: Callable[[Any], Any], default: Any = None) -> Any:
    """Attribute ``name`` of the first group that has it, read by ``kind``; the more particular groups come first."""
    for group in groups:
        if name in group.attrs:
            return kind(group.attrs[name])
    return default
