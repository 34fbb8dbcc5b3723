"""NetCDF files that keep the CF conventions, classic or NetCDF-4: a frame each, or stacks of time x y x x."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convlstm.datasets.readers.base import library
from convlstm.datasets.readers.cf_reader import CFReader
from convlstm.datasets.readers.cf_variable import Variable
from convlstm.datasets.readers.hdf5 import SIGNATURE, has_scales, identity

import numpy as np

_CLASSIC = (b"CDF\x01", b"CDF\x02", b"CDF\x05")
# The library is not made for several threads, not even with a file for each.
_LOCK = threading.RLock()


@dataclass(frozen=True)
class NetCDF(CFReader):
    """CF NetCDF, classic or NetCDF-4; what becomes of its values, and the options: :class:`CFReader`."""

    format = "netcdf"

    def _recognises(self, path: Path, head: bytes) -> bool:
        if head.startswith(_CLASSIC):
            return True
        # What else is in HDF5 has been recognised before this.
        return head.startswith(SIGNATURE) and (path.suffix.lower() in (".nc", ".nc4") or has_scales(path))

    @contextmanager
    def _open(self, path: Path) -> Iterator[Mapping[str, Variable]]:
        netcdf = library("netCDF4", path)
        with _LOCK, netcdf.Dataset(path) as dataset:
            dataset.set_auto_maskandscale(False)
            yield {name: _variable(variable) for name, variable in dataset.variables.items()}

    def _identity(self, path: Path) -> Any:
        return identity(path)


def _variable(variable: Any) -> Variable:
    chunks = variable.chunking()
    return Variable(
        dimensions=variable.dimensions,
        shape=tuple(int(size) for size in variable.shape),
        # Text has the type str, and is no field.
        dtype=np.dtype(variable.dtype) if isinstance(variable.dtype, np.dtype) else np.dtype(object),
        attributes={name: variable.getncattr(name) for name in variable.ncattrs()},
        load=lambda index: variable[index],
        chunks=tuple(chunks) if isinstance(chunks, (list, tuple)) else None,
    )
