"""The grid of a field in CF: coordinates of rows and columns, and the mapping to the earth."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from convlstm.datasets.readers.cf.variable import Variable
from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.grid import Field, Grid

import numpy as np

_NAMES = {
    "y": ("y", "yc", "lat", "latitude", "rlat", "row", "rows", "south_north", "northing", "nlat", "height"),
    "x": ("x", "xc", "lon", "longitude", "rlon", "column", "columns", "west_east", "easting", "nlon", "width"),
}
_METRES = dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1.0)
_METRES |= dict.fromkeys(("km", "kilometer", "kilometers", "kilometre", "kilometres"), 1000.0)
_PROJECTIONS = {
    "albers_conical_equal_area": "aea",
    "azimuthal_equidistant": "aeqd",
    "lambert_azimuthal_equal_area": "laea",
    "lambert_conformal_conic": "lcc",
    "mercator": "merc",
    "polar_stereographic": "stere",
    "stereographic": "stere",
    "transverse_mercator": "tmerc",
}
# The central longitude and the scale have different names in different mappings.
_LONGITUDES = (
    "longitude_of_central_meridian",
    "longitude_of_projection_origin",
    "straight_vertical_longitude_from_pole",
)
_SCALES = ("scale_factor_at_projection_origin", "scale_factor_at_central_meridian")
_FIGURE = {"semi_major_axis": "a", "semi_minor_axis": "b", "inverse_flattening": "rf", "earth_radius": "R"}


class _Axis(NamedTuple):
    """Coordinates of rows or columns in `units`, `"m"` or `"deg"`; `scale` converts the file's units to these.

    `values` is None if there are no coordinates, `units` is None if the file does not give them.
    """

    values: np.ndarray | None = None
    units: str | None = None
    scale: float = 1.0


def spatial(variables: Mapping[str, Variable], dimension: str, axis: str) -> bool:
    """Returns True if a dimension runs along `axis`, `"x"` or `"y"`, by its name or its coordinate's attributes."""
    if dimension.lower() in _NAMES[axis]:
        return True
    coordinate = variables.get(dimension)
    standard = ("projection_y_coordinate", "latitude") if axis == "y" else ("projection_x_coordinate", "longitude")
    return coordinate is not None and (
        coordinate.text("standard_name").removeprefix("grid_") in standard or coordinate.text("axis").lower() == axis
    )


def find_grid(variables: Mapping[str, Variable], field: Variable, of_values: Field) -> tuple[Grid, tuple[int, ...]]:
    """Returns the grid of a field, and the axes of a frame to flip so that it begins in the north and the west.

    Raises:
        UnreadableError: If there are coordinates, but not one for each row and column.
    """
    y, x = (_axis(variables, name, size) for name, size in zip(field.dimensions[-2:], field.shape[-2:], strict=True))
    flips = []
    if y.values is not None and y.values[0] < y.values[-1]:
        flips.append(0)
    if x.values is not None and x.values[0] > x.values[-1]:
        flips.append(1)
    dy, dx = _step(y.values), _step(x.values)
    pixel_size = extent = None
    if y.values is not None and x.values is not None and x.units is not None and x.units == y.units and dy and dx:
        pixel_size = (dy, dx)
        left, bottom, right, top = x.values.min(), y.values.min(), x.values.max(), y.values.max()
        extent = (float(left - dx / 2), float(bottom - dy / 2), float(right + dx / 2), float(top + dy / 2))
    grid = Grid(
        shape=(int(field.shape[-2]), int(field.shape[-1])),
        fields=(of_values,),
        pixel_size=pixel_size,
        pixel_units=x.units or "m",
        projection=_projection(variables, field, x.scale),
        extent=extent,
    )
    return grid, tuple(flips)


def _axis(variables: Mapping[str, Variable], name: str, size: int) -> _Axis:
    variable = variables.get(name)
    if variable is None or variable.dtype.kind not in "iuf":
        return _Axis()
    if variable.shape != (size,):
        raise UnreadableError(f"has {size} pixels along {name!r} but coordinates of {variable.shape}")
    attributes = variable.attributes
    values = np.asarray(variable.read(), np.float64)
    if np.array_equal(values, np.arange(size)) and not variable.text("units"):
        return _Axis()  # numbers of the pixels, which tell nothing about north
    values = values * float(attributes.get("scale_factor", 1)) + float(attributes.get("add_offset", 0))
    units = variable.text("units").lower()
    if units in _METRES:
        return _Axis(values * _METRES[units], "m", _METRES[units])
    geographic = name.lower() in ("lat", "lon", "latitude", "longitude")
    return _Axis(values, "deg" if units.startswith("deg") or (geographic and not units) else None)


def _step(values: np.ndarray | None) -> float | None:
    """Returns the distance between neighbours, or None if it is not the same for all."""
    if values is None or len(values) < 2:
        return None
    steps = np.diff(values)
    step = float((values[-1] - values[0]) / (len(values) - 1))
    # Coordinates in float32 are rounded: millions of metres to half a metre.
    return abs(step) if step and np.allclose(steps, step, rtol=0.01, atol=0) else None


def _projection(variables: Mapping[str, Variable], field: Variable, scale: float) -> str | None:
    named = field.text("grid_mapping").split(":")[0].split()
    mapping = variables.get(named[0]) if named else None
    if mapping is None:
        mapping = next((v for v in variables.values() if "grid_mapping_name" in v.attributes), None)
    if mapping is None:
        return None
    for name in ("crs_wkt", "spatial_ref", "wkt", "proj4", "proj4_params", "proj4_string", "proj4text"):
        if mapping.text(name):
            return re.sub(r"\+units=km\b", "+units=m", mapping.text(name))
    return _proj_string(mapping, scale)


def _proj_string(mapping: Variable, scale: float) -> str | None:
    """Returns the PROJ string of a grid mapping's parameters, or None if the mapping is not supported."""
    name, attributes = mapping.text("grid_mapping_name"), mapping.attributes
    longitude = [attributes[key] for key in _LONGITUDES if key in attributes]
    words: dict[str, Any] = {"proj": _PROJECTIONS.get(name), "lon_0": longitude[0] if longitude else None}
    if name == "latitude_longitude":
        words = {"proj": "longlat"}
    elif words["proj"] is None or words["lon_0"] is None:
        return None
    else:
        parallels = np.ravel(attributes.get("standard_parallel", []))
        if name != "mercator":
            words["lat_0"] = attributes.get("latitude_of_projection_origin", 90 if name == "polar_stereographic" else 0)
        keys = ("lat_ts",) if name in ("mercator", "polar_stereographic") else ("lat_1", "lat_2")
        words |= dict(zip(keys, parallels, strict=False))
        scales = [attributes[key] for key in _SCALES if key in attributes]
        words |= dict(zip(("k_0",), scales, strict=False))
        # CF gives these in the units of the coordinates, PROJ in metres.
        words["x_0"] = float(attributes.get("false_easting", 0)) * scale
        words["y_0"] = float(attributes.get("false_northing", 0)) * scale
    words |= {word: attributes[key] for key, word in _FIGURE.items() if key in attributes}
    if "rf" in words and "b" in words:
        del words["rf"]
    values = (value if isinstance(value, str) else f"{float(np.ravel(value)[0]):.12g}" for value in words.values())
    return " ".join(f"+{word}={value}" for word, value in zip(words, values, strict=True)) + " +no_defs"
