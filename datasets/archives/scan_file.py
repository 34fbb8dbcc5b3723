"""Reading of one file for the index of its archive, in another process, which imports as little as possible."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from convlstm.datasets.archives.frame_statistics import measure
from convlstm.datasets.archives.stored_frame import stored_frame
from convlstm.datasets.readers import MissingLibraryError, Reader, ReadError, recognise
from convlstm.datasets.readers.jobs import to_record
from convlstm.datasets.readers.kept_files import keep_open

import numpy as np

_VALUE = np.dtype(np.float32).itemsize


def scan_file(
    path: Path, readers: Sequence[Reader], format: str, zr: tuple[float, float], recognised: bool, room: int
) -> Iterator[Any]:
    """Yields the format of a file. If it is `format`, then the contents, and the values of `scan_frames`.

    The values have the frames if all frames of the file together are at most `room` bytes.
    """
    with keep_open():
        reader = reader_of(readers, format) if recognised else recognise(path, readers)
        yield "" if reader is None else reader.format
        if reader is None or reader.format != format:
            return
        contents = reader.contents(path)
        yield to_record(contents)
        grid, frames = contents.grid, len(contents.times)
        with_frames = frames * math.prod(grid.frame_shape) * _VALUE <= room
        yield from scan_frames(path, reader, grid.frame_shape, grid.kinds, zr, 0, frames, with_frames)


def scan_frames(
    path: Path,
    reader: Reader,
    shape: Sequence[int],
    kinds: Sequence[str],
    zr: tuple[float, float],
    start: int,
    count: int,
    with_frames: bool,
) -> Iterator[Any]:
    """Yields of each frame from `start` on a problem, or `""`, the statistics, and the frame or, by default, None."""
    for position in range(start, start + count):
        try:
            frame = stored_frame(path, position, reader, tuple(shape))
        except MissingLibraryError:
            raise
        except ReadError as error:
            yield str(error), (), None
        else:
            yield "", measure(frame, kinds, zr), frame if with_frames else None


def reader_of(readers: Sequence[Reader], format: str) -> Reader | None:
    """Returns the reader of a format, or None."""
    return next((reader for reader in readers if reader.format == format), None)
