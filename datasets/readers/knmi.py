"""KNMI's HDF5 image files: accumulations or reflectivities of the Dutch radar composite."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from convlstm.datasets.readers.base import Contents, Reader, frame_number, per_hour
from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.grid import Grid, field_of
from convlstm.datasets.readers.hdf5 import first, holds, number, open_hdf5, read_array, text

import numpy as np

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_NUMBER = r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?"
_FORMULA = re.compile(rf"\s*GEO\s*=\s*({_NUMBER})\s*\*\s*PV\s*(?:([-+])\s*(\d*\.?\d+(?:[eE][-+]?\d+)?))?\s*")
_METRES = {"KM": ("m", 1000.0), "M": ("m", 1.0), "DEG": ("deg", 1.0)}


@dataclass(frozen=True)
class KNMI(Reader):
    """KNMI HDF5 (`image1/image_data` with its calibration): one frame, in mm of the file's period or in dBZ.

    The rate is the accumulation divided by the time from `product_datetime_start` to `product_datetime_end`.
    """

    format = "knmi"

    def _recognises(self, path: Path, head: bytes) -> bool:
        return holds(path, head, ("image1", "geographic", "overview"), b"image1")

    def _contents(self, path: Path) -> Contents:
        with open_hdf5(path) as file:
            units, _ = _units(file)
            end = _time(text(file["overview"].attrs["product_datetime_end"]))
            shape = file["image1/image_data"].shape
            if len(shape) != 2:
                raise UnreadableError(f"must have an image of rows and columns but has {shape}")
            return Contents(np.array([end]), _grid(file["geographic"], shape, units))

    def _read(self, path: Path, position: int) -> np.ndarray:
        frame_number(position, 1)
        with open_hdf5(path) as file:
            units, factor = _units(file)
            calibration = file["image1/calibration"].attrs
            slope, constant = _line(text(calibration["calibration_formulas"]))
            pixels = read_array(file["image1/image_data"])
            values = pixels * np.float32(slope * factor) + np.float32(constant * factor)
            for name in ("calibration_missing_data", "calibration_out_of_image"):
                code = number(calibration[name]) if name in calibration else None
                # Reflectivities also list their lowest code as missing, but it means that there was no echo.
                if code is not None and not (units == "dBZ" and code == 0):
                    values[pixels == code] = np.nan
            return values if _north_first(file["geographic"]) else values[::-1]


def _units(file: Any) -> tuple[str, float]:
    """Returns the units of the frame, and the factor that converts calibrated values to them."""
    parameter = text(file["image1"].attrs["image_geo_parameter"])
    unit = parameter[parameter.rfind("[") + 1 :].rstrip("]").upper()
    if unit == "DBZ":
        return "dBZ", 1.0
    if unit == "MM/H":
        return "mm/h", 1.0
    if unit != "MM":
        raise UnreadableError(f"is of {parameter!r}, which is not in [MM], [MM/H] or [DBZ]")
    overview = file["overview"].attrs
    start, end = (_time(text(overview[f"product_datetime_{which}"])) for which in ("start", "end"))
    return "mm/h", per_hour(start, end)


def _line(formula: str) -> tuple[float, float]:
    """Returns slope and constant of a formula such as GEO=0.01*PV+0.0, which is parsed and never run."""
    match = _FORMULA.fullmatch(formula[:200])
    if match is None:
        raise UnreadableError(f"has the calibration {formula!r}, which is not GEO=a*PV+b")
    slope, sign, constant = match.groups()
    return float(slope), float((sign or "") + (constant or "0"))


def _time(stamp: str) -> np.datetime64:
    """Returns the time of a stamp such as 26-AUG-2010;00:05:00.000."""
    # Without strptime, which knows months in the user's language only.
    day, month, year, hour, minute, second = re.split(r"[-;:]", stamp)
    date = datetime(int(year), _MONTHS.index(month.upper()) + 1, int(day), int(hour), int(minute), int(float(second)))
    return np.datetime64(date, "s")


def _north_first(geographic: Any) -> bool:
    return number(geographic.attrs["geo_pixel_size_y"]) < 0


def _grid(geographic: Any, shape: tuple[int, int], units: str) -> Grid:
    attributes = geographic.attrs
    pixel_units, metres = _METRES[first([geographic], "geo_dim_pixel", text, "KM").split(",")[0].upper()]
    width, height = (abs(number(attributes[f"geo_pixel_size_{axis}"])) * metres for axis in "xy")
    left = number(attributes["geo_column_offset"]) * width
    # Rows count from the projection's origin in the direction of the pixels, which is down for a negative size.
    edge = number(attributes["geo_row_offset"]) * height
    bottom = -edge - shape[0] * height if _north_first(geographic) else edge
    projection = None
    if "map_projection" in geographic:
        projection = first([geographic["map_projection"]], "projection_proj4_params", text)
    return Grid(
        shape=(int(shape[0]), int(shape[1])),
        fields=(field_of(units),),
        pixel_size=(height, width),
        pixel_units=pixel_units,
        projection=projection and _in_metres(projection),
        extent=(left, bottom, left + shape[1] * width, bottom + shape[0] * height),
    )


def _in_metres(projection: str) -> str:
    """Returns the projection with its axes in metres; KNMI may give them in kilometres."""
    projection = projection[:1000]
    radius = re.search(r"\+a=([\d.]+)", projection)
    if radius is None or float(radius.group(1)) > 1e5:
        return projection
    return re.sub(
        rf"\+(a|b|x_0|y_0)=({_NUMBER})", lambda match: f"+{match[1]}={float(match[2]) * 1000:.10g}", projection
    )
