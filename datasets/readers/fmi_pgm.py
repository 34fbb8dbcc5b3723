"""FMI's composites of reflectivity: PGM pictures, gzipped or not, with position and time in their comments."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from convlstm.datasets.readers.base import Contents, Reader, frame_number
from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.file_names import time_in_name
from convlstm.datasets.readers.grid import REFLECTIVITY, Grid
from convlstm.datasets.readers.limits import check_frame
from convlstm.datasets.readers.plain_files import open_plain
from convlstm.datasets.readers.projection import UnplacedError, project

import numpy as np

_MISSING = 255
_DBZ = (np.arange(256, dtype=np.float32) - 64) / 2
_DBZ[_MISSING] = np.nan
_RADIUS = 6371288  # m, of FMI's spherical earth; the files do not give it
_HEADER = 65536


@dataclass(frozen=True)
class FMI(Reader):
    """FMI PGM or PGM.gz of 8 bits: dBZ = (p - 64) / 2, 255 is missing. North is up."""

    format = "fmi_pgm"

    def _recognises(self, path: Path, head: bytes) -> bool:
        return head.startswith(b"P5") and re.search(rb"^#\s*obstime\s+\d{12}", head, re.MULTILINE) is not None

    def _contents(self, path: Path) -> Contents:
        with open_plain(path) as file:
            (width, height), comments = _header(file)
        time = time_in_name(comments.get("obstime", [""])[0])
        if time is None:
            raise UnreadableError("has no 'obstime' among its comments")
        return Contents(np.array([time]), _grid((height, width), comments))

    def _read(self, path: Path, position: int) -> np.ndarray:
        frame_number(position, 1)
        with open_plain(path) as file:
            (width, height), _ = _header(file)
            data = file.read(width * height)
        if len(data) < width * height:
            raise UnreadableError(f"is cut off: {len(data)} of its {width * height} pixels are there")
        return _DBZ[np.frombuffer(data, np.uint8)].reshape(height, width)


def _header(file: BinaryIO) -> tuple[tuple[int, int], dict[str, list[str]]]:
    """Reads up to the pixels; returns width and height, and the words of each comment by their first word."""
    numbers: list[int] = []
    comments: dict[str, list[str]] = {}
    if file.read(2) != b"P5":
        raise UnreadableError("is not a binary PGM file")
    left = _HEADER
    while len(numbers) < 3:
        line = file.readline(left)
        left -= len(line)
        if not line:
            raise UnreadableError(f"ends within its header, or has one of more than {_HEADER} bytes")
        before, _, comment = line.decode("latin-1").partition("#")
        numbers += [int(word) for word in before.split()]
        words = comment.split()
        if words:
            comments[words[0]] = words[1:]
    if len(numbers) != 3 or min(numbers) < 1 or numbers[2] > 255:
        raise UnreadableError(f"must have width, height and a maximum up to 255 but has {numbers}")
    parameter = comments.get("param", ["Reflectivity"])[0]
    if "reflectivity" not in parameter.lower():
        raise UnreadableError(f"is of {parameter!r}; reflectivities are understood")
    check_frame((numbers[1], numbers[0]))
    return (numbers[0], numbers[1]), comments


def _grid(shape: tuple[int, int], comments: dict[str, list[str]]) -> Grid:
    def numbers(name: str, count: int = 1) -> list[float]:
        return [float(word) for word in comments.get(name, [])[:count]]

    sizes = numbers("metersperpixel_y"), numbers("metersperpixel_x")
    pixel_size = (sizes[0][0], sizes[1][0]) if all(sizes) else None
    lon_0, lat_0, lat_ts = (numbers(name) for name in ("centrallongitude", "centrallatitude", "truelatitude"))
    projection = extent = None
    unplaced = ""
    if comments.get("type") == ["stereographic"] and lon_0 and lat_0 and lat_ts:
        projection = f"+proj=stere +lat_0={lat_0[0]:g} +lon_0={lon_0[0]:g} +lat_ts={lat_ts[0]:g} +R={_RADIUS} +units=m"
        try:
            if all(name in comments for name in ("bottomleft", "topright")):
                left_bottom, right_top = (project(projection, *numbers(name, 2)) for name in ("bottomleft", "topright"))
                extent = (*left_bottom, *right_top)
        except UnplacedError as error:
            projection, unplaced = None, str(error)
    return Grid(
        shape=shape,
        fields=(REFLECTIVITY,),
        pixel_size=pixel_size,
        projection=projection,
        extent=extent,
        unplaced=unplaced,
    )
