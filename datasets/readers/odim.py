"""OPERA's data information model (ODIM) in HDF5: composites of reflectivity, rain rate or accumulation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from convlstm.datasets.readers.base import NO_ECHO_DBZ, Contents, Reader, frame_number, per_hour
from convlstm.datasets.readers.errors import POLAR, UnreadableError
from convlstm.datasets.readers.grid import Field as Description
from convlstm.datasets.readers.grid import Grid, field_of
from convlstm.datasets.readers.hdf5 import first, holds, number, open_hdf5, read_array, text
from convlstm.datasets.readers.options import check_text
from convlstm.datasets.readers.projection import UnplacedError, project

import numpy as np

# Quantities, in order of preference: those nearest to rain at the ground come first.
_RATES, _AMOUNTS, _REFLECTIVITIES = ("RATE",), ("ACRR",), ("DBZH", "DBZ", "TH", "DBZV", "TV")
_QUANTITIES = (*_RATES, *_AMOUNTS, *_REFLECTIVITIES)
# Objects that have a map grid: composites, and single images on a map.
_OBJECTS = ("COMP", "IMAGE", "CVOL", "ETOP")


class _Field(NamedTuple):
    """One quantity of a file: its data, the groups that describe it (the nearest first), and its units."""

    data: Any
    what: list[Any]
    where: list[Any]
    quantity: str
    units: str
    factor: float
    time: np.datetime64


@dataclass(frozen=True)
class ODIM(Reader):
    """ODIM HDF5 composites: value = gain p + offset; `nodata` is missing, `undetect` is no rain or -32 dBZ.

    Rates and accumulations are in mm/h, reflectivities in dBZ. The time of an accumulation is its end, and its rate is
    over the time from its start; everything else has the file's nominal time.

    Args:
        variable: Quantity to read, such as `"DBZH"`. Default: the first of RATE, ACRR, DBZH, DBZ, TH, DBZV and TV that
            the file has.

    Source: Michelson et al. (2021), EUMETNET OPERA weather radar information model for implementation with the HDF5
    file format, version 2.4.
    """

    format = "odim"

    variable: str | None = None

    def __post_init__(self):
        check_text(self.format, "variable", self.variable)

    def _recognises(self, path: Path, head: bytes) -> bool:
        return holds(path, head, ("what", "where", "dataset1"), b"ODIM")

    def _contents(self, path: Path) -> Contents:
        with open_hdf5(path) as file:
            field = self._field(file)
            return Contents(np.array([field.time]), _grid(field))

    def _read(self, path: Path, position: int) -> np.ndarray:
        frame_number(position, 1)
        with open_hdf5(path) as file:
            field = self._field(file)
            gain, offset = first(field.what, "gain", number, 1.0), first(field.what, "offset", number, 0.0)
            pixels = read_array(field.data)
            values = pixels * np.float32(gain * field.factor) + np.float32(offset * field.factor)
            # In this order, so that a code with both meanings is missing.
            undetect, nodata = first(field.what, "undetect", number), first(field.what, "nodata", number)
            if undetect is not None:
                values[pixels == undetect] = NO_ECHO_DBZ if field.units == "dBZ" else 0
            if nodata is not None:
                values[pixels == nodata] = np.nan
            return values

    def _field(self, file: Any) -> _Field:
        kind = first([file["what"]], "object", text, "COMP")
        if kind not in _OBJECTS:
            raise UnreadableError(f"holds an object {kind!r}, not a composite. {POLAR}")
        quantities: dict[str, tuple[Any, list[Any], list[Any]]] = {}
        for dataset in _numbered(file, "dataset"):
            for data in _numbered(dataset, "data"):
                above = [data, dataset, file]
                what, where = ([group[name] for group in above if name in group] for name in ("what", "where"))
                quantities.setdefault(first(what, "quantity", text, "?"), (data["data"], what, where))
        wanted = _QUANTITIES if self.variable is None else (self.variable,)
        quantity = next((name for name in wanted if name in quantities), None)
        if quantity is None:
            raise UnreadableError(
                f"has the quantities {', '.join(quantities) or 'none'} but none of {', '.join(wanted)}"
            )
        data, what, where = quantities[quantity]
        # The nominal time belongs to the whole file.
        nominal = _time(what[::-1], "")
        if quantity in _RATES:
            return _Field(data, what, where, quantity, "mm/h", 1.0, nominal)
        if quantity not in _AMOUNTS:
            units = "dBZ" if quantity in _REFLECTIVITIES else "raw"
            return _Field(data, what, where, quantity, units, 1.0, nominal)
        start, end = _time(what, "start"), _time(what, "end")
        return _Field(data, what, where, quantity, "mm/h", per_hour(start, end), end)


def _numbered(group: Any, name: str) -> list[Any]:
    """Returns the groups name1, name2, ... of a group, in this order."""
    numbers = sorted(int(key[len(name) :]) for key in group if key.startswith(name) and key[len(name) :].isdigit())
    return [group[f"{name}{number}"] for number in numbers]


def _time(groups: list[Any], which: str) -> np.datetime64:
    """Returns the time of a date 20240131 and a clock 235500; `which` is `""`, `"start"` or `"end"`."""
    date, clock = (first(groups, f"{which}{part}", text) for part in ("date", "time"))
    if date is None or clock is None:
        raise UnreadableError(f"has no '{which}date' or no '{which}time'")
    day = f"{date[:4]}-{date[4:6]}-{date[6:8]}"
    return np.datetime64(f"{day}T{clock[:2]}:{clock[2:4]}:{clock[4:6] or '00'}", "s")


def _grid(field: _Field) -> Grid:
    height, width = (int(side) for side in field.data.shape)
    dy, dx = first(field.where, "yscale", number), first(field.where, "xscale", number)
    projection = first(field.where, "projdef", text)
    degrees = projection is not None and any(word in projection for word in ("+proj=longlat", "+proj=latlong"))
    left_bottom, right_top = (
        [first(field.where, f"{corner}_{axis}", number) for axis in ("lon", "lat")] for corner in ("LL", "UR")
    )
    extent, unplaced = None, ""
    if None not in (dy, dx, *left_bottom):
        try:
            extent = _extent(projection, left_bottom, right_top, (height * dy, width * dx), max(dx, dy))
        except UnplacedError as error:
            projection, unplaced = None, str(error)
    return Grid(
        shape=(height, width),
        fields=(_named(field),),
        pixel_size=None if dy is None or dx is None else (dy, dx),
        pixel_units="deg" if degrees else "m",
        projection=projection,
        extent=extent,
        unplaced=unplaced,
    )


def _named(field: _Field) -> Description:
    """Returns the description of a quantity."""
    if field.units == "raw":
        return Description(field.quantity, "raw")
    source = f"mm in {60 / field.factor:g} min" if field.quantity in _AMOUNTS else ""
    return replace(field_of(field.units), file_units=source)


def _extent(
    projection: str | None, left_bottom: list[float], right_top: list[Any], size: tuple[float, float], pixel: float
) -> tuple[float, float, float, float]:
    """Returns the outer edges of a frame from the corners of its outer pixels and its height and width."""
    height, width = size
    # The corners are rounded, and the edges of most maps are whole numbers.
    left, bottom = (_rounded(value, pixel) for value in project(projection, *left_bottom))
    right, top = left + width, bottom + height
    if None not in right_top:
        x, y = project(projection, *right_top)
        if max(abs(x - right), abs(y - top)) > pixel / 2:
            raise UnplacedError(
                f"its corners are {x - left:.6g} and {y - bottom:.6g} apart in its projection, but its pixels cover "
                f"{width:.6g} and {height:.6g}"
            )
    return left, bottom, right, top


def _rounded(value: float, pixel: float) -> float:
    """Returns a whole multiple of a thousandth of a pixel, if the value is within a hundredth of that, else it."""
    step = pixel / 1000
    return round(value / step) * step if abs(value / step - round(value / step)) < 0.01 else value
