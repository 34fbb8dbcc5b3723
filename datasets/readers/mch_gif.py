"""MeteoSwiss AQC rain maps: GIF pictures whose colour numbers stand for accumulations."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from convlstm.datasets.readers.base import Contents, Reader, frame_number
from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.grid import RAIN_RATE, Grid
from convlstm.datasets.readers.plain_files import open_plain
from convlstm.datasets.readers.png import pixels_of

import numpy as np

# Year of the century, day of the year, hour and minute; minutes of accumulation.
_NAME = re.compile(r"AQC(\d{2})(\d{3})(\d{4}).?_(\d{5})\.")
_COMMENT = re.compile(rb"PRDT=AQC(\d{2})(\d{3})(\d{4}).{0,80}?ACCUm=0*(\d+)", re.DOTALL)
_SHAPE = (640, 710)
# The Swiss grid of 1903.
_PROJECTION = (
    "+proj=somerc +lat_0=46.9524055555556 +lon_0=7.43958333333333 +k_0=1 +x_0=600000 +y_0=200000 +ellps=bessel "
    "+towgs84=674.374,15.056,405.346,0,0,0,0 +units=m +no_defs"
)


def _millimetres() -> np.ndarray:
    """Returns mm in a map's period for each colour number: reflectivity in steps of 1/2 dBZ, Z = 316 R^1.5."""
    number = np.arange(256)
    amount = (10 ** ((number - 71.5) / 20) / 316) ** (1 / 1.5)
    amount[(number < 2) | (number > 250)] = 0
    amount[255] = np.nan
    return amount


@dataclass(frozen=True)
class MCH(Reader):
    """MeteoSwiss AQC GIF of 640 x 710 pixels of 1 km: mm in the map's period, as a rate in mm/h.

    The time and the period are in the name, AQCyydddHHMM?_000PP.*.gif, or in the picture's comment.
    """

    format = "mch_gif"

    def _recognises(self, path: Path, head: bytes) -> bool:
        return head.startswith((b"GIF87a", b"GIF89a")) and bool(_NAME.match(path.name) or _COMMENT.search(head))

    def _contents(self, path: Path) -> Contents:
        time, _ = _time(path)
        with open_plain(path) as file:
            head = file.read(10)
        if not head.startswith(b"GIF8") or len(head) < 10:
            raise UnreadableError("is not a GIF file")
        shape = int.from_bytes(head[8:10], "little"), int.from_bytes(head[6:8], "little")
        if shape != _SHAPE:
            return Contents(np.array([time]), Grid(shape=shape, fields=(RAIN_RATE,)))
        grid = Grid(
            shape=shape,
            fields=(RAIN_RATE,),
            pixel_size=(1000.0, 1000.0),
            projection=_PROJECTION,
            extent=(255000.0, -160000.0, 965000.0, 480000.0),
        )
        return Contents(np.array([time]), grid)

    def _read(self, path: Path, position: int) -> np.ndarray:
        frame_number(position, 1)
        _, minutes = _time(path)
        return (_millimetres() * (60 / minutes)).astype(np.float32)[pixels_of(path, "GIF")]


def _time(path: Path) -> tuple[np.datetime64, int]:
    """Returns the end of the accumulation, and its minutes."""
    named = _NAME.match(path.name)
    if named is not None:
        parts = named.groups()
    else:
        with open_plain(path) as file:
            comment = _COMMENT.search(file.read(4096))
        if comment is None:
            raise UnreadableError("has no time of AQC in its name or its comment")
        parts = tuple(part.decode() for part in comment.groups())
    year, day, clock, minutes = parts
    if int(minutes) == 0:
        raise UnreadableError("must be of an accumulation but is of 0 minutes")
    return np.datetime64(datetime.strptime(f"20{year}{day}{clock}", "%Y%j%H%M"), "s"), int(minutes)
