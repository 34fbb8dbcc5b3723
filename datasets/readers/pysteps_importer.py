"""Files that an importer of pysteps reads, one frame each with the time in its name."""

from __future__ import annotations

import contextlib
import io
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convlstm.datasets.readers.base import Contents, Reader, frame_number, library
from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.file_names import check_pattern, time_in_name
from convlstm.datasets.readers.grid import RAIN_RATE, REFLECTIVITY, Field, Grid
from convlstm.datasets.readers.options import check_text, frozen_arguments

import numpy as np

# Metres of pysteps' units of coordinates.
_METRES = {"m": 1.0, "km": 1000.0}
_importing = threading.Lock()


@dataclass(frozen=True)
class PystepsImporter(Reader):
    """A file that an importer of pysteps reads: rain in mm/h or mm, which becomes a rate, or reflectivity in dBZ.

    Without the option `importer` no file is recognised. The time is in the file's name. The importer opens the file
    itself, without the guards of the other readers, so it is for files that you trust. A file is decoded once for its
    grid and again for its frame.

    Args:
        importer: Name of the importer in `pysteps.io.get_method(importer, "importer")`, those of plugins included.
            Default: none.
        arguments: Its arguments by name: numbers, texts, True and False. Default: none.
        pattern: strptime pattern of the time in the name, found anywhere in it. Default: 12 or 14 digits.
    """

    format = "pysteps"

    importer: str | None = None
    arguments: tuple[tuple[str, Any], ...] | None = None
    pattern: str | None = None

    def __post_init__(self):
        check_text(self.format, "importer", self.importer)
        check_pattern(self.format, self.pattern)
        # The class is frozen, but nobody has seen this object yet.
        object.__setattr__(self, "arguments", frozen_arguments(self.format, "arguments", self.arguments))

    def _recognises(self, path: Path, head: bytes) -> bool:
        return self.importer is not None and bool(head) and time_in_name(path.name, self.pattern) is not None

    def _contents(self, path: Path) -> Contents:
        time = time_in_name(path.name, self.pattern)
        if time is None:
            raise UnreadableError("has no time in its name: give its pattern, such as reader.pattern=%Y%m%d%H%M")
        values, metadata = self._imported(path)
        return Contents(np.array([time]), _grid(values.shape, metadata))

    def _read(self, path: Path, position: int) -> np.ndarray:
        frame_number(position, 1)
        values, metadata = self._imported(path)
        if _field(metadata).kind == "mm/h":
            zero = values == metadata.get("zerovalue")
            factor = 60 / float(metadata["accutime"]) if metadata["unit"] == "mm" else 1.0
            values = np.where(zero, 0, values * factor)
        return values[::-1] if metadata.get("yorigin") == "lower" else values

    def _imported(self, path: Path) -> tuple[np.ndarray, Mapping[str, Any]]:
        """Returns what the importer makes of a file."""
        if self.importer is None:
            raise UnreadableError("needs the name of an importer: reader.importer=NAME")
        pysteps = _pysteps(path)
        try:
            method = pysteps.io.get_method(self.importer, "importer")
        except ValueError as error:
            raise UnreadableError(f"cannot be read: pysteps has no importer {self.importer!r}") from error
        values, _, metadata = method(str(path), **dict(self.arguments or ()))
        if values.ndim != 2:
            raise UnreadableError(f"must have frames of rows and columns but pysteps returns {values.shape}")
        _field(metadata)
        return values, metadata


def _pysteps(path: Path) -> Any:
    """Imports pysteps, which prints where its settings are."""
    if "pysteps" in sys.modules:
        return library("pysteps", path)
    with _importing, contextlib.redirect_stdout(io.StringIO()):
        return library("pysteps", path)


def _field(metadata: Mapping[str, Any]) -> Field:
    """Returns the field of an importer's values, or raises UnreadableError if it is neither rain nor reflectivity."""
    unit, transform = metadata.get("unit"), metadata.get("transform")
    if unit == "dBZ" and transform in (None, "dB"):
        return REFLECTIVITY
    if unit == "mm/h" and transform is None:
        return RAIN_RATE
    if unit == "mm" and transform is None and float(metadata.get("accutime") or 0) > 0:
        minutes = float(metadata["accutime"])
        return replace(RAIN_RATE, file_units=f"mm in {minutes:g} min", minutes=minutes)
    raise UnreadableError(
        f"must be rain in mm/h, in mm over a period, or reflectivity in dBZ, but pysteps says unit {unit!r}, transform "
        f"{transform!r} and accutime {metadata.get('accutime')!r}"
    )


def _grid(shape: tuple[int, ...], metadata: Mapping[str, Any]) -> Grid:
    """Returns the grid of an importer's metadata; its place only if coordinates are in metres, as PROJ has them."""
    grid = Grid(shape=(shape[0], shape[1]), fields=(_field(metadata),))
    metres = _METRES.get(str(metadata.get("cartesian_unit")))
    if metres is None or not {"ypixelsize", "xpixelsize"} <= set(metadata):
        return grid
    height, width = (float(metadata[name]) * metres for name in ("ypixelsize", "xpixelsize"))
    grid = replace(grid, pixel_size=(height, width))
    if metres != 1 or not {"x1", "y1", "x2", "y2"} <= set(metadata) or not metadata.get("projection"):
        return grid
    x1, y1, x2, y2 = (float(metadata[name]) for name in ("x1", "y1", "x2", "y2"))
    return replace(grid, projection=str(metadata["projection"]), extent=(x1, y1, x2, y2))
