"""Helpers for readers of HDF5 files: the names at the root, and attributes as plain Python values."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from convlstm.datasets.readers.base import library
from convlstm.datasets.readers.block_cache import identity
from convlstm.datasets.readers.errors import MissingLibraryError

import numpy as np

_SCALES = "dimension scales"
SIGNATURE = b"\x89HDF\r\n\x1a\n"


def open_hdf5(path: Path) -> Any:
    """Returns an `h5py.File` for reading, a context manager. h5py lets one thread at a time into the HDF5 library."""
    return library("h5py", path).File(path, "r")


def holds(path: Path, head: bytes, names: tuple[str, ...], mark: bytes) -> bool:
    """Returns True if a file is HDF5 and has all of `names` at its root.

    Without h5py, and for a damaged file, it returns True if `mark` is among the first bytes. The reader of the format
    then says that the library is missing or that the file is damaged.
    """
    if not head.startswith(SIGNATURE):
        return False
    try:
        return set(names) <= _root(path, identity(path))
    except (MissingLibraryError, OSError):
        return mark in head


def has_scales(path: Path) -> bool:
    """Returns True if a file has dimensions as NetCDF-4 stores them, or if h5py is not installed."""
    try:
        return _SCALES in _root(path, identity(path))
    except MissingLibraryError:
        return True


# Cached, since four formats look at the same file in turn.
@lru_cache(maxsize=16)
def _root(path: Path, _: tuple[int, int]) -> frozenset[str]:
    """Returns the names at the root, and `_SCALES` if one of them is a dimension."""
    with open_hdf5(path) as file:
        names = frozenset(file)
        if any(text(item.attrs.get("CLASS", "")) == "DIMENSION_SCALE" for item in file.values()):
            return names | {_SCALES}
        return names


def text(value: Any) -> str:
    """Returns a text attribute as str. It may be bytes, text, or an array of one of these."""
    value = np.ravel(value)[0]
    return value.decode("latin-1").strip() if isinstance(value, bytes) else str(value).strip()


def number(value: Any) -> float:
    """Returns a numeric attribute as float. It may be an array of one."""
    return float(np.ravel(value)[0])


def first(groups: list[Any], name: str, kind: Callable[[Any], Any], default: Any = None) -> Any:
    """Returns attribute `name` of the first group that has it, read by `kind`, else `default`."""
    for group in groups:
        if name in group.attrs:
            return kind(group.attrs[name])
    return default
