"""Helpers for readers of HDF5 files: the names at the root, and attributes as plain Python values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from convlstm.backend.hdf5 import check_self_contained
from convlstm.datasets.readers.base import library
from convlstm.datasets.readers.block_cache import identity
from convlstm.datasets.readers.errors import MissingLibraryError, UnreadableError
from convlstm.datasets.readers.kept_files import opened
from convlstm.datasets.readers.limits import check_bytes

import numpy as np

_SCALES = "dimension scales"
SIGNATURE = b"\x89HDF\r\n\x1a\n"


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """Opens a file as `h5py.File` for reading. h5py lets one thread at a time into the HDF5 library.

    Raises:
        UnreadableError: If the file refers to other files, or needs a filter that HDF5 does not have built in.
        MissingLibraryError: If h5py is not installed.
        OSError: If the file is damaged.
    """
    check_hdf5(path)
    with opened(path, _open) as file:
        yield file


def check_hdf5(path: Path) -> None:
    """Raises the errors of `open_hdf5`."""
    _root(path, identity(path))


def read_array(data: Any, *index: int) -> np.ndarray:
    """Returns the numbers of a data set, or those at indices of its first dimensions.

    Raises:
        UnreadableError: If it does not consist of numbers, or they, or a chunk of them, are too large to be read in one
            piece. Nothing is read then.
    """
    if data.dtype.kind not in "iufb":
        raise UnreadableError(f"has {data.name} of the type {data.dtype}, where numbers are expected")
    for sides in (data.shape[len(index) :], data.chunks or ()):
        product = " x ".join(map(str, sides))
        check_bytes(f"{data.name} in pieces of {product}", math.prod(map(int, sides)) * data.dtype.itemsize)
    return data[index if index else ...]


def holds(path: Path, head: bytes, names: tuple[str, ...], mark: bytes) -> bool:
    """Returns True if a file is HDF5 and has all of `names` at its root.

    Without h5py, and for a damaged or refused file, it returns True if `mark` is among the first bytes. The reader of
    the format then says that the library is missing or what is wrong with the file.
    """
    if not head.startswith(SIGNATURE):
        return False
    try:
        return set(names) <= _root(path, identity(path))
    except (MissingLibraryError, UnreadableError, OSError):
        return mark in head


def has_scales(path: Path) -> bool:
    """Returns True if a file has dimensions as NetCDF-4 stores them, is refused, or if h5py is not installed."""
    try:
        return _SCALES in _root(path, identity(path))
    except (MissingLibraryError, UnreadableError):
        return True


# Cached, since several formats look at the same file in turn, and it is opened again for its times and every frame.
@lru_cache(maxsize=1 << 14)
def _root(path: Path, _: tuple[int, int]) -> frozenset[str]:
    """Checks a file, and returns the names at its root, and `_SCALES` if one of them is a dimension."""
    with opened(path, _open) as file:
        try:
            check_self_contained(file)
        except ValueError as error:
            raise UnreadableError(str(error)) from error
        names = frozenset(file)
        return names | {_SCALES} if any(_is_scale(file.get(name)) for name in names) else names


def _open(path: Path) -> Any:
    return library("h5py", path).File(path, "r")


def _is_scale(item: Any) -> bool:
    # A link within the file may lead nowhere.
    return item is not None and text(item.attrs.get("CLASS", "")) == "DIMENSION_SCALE"


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
