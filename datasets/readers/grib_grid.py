"""The coordinates of GRIB's grids, by PROJ where they are in a projection."""

from __future__ import annotations

from typing import Any

from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.projection import UnplacedError, checked, project

import numpy as np

# Name, values and attributes of the coordinates of rows or columns.
_Axis = tuple[str, np.ndarray, dict[str, Any]]

_MAP = {
    "y": {"units": "m", "standard_name": "projection_y_coordinate", "axis": "Y"},
    "x": {"units": "m", "standard_name": "projection_x_coordinate", "axis": "X"},
}
_GEOGRAPHIC = {
    "latitude": {"units": "degrees_north", "standard_name": "latitude", "axis": "Y"},
    "longitude": {"units": "degrees_east", "standard_name": "longitude", "axis": "X"},
}
_ROTATED = {
    "rlat": {"units": "degrees", "standard_name": "grid_latitude", "axis": "Y"},
    "rlon": {"units": "degrees", "standard_name": "grid_longitude", "axis": "X"},
}


def coordinates_of(grid: dict[str, Any]) -> tuple[_Axis, _Axis, dict[str, Any] | None]:
    """Returns the coordinates of rows and of columns, and the attributes of the grid mapping, or None for degrees.

    Args:
        grid: Keys of ecCodes.

    Raises:
        UnplacedError: If PROJ is needed and missing.
    """
    kind = grid["gridType"]
    if kind in ("regular_ll", "regular_gg", "rotated_ll"):
        names = _ROTATED if kind == "rotated_ll" else _GEOGRAPHIC
        (row, row_about), (column, column_about) = names.items()
        mapping = _rotated_pole(grid) if kind == "rotated_ll" else None
        return (row, _latitudes(grid), row_about), (column, _longitudes(grid), column_about), mapping
    projection = _projection(grid)
    wkt = checked(projection).to_wkt()
    steps = ("DxInMetres", "DyInMetres") if grid["DxInMetres"] is not None else ("DiInMetres", "DjInMetres")
    dx, dy = (float(grid[name]) for name in steps)
    longitude = grid["longitudeOfFirstGridPointInDegrees"]
    left, first = project(projection, longitude, grid["latitudeOfFirstGridPointInDegrees"])
    x = left + np.arange(grid["Ni"]) * (-dx if grid["iScansNegatively"] else dx)
    y = first + np.arange(grid["Nj"]) * (dy if grid["jScansPositively"] else -dy)
    return ("y", y, _MAP["y"]), ("x", x, _MAP["x"]), {"crs_wkt": wkt}


def _longitudes(grid: dict[str, Any]) -> np.ndarray:
    first, last = (grid[f"longitudeOf{which}GridPointInDegrees"] for which in ("First", "Last"))
    sign = -1 if grid["iScansNegatively"] else 1
    # They may pass the meridian at which they begin again.
    return first + sign * np.linspace(0, (sign * (last - first)) % 360, grid["Ni"])


def _latitudes(grid: dict[str, Any]) -> np.ndarray:
    first, last = (grid[f"latitudeOf{which}GridPointInDegrees"] for which in ("First", "Last"))
    if grid["gridType"] != "regular_gg":
        return np.linspace(first, last, grid["Nj"])
    if grid["Nj"] != 2 * int(grid["N"]):
        raise UnreadableError(f"has {grid['Nj']} rows of a Gaussian grid of {2 * int(grid['N'])}. Take the whole globe")
    nodes = np.degrees(np.arcsin(np.polynomial.legendre.leggauss(grid["Nj"])[0]))
    return nodes if first < last else nodes[::-1]


def _rotated_pole(grid: dict[str, Any]) -> dict[str, Any]:
    longitude = (float(grid["longitudeOfSouthernPoleInDegrees"]) + 360) % 360 - 180
    return {
        "grid_mapping_name": "rotated_latitude_longitude",
        "grid_north_pole_latitude": -float(grid["latitudeOfSouthernPoleInDegrees"]),
        "grid_north_pole_longitude": longitude,
        "north_pole_grid_longitude": float(grid["angleOfRotationInDegrees"] or 0),
    }


def _projection(grid: dict[str, Any]) -> str:
    radius, major, minor = (grid[key] for key in ("radius", "earthMajorAxisInMetres", "earthMinorAxisInMetres"))
    if radius:
        earth = f"+R={float(radius):.10g}"
    elif major and minor:
        earth = f"+a={float(major):.12g} +b={float(minor):.12g}"
    else:
        raise UnplacedError(f"the shape of the earth {grid['shapeOfTheEarth']!r} of its grid is not known")
    kind = grid["gridType"]
    if kind == "lambert":
        parameters = (
            f"+proj=lcc +lat_1={grid['Latin1InDegrees']} +lat_2={grid['Latin2InDegrees']} "
            f"+lat_0={grid['LaDInDegrees']} +lon_0={grid['LoVInDegrees']}"
        )
    elif kind == "polar_stereographic":
        south = bool(int(grid["projectionCentreFlag"] or 0) & 128)
        scale = grid["LaDInDegrees"] if grid["LaDInDegrees"] is not None else (-60 if south else 60)  # GRIB 1 has none
        parameters = (
            f"+proj=stere +lat_0={-90 if south else 90} +lat_ts={scale} +lon_0={grid['orientationOfTheGridInDegrees']}"
        )
    else:
        parameters = f"+proj=merc +lat_ts={grid['LaDInDegrees']} +lon_0=0"
    return f"{parameters} {earth} +units=m +no_defs"
