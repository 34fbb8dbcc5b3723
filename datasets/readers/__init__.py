"""Readers of radar files, one class for each format, and the table of formats.

A new format takes a file in this folder, with a subclass of `Reader`, and two lines here: its import and its place in
the table. Libraries that only one format needs are imported when a file of that format is opened.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

from convlstm.datasets.readers.base import NO_ECHO_DBZ, Contents, Reader
from convlstm.datasets.readers.errors import MissingLibraryError, ReadError, UnreadableError
from convlstm.datasets.readers.fmi_pgm import FMI
from convlstm.datasets.readers.geotiff import GeoTIFF
from convlstm.datasets.readers.grib import GRIB
from convlstm.datasets.readers.grid import Coordinate, Field, Grid, Layout
from convlstm.datasets.readers.hko7_png import HKO7
from convlstm.datasets.readers.imerg import IMERG
from convlstm.datasets.readers.knmi import KNMI
from convlstm.datasets.readers.mch_gif import MCH
from convlstm.datasets.readers.meteonet import MeteoNet
from convlstm.datasets.readers.netcdf import NetCDF
from convlstm.datasets.readers.nimrod import Nimrod
from convlstm.datasets.readers.numpy_files import NumPyFiles
from convlstm.datasets.readers.odim import ODIM
from convlstm.datasets.readers.packed import first_of, is_packed
from convlstm.datasets.readers.plain_files import open_plain
from convlstm.datasets.readers.png import PNG
from convlstm.datasets.readers.polar import Polar
from convlstm.datasets.readers.pysteps_importer import PystepsImporter
from convlstm.datasets.readers.radolan import RADOLAN
from convlstm.datasets.readers.sevir import SEVIR
from convlstm.datasets.readers.zarr_store import Zarr

__all__ = [
    "FORMATS",
    "NO_ECHO_DBZ",
    "Contents",
    "Coordinate",
    "Field",
    "Grid",
    "Layout",
    "MissingLibraryError",
    "ReadError",
    "Reader",
    "first_bytes",
    "make_reader",
    "recognise",
]

# The first reader that recognises a file reads it: the particular formats come before the general ones.
_READERS = (
    *(KNMI(), Polar(), ODIM(), SEVIR(), IMERG(), NetCDF(), GRIB(), GeoTIFF(), MCH(), FMI(), RADOLAN(), Nimrod()),
    *(PystepsImporter(), HKO7(), Zarr(), MeteoNet(), NumPyFiles(), PNG()),
)
FORMATS: dict[str, Reader] = {reader.format: reader for reader in _READERS}

_HEAD = 4096


def recognise(path: str | Path, readers: Iterable[Reader] | None = None) -> Reader | None:
    """Returns the first reader that recognises a file or a Zarr folder, by its name and first bytes, or None.

    In a .gz, .bz2 or .tar, it is that of the first file within that is recognised.

    Args:
        path: A file or a folder.
        readers: The readers to try. Default: one of each format, in the order of `FORMATS`.
    """
    readers = list(FORMATS.values() if readers is None else readers)

    def search(path: Path) -> Reader | None:
        head = first_bytes(path)
        return None if head is None else next((reader for reader in readers if reader.recognises(path, head)), None)

    return first_of(Path(path), search) if is_packed(Path(path)) else search(Path(path))


def make_reader(format: str, **options) -> Reader:
    """Returns the reader of a format with options, as in `make_reader("png", pattern="%y%j%H%M", units="dBZ")`.

    Args:
        format: A key of `FORMATS`.
        **options: Fields of that reader's class. None stands for an option's default.

    Raises:
        ValueError: If there is no such format, the format has no such option, or an option's value is refused.
    """
    if not isinstance(format, str) or format not in FORMATS:
        raise ValueError(f"[make_reader] 'format' must be one of {', '.join(FORMATS)} but got {format!r}.")
    kind = type(FORMATS[format])
    known = [field.name for field in fields(kind)]
    for name in options:
        if name not in known:
            raise ValueError(
                f"[make_reader] the format {format!r} has no option {name!r}. "
                f"{'It has ' + ', '.join(known) if known else 'It has none'}."
            )
    return kind(**{name: value for name, value in options.items() if value is not None})


def first_bytes(path: Path) -> bytes | None:
    """Returns the first bytes of a plain file, unpacked if it is gzipped; `b""` for a folder, None if it has none."""
    if path.is_dir():
        return b""
    try:
        with open_plain(path) as file:
            head = file.read(_HEAD)
        return zlib.decompressobj(31).decompress(head, _HEAD) if head[:2] == b"\x1f\x8b" else head
    except (OSError, UnreadableError, zlib.error):
        return None
