"""The description of a file's frames: their fields, their size, and their place on the earth."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np


@dataclass(frozen=True)
class Field:
    """A quantity that has a value for each pixel.

    Args:
        name: Name of the variable in the file; for formats without names that of the quantity, such as `"rain_rate"`.
        units: Units of the values that a reader returns: `"mm/h"` or `"dBZ"` for rain, else the units in the file, or
            `"raw"` if it gives none.
        standard_name: Name in the conventions for climate and forecast metadata. Default: unknown.
        long_name: Description in the file. Default: unknown.
        file_units: Units in the file if they are others, such as `"kg m-2 in 10 min"`. Default: the same.
        is_rain: True for rain rates and radar reflectivities. Default: False.
        remark: What else is to be known of the values, such as how two versions of the data were merged. Default: "".
        minutes: Period of a sum in the file, or the usual one of several. Default: 0, not a sum.
    """

    name: str
    units: str
    standard_name: str = ""
    long_name: str = ""
    file_units: str = ""
    is_rain: bool = False
    remark: str = ""
    minutes: float = 0.0

    @property
    def kind(self) -> str:
        """Treatment of the values: `"mm/h"`, `"dBZ"`, or `"raw"` for everything that is not rain."""
        return self.units if self.is_rain else "raw"

    @property
    def physical(self) -> Field:
        """The field after reflectivity has become rain rate."""
        if self.kind != "dBZ":
            return self
        return replace(RAIN_RATE, file_units=self.file_units or self.units, remark=self.remark)

    def describe(self) -> dict[str, Any]:
        """Returns a record for JSON, without a remark and a period if there are none."""
        record = asdict(self)
        return {key: value for key, value in record.items() if value or key not in ("remark", "minutes")}

    def __str__(self) -> str:
        described = self.long_name or self.standard_name.replace("_", " ")
        made = f" from {self.file_units}" if self.file_units else ""
        # A description that repeats the name says nothing.
        about = f"{described}, " if described.lower().replace(" ", "_") != self.name.lower() and described else ""
        return f"{self.name}: {about}{self.units}{made}" + (f" ({self.remark})" if self.remark else "")


RAIN_RATE = Field("rain_rate", "mm/h", "lwe_precipitation_rate", "rain rate", is_rain=True)
REFLECTIVITY = Field(
    "reflectivity", "dBZ", "equivalent_reflectivity_factor", "equivalent reflectivity factor", is_rain=True
)


def field_of(units: str) -> Field:
    """Returns the field of a format without names: rain rate for `"mm/h"`, reflectivity for `"dBZ"`."""
    return {"mm/h": RAIN_RATE, "dBZ": REFLECTIVITY}.get(units, Field("field", units))


@dataclass(frozen=True, eq=False)
class Coordinate:
    """Coordinates as a file has them, or its grid mapping, to be written again value for value.

    Equal ones share their memory if they are made by `Coordinate.of`; comparisons cost no pass over the values.

    Args:
        name: Name of the variable.
        dimensions: Names of its dimensions: those of the grid or one of them, or none for a grid mapping.
        values: Its values, in the order of the frames: the northern row first.
        attributes: Its attributes, numbers, texts and lists of numbers.
        digest: Digest of all of these.
    """

    name: str
    dimensions: tuple[str, ...]
    values: np.ndarray
    attributes: Mapping[str, Any]
    digest: str

    @classmethod
    def of(
        cls, name: str, dimensions: Sequence[str], values: np.ndarray, attributes: Mapping[str, Any] | None = None
    ) -> Coordinate:
        """Returns the coordinate, the same object for the same contents."""
        # NumPy makes a row of a single number.
        values = np.ascontiguousarray(values).reshape(np.shape(values) if dimensions else ())
        about = json.dumps([name, list(dimensions), values.dtype.str, values.shape, dict(attributes or {})])
        digest = hashlib.sha256(about.encode() + values.tobytes()).hexdigest()
        known = _SHARED.get(digest)
        if known is None:
            values = values.copy()
            values.flags.writeable = False
            # A local name, since the table alone keeps nothing alive.
            known = _SHARED[digest] = cls(name, tuple(dimensions), values, dict(attributes or {}), digest)
        return known

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Coordinate) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __reduce__(self) -> tuple[Any, ...]:
        return Coordinate.of, (self.name, self.dimensions, self.values, self.attributes)

    @property
    def is_longitude(self) -> bool:
        """True if the values are longitudes, which go round."""
        units, name = str(self.attributes.get("units", "")), self.attributes.get("standard_name", "")
        return name in ("longitude", "grid_longitude") or units.lower() in ("degrees_east", "degree_east", "degrees_e")

    def part(self, cuts: Mapping[str, slice], coarsen: int) -> Coordinate:
        """Returns the coordinates of a part of the grid, after means over `coarsen` values along each dimension.

        Args:
            cuts: Part of each dimension, in the means.
            coarsen: Number of values in a mean; those that are left over at the end are cut off.
        """
        values = self.values
        if coarsen > 1:
            for axis in range(values.ndim):
                values = _means(values, axis, coarsen, 360.0 if self.is_longitude else None)
        values = values[tuple(cuts[name] for name in self.dimensions)]
        return (
            self
            if values.shape == self.values.shape
            else Coordinate.of(self.name, self.dimensions, values.astype(self.values.dtype), self.attributes)
        )


# Length of a degree of latitude, and least ratio of the sides of pixels that count as one size.
_KM_A_DEGREE, _ALIKE = 111.195, 0.75

_SHARED: WeakValueDictionary[str, Coordinate] = WeakValueDictionary()


class Layout(NamedTuple):
    """The properties that all frames of a series share: rows and columns, and the units of the files."""

    shape: tuple[int, int]
    units: str

    def __str__(self) -> str:
        return f"{self.shape[0]} x {self.shape[1]} {self.units}"


@dataclass(frozen=True)
class Grid:
    """The size and the place of a frame, and the fields of its values.

    Args:
        shape: Rows and columns. Row 0 is the northern row, whatever the order in the file.
        fields: The field of the values, or several, which are the channels of a frame.
        pixel_size: Height and width of a pixel in `pixel_units`, or None if the file does not give them.
        pixel_units: `"m"`, or `"deg"` for a grid of latitudes and longitudes. Default: `"m"`.
        projection: PROJ string or WKT; its coordinates are in `pixel_units`. Default: None, also if the file has only
            the parameters of a grid mapping, which `coordinates` contain.
        extent: Outer edges `(x_min, y_min, x_max, y_max)` in coordinates of the projection. Default: None.
        dimensions: Names of the dimensions of rows and columns. Default: `("y", "x")`.
        coordinates: Coordinates and grid mapping of the file, if it has them as variables. Default: none.
        unplaced: Reason why the place is unknown although the file gives it, with the remedy. Default: none.
    """

    shape: tuple[int, int]
    fields: tuple[Field, ...]
    pixel_size: tuple[float, float] | None = None
    pixel_units: str = "m"
    projection: str | None = None
    extent: tuple[float, float, float, float] | None = None
    dimensions: tuple[str, str] = ("y", "x")
    coordinates: tuple[Coordinate, ...] = ()
    unplaced: str = ""

    @property
    def layout(self) -> Layout:
        """The shape and the fields, which frames of one series must share."""
        named = len(self.fields) > 1 or (self.fields[0].kind == "raw" and self.fields[0].units != "raw")
        units = ", ".join(f"{field.name} in {field.units}" if named else field.units for field in self.fields)
        return Layout((self.shape[0], self.shape[1]), units)

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of a frame: (H, W) for one field, (H, W, C) for several."""
        return self.shape if len(self.fields) == 1 else (*self.shape, len(self.fields))

    @property
    def kinds(self) -> list[str]:
        """Treatment of the values of each field, see `Field.kind`."""
        return [field.kind for field in self.fields]

    @property
    def units(self) -> str:
        """Treatment of the values: `"mm/h"` or `"dBZ"` for a single field of rain, else `"raw"`."""
        return self.fields[0].kind if len(self.fields) == 1 else "raw"

    @property
    def physical_units(self) -> str:
        """Treatment after reflectivity has become rain rate: `"mm/h"` or `"raw"`."""
        return "raw" if self.units == "raw" else "mm/h"

    @property
    def map(self) -> str | dict[str, Any] | None:
        """The projection, else the parameters of the file's grid mapping; None if there is neither."""
        mappings = (dict(coordinate.attributes) for coordinate in self.coordinates if not coordinate.dimensions)
        return self.projection or next(mappings, None)

    @property
    def pixel_km(self) -> float | None:
        """Side of a pixel in km; None if it is unknown, or if pixels of degrees are not about square everywhere."""
        if self.pixel_size is None:
            return None
        if self.pixel_units == "m":
            return float(np.mean(self.pixel_size)) / 1000
        if self.extent is None or max(abs(self.extent[1]), abs(self.extent[3])) > 90:
            return None
        _, south, _, north = self.extent
        height, width = (_KM_A_DEGREE * side for side in self.pixel_size)
        widths = [width * math.cos(math.radians(latitude)) for latitude in (south, north, (south + north) / 2)]
        if min(height, *widths) < _ALIKE * max(height, *widths):
            return None
        return (height + widths[-1]) / 2

    @property
    def sides_km(self) -> tuple[float, float] | None:
        """Height and width of a pixel in km, of degrees in the middle of the frame; None if they are unknown."""
        if self.pixel_size is None:
            return None
        if self.pixel_units == "m":
            return self.pixel_size[0] / 1000, self.pixel_size[1] / 1000
        if self.extent is None or max(abs(self.extent[1]), abs(self.extent[3])) > 90:
            return None
        height, width = (_KM_A_DEGREE * side for side in self.pixel_size)
        return height, width * math.cos(math.radians((self.extent[1] + self.extent[3]) / 2))

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Grid:
        """Returns the grid of a record of `to_record`, in which tuples may have become lists."""
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in record.items()
        }
        plain["fields"] = tuple(Field(**field) for field in record["fields"])
        plain["coordinates"] = tuple(Coordinate.of(**coordinate) for coordinate in record["coordinates"])
        return cls(**plain)

    def to_record(self) -> dict[str, Any]:
        """Returns the grid as plain values and the arrays of the coordinates."""
        record = {name: getattr(self, name) for name in self.__dataclass_fields__}
        record["fields"] = [dict(vars(field)) for field in self.fields]
        record["coordinates"] = [
            {"name": c.name, "dimensions": c.dimensions, "values": c.values, "attributes": dict(c.attributes)}
            for c in self.coordinates
        ]
        return record

    def sound(self) -> Grid:
        """Returns the grid without a size of the pixels, or a position, that makes no sense."""
        size, extent = self.pixel_size, self.extent
        size_known = size is not None and all(math.isfinite(side) and side > 0 for side in size)
        extent_known = extent is not None and all(map(math.isfinite, extent))
        return replace(self, pixel_size=size if size_known else None, extent=extent if extent_known else None)

    def coordinates_of(self, top: int, left: int, height: int, width: int, coarsen: int = 1) -> tuple[Coordinate, ...]:
        """Returns the coordinates of a part of the frame, in pixels after squares of `coarsen` have become one."""
        cuts = dict(zip(self.dimensions, (slice(top, top + height), slice(left, left + width)), strict=True))
        return tuple(coordinate.part(cuts, coarsen) for coordinate in self.coordinates)


def _means(values: np.ndarray, axis: int, count: int, period: float | None) -> np.ndarray:
    """Returns the means of `count` neighbours along an axis, float64; of angles, if they have a period."""
    blocks = values.shape[axis] // count
    values = np.moveaxis(values, axis, 0)[: blocks * count].astype(np.float64)
    squares = values.reshape(blocks, count, *values.shape[1:])
    first = squares[:, :1]
    offset = squares - first
    if period is not None:
        offset = (offset + period / 2) % period - period / 2
    return np.moveaxis(first[:, 0] + offset.mean(1), 0, axis)
