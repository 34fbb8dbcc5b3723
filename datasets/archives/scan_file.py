"""Reading of one file for the index of its archive, in another process, which imports as little as possible."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from convlstm.datasets.archives.files import stored_frame
from convlstm.datasets.archives.frame_statistics import measure
from convlstm.datasets.readers import MissingLibraryError, Reader, ReadError, recognise
from convlstm.datasets.readers.hdf5 import keep_open
from convlstm.datasets.readers.jobs import to_record


def scan_file(
    path: Path, readers: Sequence[Reader], format: str, zr: tuple[float, float], recognised: bool
) -> Iterator[Any]:
    """Yields the format of a file. If it is `format`, then the contents, and of each frame a problem or statistics."""
    with keep_open():
        reader = reader_of(readers, format) if recognised else recognise(path, readers)
        yield "" if reader is None else reader.format
        if reader is None or reader.format != format:
            return
        contents = reader.contents(path)
        yield to_record(contents)
        grid = contents.grid
        yield from scan_frames(path, reader, grid.frame_shape, grid.kinds, zr, 0, len(contents.times))


def scan_frames(
    path: Path,
    reader: Reader,
    shape: Sequence[int],
    kinds: Sequence[str],
    zr: tuple[float, float],
    start: int,
    count: int,
) -> Iterator[Any]:
    """Yields a problem, or `""`, and the statistics of each frame from `start` on."""
    for position in range(start, start + count):
        try:
            frame = stored_frame(path, position, reader, tuple(shape))
        except MissingLibraryError:
            raise
        except ReadError as error:
            yield str(error), ()
        else:
            yield "", measure(frame, kinds, zr)


def reader_of(readers: Sequence[Reader], format: str) -> Reader | None:
    """Returns the reader of a format, or None."""
    return next((reader for reader in readers if reader.format == format), None)
