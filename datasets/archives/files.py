"""The radar files of a folder: their format, and their frames in physical units."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from convlstm.datasets import arguments
from convlstm.datasets.archives.frame_statistics import cleaned
from convlstm.datasets.archives.stored_frame import from_reader, stored_frame
from convlstm.datasets.readers import FORMATS, Contents, Grid, Reader, elsewhere, make_reader
from convlstm.datasets.readers.errors import UnreadableError, printable
from convlstm.datasets.readers.plain_files import check_plain
from convlstm.datasets.transforms import rain_rate

import numpy as np


class Problem(NamedTuple):
    """A file or a frame that is not used, and the reason."""

    name: str
    reason: str

    def __str__(self) -> str:
        return printable(f"{self.name}: {self.reason}")


class RadarFiles:
    """The radar files of a folder, a single file or a Zarr store, which are all of one format.

    `format` is `""` until the format of the files is known; `choose` sets it.

    Args:
        owner: Class that reads the files, for messages.
        path: Folder, with all its subfolders, or file.
        format: A key of `convlstm.datasets.readers.FORMATS`, or `"auto"`: the most common format of the files.
        options: Options of the reader.
        zr: `(a, b)` of the Z-R relation Z = a R^b, for reflectivity.
        apart: Read frames in another process, since nobody has read these files before. Default: False.

    Attributes:
        path: The folder or file.
        zr: `(a, b)` as floats.
        named: True if the format was named, that is, is not `"auto"`.
        readers: The readers of the formats to look for.
        refused: Errors of the readers that have these options but refuse their values.

    Raises:
        FileNotFoundError: If nothing exists at `path`.
        ValueError: If an argument is refused.
    """

    def __init__(
        self,
        owner: str,
        path: Path,
        format: str,
        options: Mapping[str, Any] | None,
        zr: Sequence[float],
        *,
        apart: bool = False,
    ):
        if not path.exists():
            raise FileNotFoundError(f"[{owner}] {path} does not exist. Check the path.")
        self.path, self.named, self._apart = path, format != "auto", apart
        self.readers, self.refused = _readers(owner, format, arguments.options(owner, "options", options))
        self.zr = _relation(owner, zr)
        self._reader: Reader | None = None

    @property
    def format(self) -> str:
        """The format of the files, or `""` if it is not known yet."""
        return "" if self._reader is None else self._reader.format

    @property
    def reader(self) -> Reader:
        """The reader of the files."""
        assert self._reader is not None
        return self._reader

    def choose(self, format: str) -> None:
        """Sets the format of the files."""
        self._reader = next(reader for reader in self.readers if reader.format == format)

    def find(self) -> Iterator[Path]:
        """Yields all files in the order of their names. A Zarr store counts as a file."""
        if self.path.is_file() or self._is_store(self.path):
            yield self.path
            return
        seen = set()
        for root, folders, names in os.walk(self.path, followlinks=True):
            stat = Path(root).stat()
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            if (stat.st_dev, stat.st_ino) in seen:  # a link to a folder above
                folders.clear()
                continue
            seen.add((stat.st_dev, stat.st_ino))
            stores = [name for name in folders if self._is_store(Path(root, name))]
            folders[:] = [name for name in folders if name not in stores]
            yield from (Path(root, name) for name in sorted([*names, *stores]) if not name.startswith("."))

    def format_of(self, path: Path) -> str:
        """Returns the format of a file, or `""` if no reader recognises it.

        Raises:
            ReadError: If a library crashes at this file, or takes too long.
        """
        return elsewhere.format_of(path, self.readers)

    def contents(self, path: Path) -> Contents:
        """Returns the times and the grid of a file.

        Raises:
            ReadError: If the file cannot be read.
        """
        return elsewhere.contents(path, self.reader)

    def reason_of(self, path: Path) -> str:
        """Returns the reason why no reader recognises a file that should be one of the others' format."""
        try:
            check_plain(path)
        except (UnreadableError, OSError) as error:
            return str(error)
        return f"not recognised as {self.format}; it may be cut off"

    def frame(self, path: Path, position: int, grid: Grid, coarsen: int = 1) -> np.ndarray:
        """Returns frame `position` of a file, (H // coarsen, W // coarsen), NaN where missing.

        The values are in the units of the fields' `physical`, and several fields are channels along a last axis.
        Values that are impossible count as missing; `coarse` describes `coarsen`.

        Raises:
            ReadError: If the file cannot be read, or the frame has another shape than `grid`.
        """
        read = elsewhere.read if self._apart else from_reader
        frame = stored_frame(path, position, self.reader, grid.frame_shape, read)
        return coarse(self.physical(frame, grid.kinds), coarsen)

    def physical(self, frame: np.ndarray, kinds: Sequence[str]) -> np.ndarray:
        """Returns a stored frame, (H, W) or (H, W, C), in physical units. The frame may be returned unchanged.

        Args:
            frame: The frame as its reader returned it.
            kinds: Treatment of each field's values, as in `convlstm.datasets.archives.frame_statistics.measure`.
        """
        if frame.ndim == 2:
            return self._field(frame, kinds[0])
        return np.stack([self._field(frame[..., n], kind) for n, kind in enumerate(kinds)], axis=-1)

    def _field(self, values: np.ndarray, kind: str) -> np.ndarray:
        possible = cleaned(values, kind)
        return rain_rate(possible, *self.zr) if kind == "dBZ" else possible

    def _is_store(self, folder: Path) -> bool:
        return any(reader.recognises(folder, b"") for reader in self.readers)


