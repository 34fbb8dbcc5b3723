"""One frame of a file as it is stored, with a check of its shape."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from convlstm.datasets.readers import Reader, ReadError

import numpy as np


def from_reader(path: Path, position: int, reader: Reader) -> np.ndarray:
    """Returns frame `position` of a file, which its reader reads in this process."""
    return reader.read(path, position)


def stored_frame(
    path: Path,
    position: int,
    reader: Reader,
    shape: tuple[int, ...],
    read: Callable[[Path, int, Reader], np.ndarray] = from_reader,
) -> np.ndarray:
    """Returns frame `position` of a file as stored: (H, W) float32 in the file's units, NaN where missing.

    Raises:
        ReadError: If the file cannot be read, or the frame has another shape.
    """
    frame = read(path, position, reader)
    if frame.shape != shape:
        raise ReadError(f"[{reader.format}] {path} has a frame of {frame.shape} instead of {shape}.")
    return frame
