"""NetCDF files that follow the CF conventions, classic or NetCDF-4: a frame each, or stacks of time x y x x."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from convlstm.datasets.readers.base import library
from convlstm.datasets.readers.block_cache import identity
from convlstm.datasets.readers.cf.grid import projection_of_file
from convlstm.datasets.readers.cf.reader import CFReader
from convlstm.datasets.readers.cf.variable import Variable
from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.hdf5 import SIGNATURE, check_hdf5, has_scales
from convlstm.datasets.readers.kept_files import opened
from convlstm.datasets.readers.plain_files import open_plain

import numpy as np

_CLASSIC = (b"CDF\x01", b"CDF\x02", b"CDF\x05")
# The library does not allow several threads, not even with a file for each.
_LOCK = threading.RLock()


@dataclass(frozen=True)
class NetCDF(CFReader):
    """CF NetCDF, classic or NetCDF-4. `CFReader` describes its values and options."""

    format = "netcdf"
    _bytes_at_once = 1 << 19

    def _recognises(self, path: Path, head: bytes) -> bool:
        if head.startswith(_CLASSIC):
            return True
        # The other formats in HDF5 are tried before this one.
        return head.startswith(SIGNATURE) and (path.suffix.lower() in (".nc", ".nc4") or has_scales(path))

    @contextmanager
    def _open(self, path: Path) -> Iterator[Mapping[str, Variable]]:
        library("netCDF4", path)
        _check(path, identity(path))
        with _LOCK, opened(path, _File) as file:
            yield file.variables

    def _identity(self, path: Path) -> Any:
        return identity(path)


# Cached, since the frames of a file are read one after the other.
@lru_cache(maxsize=1024)
def _check(path: Path, _: tuple[int, int]) -> None:
    with open_plain(path) as file:
        head = file.read(len(SIGNATURE))
    if head.startswith(SIGNATURE):
        check_hdf5(path)
    elif not head.startswith(_CLASSIC):  # the library would open further formats
        raise UnreadableError("is not a NetCDF file")


class _File:
    """An open file, and its arrays by name."""

    def __init__(self, path: Path):
        self._dataset = library("netCDF4", path).Dataset(path)
        try:
            self._dataset.set_auto_maskandscale(False)
            own = {name: _variable(name, variable) for name, variable in self._dataset.variables.items()}
            attributes = {name: self._dataset.getncattr(name) for name in self._dataset.ncattrs()}
            self.variables = projection_of_file(attributes) | own
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        with _LOCK:
            self._dataset.close()


def _variable(name: str, variable: Any) -> Variable:
    chunks = variable.chunking()
    return Variable(
        name=name,
        dimensions=variable.dimensions,
        shape=tuple(int(size) for size in variable.shape),
        # Text has the type str and is not a field.
        dtype=np.dtype(variable.dtype) if isinstance(variable.dtype, np.dtype) else np.dtype(object),
        attributes={name: variable.getncattr(name) for name in variable.ncattrs()},
        load=lambda index: variable[index],
        chunks=tuple(chunks) if isinstance(chunks, (list, tuple)) else None,
    )