def stamp(path: Path) -> tuple[int, int]:
    """Returns the size of a file and its time of change in ns. A folder counts with all files in it."""
    stats = [path.stat()]
    if path.is_dir():
        stats = [Path(root, name).stat() for root, _, names in os.walk(path) for name in names]
    return sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)


def coarse(frame: np.ndarray, k: int) -> np.ndarray:
    """Returns the means of the known pixels of squares of k x k, (H, W[, C]) -> (H // k, W // k[, C]).

    A square of which fewer than half of the pixels are known is missing. Rows in the south and columns in the east that
    fill no square are cut off.
    """
    if k == 1:
        return frame
    height, width = (side // k for side in frame.shape[:2])
    squares = frame[: height * k, : width * k].reshape(height, k, width, k, *frame.shape[2:])
    count = np.count_nonzero(~np.isnan(squares), axis=(1, 3))
    total = np.nansum(squares, axis=(1, 3), dtype=np.float32)
    return np.where(2 * count >= k * k, total / np.maximum(count, 1).astype(np.float32), np.float32(np.nan))


def _readers(owner: str, format: str, options: Mapping[str, Any]) -> tuple[list[Reader], list[ValueError]]:
    """Returns the readers to try, with the options, and errors; for `"auto"` those that have all of these options."""
    if format != "auto":
        return [make_reader(format, **options)], []
    known = {name: [field.name for field in fields(reader)] for name, reader in FORMATS.items()}
    fitting = [name for name, names in known.items() if set(options) <= set(names)]
    if not fitting:
        listed = "; ".join(f"{name}: {', '.join(names)}" for name, names in known.items() if names)
        raise ValueError(f"[{owner}] the reader's 'options' {dict(options)} fit no format. They are {listed}.")
    readers: list[Reader] = []
    refused: list[ValueError] = []
    for name in fitting:
        try:
            readers.append(make_reader(name, **options))
        except ValueError as error:  # the value may be one of another format
            refused.append(error)
    if not readers:
        raise refused[-1]
    return readers, refused


def _relation(owner: str, value: Sequence[float]) -> tuple[float, float]:
    numbers = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
    if len(numbers) != 2 or not all(arguments.is_number(n) and 0 < n < math.inf for n in numbers):
        raise ValueError(f"[{owner}] 'zr' must be two positive numbers (a, b) of Z = a R^b but got {value!r}.")
    return float(numbers[0]), float(numbers[1])
