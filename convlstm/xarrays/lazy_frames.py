"""Arrays of xarray whose values are the frames of an archive, read when they are asked for.

This module imports xarray, so it is imported only where that is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convlstm.backend.child_pool import Hold
from convlstm.datasets.archives.files import RadarFiles
from convlstm.datasets.readers import Grid

import numpy as np
from xarray.backends import BackendArray
from xarray.backends.locks import SerializableLock
from xarray.core import indexing


class ArchiveFrames:
    """The frames of an archive by their number. Threads may share them, and they can be pickled.

    Args:
        files: The files of the archive, whose format is known.
        grid: Grid of all frames.
        paths: Paths of the files.
        file: Number of each frame's file, (F,).
        position: Position of each frame in its file, (F,).
    """

    def __init__(self, files: RadarFiles, grid: Grid, paths: Sequence[Path], file: np.ndarray, position: np.ndarray):
        self._files, self._grid, self._paths = files, grid, list(paths)
        self._file, self._position = file, position
        self._lock = SerializableLock()
        self._last: tuple[int, np.ndarray | None] = (-1, None)
        self._hold = Hold()  # the process that reads one frame reads the next one, too

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_hold", "_last")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _hold=Hold(), _last=(-1, None))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number, height and width of the frames."""
        return len(self._file), self._grid.shape[0], self._grid.shape[1]

    def frame(self, number: int) -> np.ndarray:
        """Returns a frame, (H, W, C), float32 in physical units, NaN where missing.

        Raises:
            ReadError: The file can no longer be read.
        """
        with self._lock:
            # The fields of a frame are asked for one after the other.
            last, frame = self._last
            if frame is None or last != number:
                path = self._paths[int(self._file[number])]
                frame = self._files.frame(path, int(self._position[number]), self._grid)
                frame = frame if frame.ndim == 3 else frame[..., None]
                self._last = (number, frame)
            return frame


class LazyField(BackendArray):
    """One field of all frames, (F, H, W) float32, whose parts xarray asks for.

    Args:
        frames: The frames.
        channel: Number of the field.
    """

    def __init__(self, frames: ArchiveFrames, channel: int):
        self._frames, self._channel = frames, channel
        self.shape, self.dtype = frames.shape, np.dtype(np.float32)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._part)

    def _part(self, key: tuple[Any, ...]) -> np.ndarray:
        return _part(self._frames, self._channel, key)


def _part(frames: ArchiveFrames, channel: int, key: tuple[Any, ...]) -> np.ndarray:
    """Returns the values at an index of each axis: a number, a slice, or an array of numbers."""
    times, rows, columns = key
    wanted = np.arange(frames.shape[0])[times]
    sides = [np.arange(size)[index] for size, index in zip(frames.shape[1:], (rows, columns), strict=True)]
    mesh = np.ix_(*(np.atleast_1d(side) for side in sides))
    shape = tuple(size for side in sides for size in side.shape)
    numbers = np.atleast_1d(wanted).tolist()
    values = np.empty((len(numbers), *(len(np.atleast_1d(side)) for side in sides)), np.float32)
    for n, number in enumerate(numbers):
        values[n] = frames.frame(number)[..., channel][mesh]
    return values.reshape((*wanted.shape, *shape))
