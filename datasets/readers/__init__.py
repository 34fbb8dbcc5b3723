"""Readers of radar files: one small class for each format, and the choice among them.

A reader gives the times, the grid and the frames of a file; see :class:`Reader`. Libraries that only one format
needs are imported when a file of that format is opened.
"""

from __future__ import annotations

import zlib
from dataclasses import fields
from pathlib import Path

from convlstm.datasets.readers.arrays import Arrays
from convlstm.datasets.readers.base import NO_ECHO_DBZ, Contents, Grid, MissingLibraryError, Reader, ReadError
from convlstm.datasets.readers.fmi import FMI
from convlstm.datasets.readers.hko7 import HKO7
from convlstm.datasets.readers.knmi import KNMI
from convlstm.datasets.readers.mch import MCH
from convlstm.datasets.readers.netcdf import NetCDF
from convlstm.datasets.readers.odim import ODIM
from convlstm.datasets.readers.png import PNG
from convlstm.datasets.readers.sevir import SEVIR
from convlstm.datasets.readers.zarr_store import Zarr

__all__ = [
    "FORMATS",
    "NO_ECHO_DBZ",
    "Contents",
    "Grid",
    "MissingLibraryError",
    "ReadError",
    "Reader",
    "detect",
    "first_bytes",
    "make",
    "open_file",
]

# The particular before the general: the first that recognises a file is its reader.
_READERS = (KNMI(), ODIM(), SEVIR(), NetCDF(), MCH(), FMI(), HKO7(), Zarr(), Arrays(), PNG())
FORMATS: dict[str, Reader] = {reader.format: reader for reader in _READERS}

_HEAD = 4096


def detect(path: str | Path) -> Reader | None:
    """The reader of a file, or of a Zarr folder, by its name and first bytes; ``None`` for anything else."""
    path = Path(path)
    head = first_bytes(path)
    if head is None:
        return None
    return next((reader for reader in FORMATS.values() if reader.recognises(path, head)), None)


def make(format: str, **options) -> Reader:
    """The reader of a format with options of its own, such as ``make("png", pattern="%y%j%H%M", units="dBZ")``.

    Args:
        format: A key of :data:`FORMATS`.
        **options: Fields of that reader's class. ``None`` stands for an option's default.

    Raises:
        ValueError: If there is no such format, the format has no such option, or an option's value is refused.
    """
    if format not in FORMATS:
        raise ValueError(f"[make] 'format' must be one of {', '.join(FORMATS)} but got {format!r}.")
    kind = type(FORMATS[format])
    known = [field.name for field in fields(kind)]
    for name in options:
        if name not in known:
            raise ValueError(
                f"[make] the format {format!r} has no option {name!r}. "
                f"{'It has ' + ', '.join(known) if known else 'It has none'}."
            )
    return kind(**{name: value for name, value in options.items() if value is not None})


def open_file(path: str | Path, format: str = "auto", **options) -> tuple[Reader, Contents]:
    """The reader and the contents of one file.

    Args:
        path: A file, or the folder of a Zarr store.
        format: A key of :data:`FORMATS`, or ``"auto"`` to recognise it. Default: ``"auto"``.
        **options: As for :func:`make`.

    Raises:
        ReadError: If the file is of no known format, damaged, or not understood.
        ValueError: If ``format`` or an option is refused.
    """
    path = Path(path)
    if not path.exists():
        raise ReadError(f"[open_file] {path} does not exist.")
    if format == "auto":
        found = detect(path)
        if found is None:
            raise ReadError(f"[open_file] {path} is of none of the known formats: {', '.join(FORMATS)}.")
        format = found.format
    reader = make(format, **options)
    return reader, reader.contents(path)


def first_bytes(path: Path) -> bytes | None:
    """The first bytes of a file, unpacked if gzip packed them; ``b""`` for a folder, ``None`` if it cannot be read."""
    if path.is_dir():
        return b""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
        return zlib.decompressobj(31).decompress(head, _HEAD) if head[:2] == b"\x1f\x8b" else head
    except (OSError, zlib.error):
        return None
