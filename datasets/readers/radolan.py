"""RADOLAN's binary composites of the German Weather Service (DWD).

An own reader, since the format is a line of text and an array. Its values, times and coordinates agree with those of
wradlib, which brings SciPy, xarray and a dozen others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from convlstm.datasets.readers.base import Contents, Reader, frame_number
from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.grid import RAIN_RATE, REFLECTIVITY, Field, Grid
from convlstm.datasets.readers.limits import check_frame
from convlstm.datasets.readers.plain_files import open_plain

import numpy as np

# Product, time DDHHMM, number of the radar or 10000 for a composite, MMYY, and the length of the file.
_HEADER = re.compile(rb"([A-Z%][A-Z0-9])(\d{6})(\d{5})(\d{4})BY *(\d+)")
_LONGEST = 4096
_PICTURES = ("RX", "EX", "WX")  # 8 bits
_REFLECTIVITIES = (*_PICTURES, "WN")
_OTHERS = {
    "RE": Field("solid_fraction", "1", "", "fraction of solid precipitation"),
    "%M": Field("precipitation_anomaly", "1", "", "precipitation relative to the mean of 30 years"),
}
_OTHERS["%J"] = _OTHERS["%Y"] = _OTHERS["%M"]
# Sums of hours, days or months, in mm; all others are of the interval in the header.
_HOURS = {"SH": 12, "SQ": 6, "SF": 24, "W1": 24 * 7, "W2": 24 * 14, "W3": 24 * 21, "W4": 24 * 28}
_NO_DATA, _NEGATIVE, _CLUTTER, _NUMBER = 0x2000, 0x4000, 0x8000, 0x0FFF
_PIXEL = 1000.0
# The grids by rows and columns: columns to the west, and rows to the south, of a point that all of them share.
_GRIDS = {(900, 900): (450, 450), (1100, 900): (370, 550), (1200, 1100): (470, 600), (1500, 1400): (600, 800)}
_STEREOGRAPHIC = "+proj=stere +lat_0=90 +lat_ts=60 +lon_0=10 {} +units=m +no_defs"
# The projection and that point in m: format 5 has changed from the sphere to the ellipsoid (DWD, 2022, Radarkomposits -
# Projektionen und Gitter, 1.01).
_SPHERE = (_STEREOGRAPHIC.format("+R=6370040"), -73462.16692185635, -4208644.724265574)
_ELLIPSOID = (_STEREOGRAPHIC.format("+datum=WGS84"), -73696.83521777776, -4222088.861931134)
_ELLIPSOID_SINCE = 5


class _Header(NamedTuple):
    """The header of a file: `start` is the first byte of the pixels, `interval` and `lead` are in minutes."""

    version: int
    product: str
    time: np.datetime64
    shape: tuple[int, int]
    precision: float
    interval: float | None
    lead: int
    start: int


@dataclass(frozen=True)
class RADOLAN(Reader):
    """RADOLAN binary composites (RW, RY, YW, RX, WN, RV, RE, SF and others): rain in mm/h, reflectivity in dBZ.

    The amount of rain is divided by its interval: 5 minutes for RY, an hour for RW, a day for SF. A frame of a forecast
    has its valid time. Pixels without data, and those that are flagged as clutter, are missing.

    Source: DWD (2022), RADOLAN/RADVOR high-resolution precipitation analysis and forecasting, composite format 2.5.
    """

    format = "radolan"

    def _recognises(self, path: Path, head: bytes) -> bool:
        return _HEADER.match(head) is not None and b"\x03" in head

    def _contents(self, path: Path) -> Contents:
        header = _header(path)
        time = header.time + np.timedelta64(header.lead, "m")
        return Contents(np.array([time]), _grid(header, _field(header)))

    def _read(self, path: Path, position: int) -> np.ndarray:
        frame_number(position, 1)
        header = _header(path)
        dtype = np.dtype(np.uint8 if header.product in _PICTURES else "<u2")
        height, width = header.shape
        with open_plain(path) as file:
            file.seek(header.start)
            data = file.read(height * width * dtype.itemsize)
        if len(data) < height * width * dtype.itemsize:
            raise UnreadableError(f"is cut off: {len(data):,} of {height * width * dtype.itemsize:,} bytes are there")
        # The first row is the southern one.
        numbers: Any = np.frombuffer(data, dtype).reshape(height, width)[::-1]
        if header.product in _PICTURES:
            values, missing = numbers / np.float32(2) - np.float32(32.5), numbers >= 249
        else:
            missing = (numbers & (_NO_DATA | _CLUTTER)) != 0
            values = (numbers & _NUMBER).astype(np.float32)
            values[(numbers & _NEGATIVE) > 0] *= -1
            values *= np.float32(header.precision * _factor(header))
            if header.product in _REFLECTIVITIES:
                values = values / 2 - np.float32(32.5)
        values[missing] = np.nan
        return values


def _header(path: Path) -> _Header:
    with open_plain(path) as file:
        head = file.read(_LONGEST)
    match, end = _HEADER.match(head), head.find(b"\x03")
    if match is None or end < 0:
        raise UnreadableError("has no header of a RADOLAN composite")
    product, moment, radar, month = (text.decode("ascii") for text in match.groups()[:4])
    text = head[match.end() : end].decode("latin-1").split("MS")[0]
    if radar != "10000":
        raise UnreadableError(f"is of the single radar {radar}. Only composites are read")
    size = re.search(r"GP *(\d+)x *(\d+)", text)
    if size is None:
        raise UnreadableError(f"is the RADOLAN product {product}, which has no grid in its header and is not read")
    shape = (int(size[1]), int(size[2]))
    check_frame(shape)
    patterns = (r"VS *(\d+)", r"VV *(\d+)", r"PR *E([+-]\d\d)", r"INT *(\d+)(U\d)?")
    version, lead, precision, interval = (re.search(pattern, text) for pattern in patterns)
    minutes = None
    if interval is not None:
        minutes = int(interval[1]) * (1440.0 if interval[2] == "U1" else 1.0)
    day, clock = moment[:2], f"{moment[2:4]}:{moment[4:]}"
    return _Header(
        int(version[1]) if version else 0,
        product,
        np.datetime64(f"20{month[2:]}-{month[:2]}-{day}T{clock}", "s"),
        shape,
        10.0 ** int(precision[1]) if precision else 1.0,
        minutes,
        int(lead[1]) if lead else 0,
        end + 1,
    )


def _field(header: _Header) -> Field:
    if header.product in _REFLECTIVITIES:
        return REFLECTIVITY
    if header.product in _OTHERS:
        return _OTHERS[header.product]
    minutes = _minutes(header)
    return Field("rain_rate", "mm/h", RAIN_RATE.standard_name, RAIN_RATE.long_name, f"mm in {minutes:g} min", True)


def _minutes(header: _Header) -> float:
    minutes = 60.0 * _HOURS[header.product] if header.product in _HOURS else header.interval
    if not minutes:
        raise UnreadableError(f"is the RADOLAN product {header.product}, whose period is not in its header")
    return minutes


def _factor(header: _Header) -> float:
    """Returns the factor from the numbers, after the precision, to the units of the field."""
    is_rain = header.product not in _REFLECTIVITIES and header.product not in _OTHERS
    return 60.0 / _minutes(header) if is_rain else 1.0


def _grid(header: _Header, field: Field) -> Grid:
    grid = Grid(shape=header.shape, fields=(field,), pixel_size=(_PIXEL, _PIXEL))
    if header.shape not in _GRIDS:
        return replace(grid, pixel_size=None, unplaced=f"no composite of {header.shape} pixels is known")
    columns, rows = _GRIDS[header.shape]
    projection, x, y = _ELLIPSOID if header.version >= _ELLIPSOID_SINCE else _SPHERE
    left, bottom = x - columns * _PIXEL, y - rows * _PIXEL
    height, width = header.shape
    return replace(grid, projection=projection, extent=(left, bottom, left + width * _PIXEL, bottom + height * _PIXEL))
