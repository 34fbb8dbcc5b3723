"""Polar volumes and sweeps in CfRadial: recognised, and refused with the programs that grid them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from convlstm.datasets.readers.base import Contents, Reader
from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.hdf5 import SIGNATURE, holds
from convlstm.datasets.readers.plain_files import open_plain

import numpy as np

_CFRADIAL = (b"azimuth", b"elevation", b"range", b"sweep_mode")
_CLASSIC = (b"CDF\x01", b"CDF\x02", b"CDF\x05")
_SEARCHED = 1 << 16


@dataclass(frozen=True)
class Polar(Reader):
    """Polar scans of a single radar in CfRadial, which have no grid of rows and columns: they are refused."""

    format = "polar"

    def _recognises(self, path: Path, head: bytes) -> bool:
        if head.startswith(SIGNATURE):
            return holds(path, head, ("azimuth", "elevation", "range", "sweep_mode"), b"CF/Radial")
        if not head.startswith(_CLASSIC):
            return False
        with open_plain(path) as file:
            start = file.read(_SEARCHED)
        return all(name in start for name in _CFRADIAL)

    def _contents(self, path: Path) -> Contents:
        self._refuse()

    def _read(self, path: Path, position: int) -> np.ndarray:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise UnreadableError(
            "is a polar scan of a single radar: rays and ranges, not rows and columns. Grid it first, by xradar and "
            "wradlib (docs.wradlib.org: wradlib.comp.togrid) or Py-ART (pyart.map.grid_from_radars), and write it as "
            "NetCDF"
        )
