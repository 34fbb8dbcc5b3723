"""The grid of a field in CF: its coordinates, and the mapping to the earth."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from convlstm.datasets.readers.cf.axes import Axes, Variables, latitudes_of
from convlstm.datasets.readers.cf.variable import Variable
from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.grid import Coordinate, Field, Grid

import numpy as np

_METRES = dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1.0)
_METRES |= dict.fromkeys(("km", "kilometer", "kilometers", "kilometre", "kilometres"), 1000.0)
# Attributes of coordinates that are written again.
_ABOUT = ("standard_name", "long_name", "units", "axis")
_WRITTEN = ("crs_wkt", "spatial_ref", "wkt", "proj4", "proj4_params", "proj4_string", "proj4text")
_LONGEST = 10_000
# Name of the projection that the file itself has as an attribute, for maps in metres.
_OF_FILE = "gdal_projection"


def projection_of_file(attributes: Mapping[str, Any]) -> dict[str, Variable]:
    """Returns the projection that the NWC SAF writes for all variables, as if it were a grid mapping of CF, or {}."""
    if _OF_FILE not in attributes:
        return {}
    text = {"proj4": str(attributes[_OF_FILE])}
    return {_OF_FILE: Variable(_OF_FILE, (), (), np.dtype(np.int32), text, lambda index: np.zeros((), np.int32)[index])}


class _Axis(NamedTuple):
    """Coordinates of rows or columns in `units`, `"m"` or `"deg"`.

    `values` is None if there are no coordinates, `units` is None if the file does not give them.
    """

    values: np.ndarray | None = None
    units: str | None = None


def find_grid(variables: Variables, variable: Variable, axes: Axes, fields: tuple[Field, ...]) -> tuple[Grid, tuple]:
    """Returns the grid of a field, and the axes of a frame to flip so that it begins in the north and the west.

    Raises:
        UnreadableError: If there are coordinates, but not one for each row and column.
    """
    sizes = dict(zip(variable.dimensions, variable.shape, strict=True))
    shape = (int(sizes[axes.rows]), int(sizes[axes.columns]))
    y, x = (_axis(variables, name, sizes[name]) for name in (axes.rows, axes.columns))
    pixels = {v.name: _turned(v, axes) for v in latitudes_of(variables, axes.rows, axes.columns)}
    flips = _flips(y, x, pixels)
    dy, dx = _step(y.values), _step(x.values)
    pixel_size = extent = None
    if y.values is not None and x.values is not None and x.units is not None and x.units == y.units and dy and dx:
        pixel_size = (dy, dx)
        left, bottom, right, top = x.values.min(), y.values.min(), x.values.max(), y.values.max()
        extent = (float(left - dx / 2), float(bottom - dy / 2), float(right + dx / 2), float(top + dy / 2))
    mapping = _mapping(variables, variable)
    coordinates = [
        _copied(variables[name], np.flip(variables[name].read()) if axis in flips else variables[name].read(), (name,))
        for axis, name in enumerate((axes.rows, axes.columns))
        if name in variables and variables[name].dtype.kind in "iuf"
    ]
    for name, values in pixels.items():
        coordinates.append(_copied(variables[name], np.flip(values, flips), (axes.rows, axes.columns)))
    if mapping is not None:
        coordinates.append(Coordinate.of(mapping.name, (), np.zeros((), np.int32), _plain(mapping.attributes)))
    elif x.units == "m" and _OF_FILE in variables:
        mapping = variables[_OF_FILE]  # not a variable of the file, so it is no coordinate
    grid = Grid(
        shape=shape,
        fields=fields,
        pixel_size=pixel_size,
        pixel_units=x.units or "m",
        projection=None if mapping is None else _projection(mapping),
        extent=extent,
        dimensions=(axes.rows, axes.columns),
        coordinates=tuple(coordinates),
    )
    return grid, flips


def _axis(variables: Variables, name: str, size: int) -> _Axis:
    variable = variables.get(name)
    if variable is None or variable.dtype.kind not in "iuf":
        return _Axis()
    if variable.shape != (size,):
        raise UnreadableError(f"has {size} pixels along {name!r} but coordinates of {variable.shape}")
    values = variable.decoded()
    if np.array_equal(values, np.arange(size)) and not variable.text("units"):
        return _Axis()  # numbers of the pixels, which tell nothing about north
    units = variable.text("units").lower()
    if units in _METRES:
        return _Axis(values * _METRES[units], "m")
    geographic = name.lower() in ("lat", "lon", "latitude", "longitude")
    return _Axis(values, "deg" if units.startswith("deg") or (geographic and not units) else None)


def _turned(variable: Variable, axes: Axes) -> np.ndarray:
    """Returns the values of each pixel, (rows, columns), in the order of the file."""
    values = variable.read()
    return values if variable.dimensions == (axes.rows, axes.columns) else values.T


def _flips(y: _Axis, x: _Axis, pixels: Mapping[str, np.ndarray]) -> tuple[int, ...]:
    """Returns the axes to flip, by the coordinates of rows and columns, else by latitudes and longitudes."""
    # Longitudes may pass 180 or 360 degrees on their way.
    down, right = (None if axis.values is None else _change(axis.values, 0, axis.units) for axis in (y, x))
    for values in pixels.values():
        south, east = _change(values, 0), _change(values, 1)
        # Longitudes change most from column to column.
        if abs(south) >= abs(east):
            down = south if down is None else down
        else:
            right = east if right is None else right
    return tuple(axis for axis, turned in ((0, (down or 0) > 0), (1, (right or 0) < 0)) if turned)


def _change(values: np.ndarray, axis: int, units: str | None = "deg") -> float:
    """Returns the mean change from neighbour to neighbour along an axis, of angles that may pass 180 degrees."""
    if values.shape[axis] < 2:
        return 0.0
    steps = np.diff(values.astype(np.float64), axis=axis)
    steps = (steps + 180) % 360 - 180 if units == "deg" else steps
    return float(np.nanmean(steps)) if np.isfinite(steps).any() else 0.0


def _step(values: np.ndarray | None) -> float | None:
    """Returns the distance between neighbours, or None if it is not the same for all."""
    if values is None or len(values) < 2:
        return None
    steps = np.diff(values)
    step = float((values[-1] - values[0]) / (len(values) - 1))
    # Coordinates in float32 are rounded: millions of metres to half a metre.
    return abs(step) if step and np.allclose(steps, step, rtol=0.01, atol=0) else None


def _copied(variable: Variable, values: np.ndarray, dimensions: tuple[str, ...]) -> Coordinate:
    """Returns a coordinate as it is in the file, unpacked if it is packed."""
    attributes = variable.attributes
    if "scale_factor" in attributes or "add_offset" in attributes:
        scale, offset = (float(attributes.get(name, n)) for name, n in (("scale_factor", 1), ("add_offset", 0)))
        values = values.astype(np.float64) * scale + offset
    about = {name: variable.text(name)[:_LONGEST] for name in _ABOUT if variable.text(name)}
    return Coordinate.of(variable.name, dimensions, values, about)


def _mapping(variables: Variables, variable: Variable) -> Variable | None:
    named = variable.text("grid_mapping").split(":")[0].split()
    mapping = variables.get(named[0]) if named else None
    return mapping or next((v for v in variables.values() if "grid_mapping_name" in v.attributes), None)


def _projection(mapping: Variable) -> str | None:
    """Returns the projection in metres if the mapping has it as WKT or PROJ's string beside its parameters."""
    written = (mapping.text(name)[:_LONGEST] for name in _WRITTEN)
    text = next((text for text in written if text), None)
    return text and re.sub(r"\+units=km\b", "+units=m", text)


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the attributes that are texts, numbers or short lists of numbers, as JSON has them."""
    plain: dict[str, Any] = {}
    for name, value in attributes.items():
        if name.startswith("_"):  # of the library, such as fill values
            continue
        if isinstance(value, str):
            plain[name] = value[:_LONGEST]
        elif isinstance(value, int | float | np.number | np.ndarray | list) and np.size(value) <= 100:
            array = np.asarray(value)
            if array.dtype.kind in "iuf" and np.isfinite(array).all():
                plain[name] = array.tolist()
    return plain
