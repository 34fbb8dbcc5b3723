"""The base class of the readers of NetCDF and Zarr, whose arrays and attributes follow the CF conventions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from convlstm.datasets.readers.base import Contents, Reader, frame_number
from convlstm.datasets.readers.block_cache import BLOCKS, LARGEST_BLOCK
from convlstm.datasets.readers.cf.differences import SINCE
from convlstm.datasets.readers.cf.field import Sources, find_sources
from convlstm.datasets.readers.cf.source import Source
from convlstm.datasets.readers.cf.variable import Variable
from convlstm.datasets.readers.kept_files import keeps_open
from convlstm.datasets.readers.options import check_step, frozen_names, frozen_numbers, frozen_select, frozen_units

import numpy as np


@dataclass(frozen=True)
class CFReader(Reader):
    """CF files: rain rates in mm/h, accumulations as rates in mm/h, reflectivities in dBZ, everything else as it is.

    Rain is what its name, standard name or long name calls rain. The field is the only one of rain, else the only one
    of the file; a file with several others is refused, unless `variable` names those to read. Dimensions may come in
    any order. Rows and columns are flipped, if needed, so that the first ones are in the north and the west, and
    kilometres become metres. The period of an accumulation comes from the time's bounds, from `start_time`, from an
    attribute (`cell_methods` with an interval, `accumulation_period` and the like), or is the step between the frames;
    its time is its end. All other frames have the time in the file.

    Args:
        variable: Name of the field, or names of several, which become channels (H, W, C). Default: the only one.
        units: Units of the field, such as `"mm/h"`, `"kg m-2"` or `"dBZ"`, by name if there are several fields;
            `"raw"` keeps the values unchanged. Default: the units in the file.
        step_minutes: Period of accumulations in minutes. Default: the period in the file.
        select: Position to read of further dimensions, by the value of its coordinate: `{level: 500}`. A dimension
            without coordinates takes the number of the position. Without a choice of `expver`, of ERA5's two versions
            the final one counts, and the preliminary one where it has no value. Default: none.
        accumulated: `"since_start"` or `"since_midnight"` for sums since the start of a forecast, or since 0 UTC of
            each day: the frames are the differences from one time to the next. Those of rain become rates; falls of up
            to 0.1 mm, the rounding of packed numbers, are none. Default: sums have periods of their own.
        missing: Stored number, or numbers, that mean missing, such as -9999, if the file does not say so. Default:
            those that the file names.
        timeless: If True, a file without times has one frame, of 1970-01-01: for fixed fields. Default: False.
    """

    variable: str | Sequence[str] | None = None
    units: str | Mapping[str, str] | None = None
    step_minutes: float | None = None
    select: Mapping[str, Any] | None = None
    accumulated: str | None = None
    missing: float | Sequence[float] | None = None
    timeless: bool = False

    # Bytes of small frames to read at once; 0 unless opening takes long and `_identity` tells of every change.
    _bytes_at_once: ClassVar[int] = 0

    def __post_init__(self):
        check_step(self.format, self.step_minutes)
        if not isinstance(self.timeless, bool):
            raise ValueError(f"[{self.format}] 'timeless' must be True or False but got {self.timeless!r}.")
        # Readers are keys of caches.
        object.__setattr__(self, "variable", frozen_names(self.format, self.variable))
        object.__setattr__(self, "units", frozen_units(self.format, self.units))
        object.__setattr__(self, "select", frozen_select(self.format, self.select))
        object.__setattr__(self, "missing", frozen_numbers(self.format, "missing", self.missing))
        if self.accumulated is not None and self.accumulated not in SINCE:
            raise ValueError(
                f"[{self.format}] 'accumulated' must be {' or '.join(SINCE)} but got {self.accumulated!r}."
            )

    def _open(self, path: Path) -> AbstractContextManager[Mapping[str, Variable]]:
        """Opens a file and yields its arrays by name."""
        raise NotImplementedError

    def _identity(self, path: Path) -> Any:
        """Returns a value that differs once the file has changed."""
        raise NotImplementedError

    def _contents(self, path: Path) -> Contents:
        return _sources(self, path, self._identity(path)).contents

    def _read(self, path: Path, position: int) -> np.ndarray:
        identity = self._identity(path)
        contents, sources = _sources(self, path, identity)
        position = frame_number(position, len(contents.times))
        channels = [self._channel(path, identity, source, position) for source in sources]
        return channels[0] if len(channels) == 1 else np.stack(channels, axis=-1)

    def _channel(self, path: Path, identity: Any, source: Source, position: int) -> np.ndarray:
        return source.frame(lambda number: self._stored(path, identity, source, number), position)

    def _stored(self, path: Path, identity: Any, source: Source, position: int) -> np.ndarray:
        """Returns the stored numbers of a frame in the file."""

        def load(part: int | slice) -> np.ndarray:
            with self._open(path) as variables:
                variable = variables[source.name]
                stored = variable.read(*source.axes.selection(variable, part))
                return stored.transpose(source.axes.order(variable, part))

        def part_of(block: int) -> np.ndarray:
            if block == 1:
                return load(position)
            start = position - position % block
            chunk = slice(start, min(start + block, source.frames))
            key = (path, identity, source.name, tuple(source.axes.fixed.items()), start, block)
            return BLOCKS.get(key, lambda: load(chunk))[position - start]

        block, blocks = _blocks_of(source, self._bytes_at_once) if source.axes.frames else (1, 1)
        try:
            return part_of(block * blocks)
        except Exception:  # libraries raise anything for damaged files; others may be damaged, and not this frame
            if blocks == 1:
                raise
            return part_of(block)


def _blocks_of(source: Source, bytes_at_once: int) -> tuple[int, int]:
    """Returns the number of frames in a block, and the number of blocks to read at once."""
    size = source.block * source.frame_bytes
    if size > LARGEST_BLOCK:
        return 1, 1
    # Opening costs nothing in a file that is kept open, and a frame that ends the process must not end it for others.
    return source.block, 1 if keeps_open() else max(1, bytes_at_once // max(size, 1))


# Cached, since the frames of a file are read one after the other, after the times of all files.
@lru_cache(maxsize=1024)
def _sources(reader: CFReader, path: Path, _: Any) -> Sources:
    names, units = reader.variable, reader.units
    with reader._open(path) as variables:
        return find_sources(
            variables,
            file_name=path.name,
            names=() if names is None else (names,) if isinstance(names, str) else names,
            units=dict(units) if isinstance(units, tuple) else units,  # type: ignore[arg-type]
            step_minutes=reader.step_minutes,
            select=dict(reader.select or ()),
            accumulated=reader.accumulated,
            missing=reader.missing or (),  # type: ignore[arg-type]
            timeless=reader.timeless,
        )
