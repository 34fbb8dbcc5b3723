"""The base class of the readers of NetCDF and Zarr, whose arrays and attributes follow the CF conventions."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from convlstm.datasets.readers.base import Contents, Reader, frame_number
from convlstm.datasets.readers.block_cache import BLOCKS, LARGEST_BLOCK
from convlstm.datasets.readers.cf.field import Field, find_field
from convlstm.datasets.readers.cf.variable import Variable
from convlstm.datasets.readers.options import check_step, check_text

import numpy as np


@dataclass(frozen=True)
class CFReader(Reader):
    """CF files: rain rates in mm/h, accumulations as rates in mm/h, reflectivities in dBZ, everything else as `"raw"`.

    The field is the variable over rows and columns that has units of rain or reflectivity. Rows and columns are
    flipped, if needed, so that the first ones are in the north and the west, and kilometres become metres. The period
    of an accumulation comes from the time's bounds, from `start_time`, from an attribute (`cell_methods` with an
    interval, `accumulation_period` and the like), or is the step between the frames.

    Args:
        variable: Name of the field. Default: the only one.
        units: Units of the field, such as `"mm/h"`, `"kg m-2"` or `"dBZ"`; `"raw"` keeps the values unchanged.
            Default: the units in the file.
        step_minutes: Period of accumulations in minutes. Default: the period in the file.
    """

    variable: str | None = None
    units: str | None = None
    step_minutes: float | None = None

    def __post_init__(self):
        check_step(self.format, self.step_minutes)
        check_text(self.format, "variable", self.variable)
        check_text(self.format, "units", self.units)

    def _open(self, path: Path) -> AbstractContextManager[Mapping[str, Variable]]:
        """Opens a file and yields its arrays by name."""
        raise NotImplementedError

    def _identity(self, path: Path) -> Any:
        """Returns a value that differs once the file has changed."""
        raise NotImplementedError

    def _contents(self, path: Path) -> Contents:
        return _field(self, path, self._identity(path)).contents

    def _read(self, path: Path, position: int) -> np.ndarray:
        identity = self._identity(path)
        field = _field(self, path, identity)
        frames = len(field.contents.times)
        position = frame_number(position, frames)

        def load(part: int | slice) -> np.ndarray:
            with self._open(path) as variables:
                return variables[field.name].read(*field.selection(part))

        if field.block > 1 and field.block * field.frame_bytes <= LARGEST_BLOCK:
            start = position - position % field.block
            chunk = slice(start, min(start + field.block, frames))
            stored = BLOCKS.get((path, identity, field.name, start), lambda: load(chunk))[position - start]
        else:
            stored = load(position)
        return field.frame(stored)


# Cached, since the frames of a file are read one after the other, after the times of all files.
@lru_cache(maxsize=1024)
def _field(reader: CFReader, path: Path, _: Any) -> Field:
    with reader._open(path) as variables:
        return find_field(
            variables,
            file_name=path.name,
            variable=reader.variable,
            units=reader.units,
            step_minutes=reader.step_minutes,
        )
