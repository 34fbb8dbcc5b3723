"""The dimensions of a CF variable: rows, columns, frames, and those of which one position is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from convlstm.datasets.readers.cf.time import is_time
from convlstm.datasets.readers.cf.variable import Variable
from convlstm.datasets.readers.errors import UnreadableError

import numpy as np

Variables = Mapping[str, Variable]

_NAMES = {
    "y": ("y", "yc", "lat", "latitude", "rlat", "grid_latitude", "south_north", "northing", "nlat", "ny", "nj"),
    "x": ("x", "xc", "lon", "longitude", "rlon", "grid_longitude", "west_east", "easting", "nlon", "nx", "ni"),
}
# Names of pictures' sides, which mean other things beside these: a height may be one above the ground.
_SIDES = {"y": ("row", "rows", "height"), "x": ("column", "columns", "width")}
_STANDARD = {
    "y": ("projection_y_coordinate", "latitude", "grid_latitude"),
    "x": ("projection_x_coordinate", "longitude", "grid_longitude"),
}
_LATITUDE = ("degrees_north", "degree_north", "degrees_n", "degree_n", "degreesn")
_LONGITUDE = ("degrees_east", "degree_east", "degrees_e", "degree_e", "degreese")
# Of the Climate Data Store: 1 is the final ERA5, 5 the preliminary one of the last months, and neither has all times.
_VERSIONS = "expver"
_SHOWN = 8


class Axes(NamedTuple):
    """Names of the dimensions of rows, columns and frames, and the positions that are read of all others.

    `versions` are the positions of a dimension, `version_name`, of which the first one that has a value counts.
    """

    rows: str
    columns: str
    frames: str | None
    fixed: Mapping[str, int]
    version_name: str = ""
    versions: tuple[int, ...] = ()
    remark: str = ""

    def selection(self, variable: Variable, frames: int | slice) -> tuple[int | slice, ...]:
        """Returns the index of some frames in the variable's array."""
        names = filter(None, (self.rows, self.columns, self.version_name))
        parts: dict[str, int | slice] = {**dict.fromkeys(names, slice(None)), **self.fixed}
        return tuple(frames if name == self.frames else parts[name] for name in variable.dimensions)

    def order(self, variable: Variable, frames: int | slice) -> tuple[int, ...]:
        """Returns the order of axes that makes what `selection` reads (F, H, W), or (H, W) for a single frame.

        An axis of versions comes before the rows.
        """
        wanted = [self.frames, self.version_name, self.rows, self.columns]
        left = [name for name in variable.dimensions if name in wanted]
        left = [name for name in left if name != self.frames or isinstance(frames, slice)]
        return tuple(left.index(name) for name in wanted if name in left)  # type: ignore[arg-type]


def sides(variables: Variables, variable: Variable) -> tuple[str, str] | None:
    """Returns the dimensions of rows and columns, or None if the variable is not on a map."""
    if len(set(variable.dimensions)) != len(variable.dimensions):
        return None
    rows, columns = (_side(variables, variable, axis) for axis in "yx")
    if rows is not None and columns is not None and rows != columns:
        return rows, columns
    return _by_latitudes(variables, variable)


def has_frames(variables: Variables, variable: Variable) -> bool:
    """Returns True if a dimension beside rows and columns counts times."""
    found = sides(variables, variable) or ()
    return any(name not in found and _counts_times(variables, name) for name in variable.dimensions)


def find_axes(variables: Variables, variable: Variable, select: Mapping[str, Any]) -> Axes:
    """Returns the dimensions of a variable on a map.

    Args:
        variables: All variables of the file.
        variable: The variable.
        select: Values of the coordinates to read, by dimension.

    Raises:
        UnreadableError: If a dimension is one too many, or has no such coordinate.
    """
    found = sides(variables, variable)
    assert found is not None
    sizes = dict(zip(variable.dimensions, variable.shape, strict=True))
    others = [name for name in variable.dimensions if name not in found]
    fixed = {name: _position(variables, variable, name, sizes[name], select[name]) for name in others if name in select}
    left = [name for name in others if name not in fixed]
    timed = [name for name in left if _counts_times(variables, name)]
    # A long dimension of times counts the frames, be there another one of size 1, such as the start of a forecast.
    frames = next(iter([name for name in timed if sizes[name] > 1] + timed), None)
    if frames is None:
        unnamed = [name for name in left if sizes[name] > 1 and name not in variables]
        frames = unnamed[0] if len(unnamed) == 1 else None
    version_name, remark = "", ""
    versions: tuple[int, ...] = ()
    for name in left:
        if name == _VERSIONS and name != frames and sizes[name] > 1 and _has_numbers(variables, name, sizes[name]):
            numbers = variables[name].decoded()
            order = np.argsort(numbers, kind="stable")
            version_name, versions = name, tuple(order.tolist())
            remark = ", where it is missing ".join(f"{name} {numbers[n]:g}" for n in versions)
            continue
        if name != frames and sizes[name] > 1:
            beside = "time, rows and columns" if frames else "rows and columns"
            raise UnreadableError(
                f"has {variable.name!r} over the dimension {name!r} of {sizes[name]}{_values(variables, name)} beside "
                f"{beside}. Choose one position: reader.select={{{name}: VALUE}}"
            )
        if name != frames:
            fixed[name] = 0
    return Axes(*found, frames, fixed, version_name, versions, remark)


def latitudes_of(variables: Variables, rows: str, columns: str) -> list[Variable]:
    """Returns the latitudes and the longitudes of each pixel, (rows, columns) in either order, if the file has them."""
    pixels = [v for v in variables.values() if len(v.dimensions) == 2 and {*v.dimensions} == {rows, columns}]
    found = (next((v for v in pixels if _angle(v) == axis), None) for axis in "yx")
    return [variable for variable in found if variable is not None]


def _angle(variable: Variable) -> str:
    """Returns `"y"` for latitudes, `"x"` for longitudes, else `""`."""
    if variable.dtype.kind not in "iuf":
        return ""
    units, standard = variable.text("units").lower(), variable.text("standard_name").lower()
    if units in _LATITUDE or standard == "latitude":
        return "y"
    return "x" if units in _LONGITUDE or standard == "longitude" else ""


def is_place(variable: Variable) -> bool:
    """Returns True for latitudes and longitudes."""
    named = variable.name.lower() in ("lat", "lon", "latitude", "longitude", "nav_lat", "nav_lon", "xlat", "xlong")
    return bool(_angle(variable)) or named


def _side(variables: Variables, variable: Variable, axis: str) -> str | None:
    """Returns the dimension along an axis, `"x"` or `"y"`: the one for which most speaks, of several the last."""
    ranks = {name: _rank(variables, name, axis) for name in variable.dimensions}
    most = max(ranks.values(), default=0)
    return None if most == 0 else [name for name, rank in ranks.items() if rank == most][-1]


def _rank(variables: Variables, name: str, axis: str) -> int:
    coordinate = variables.get(name)
    if coordinate is not None:
        written = coordinate.text("axis").lower()
        if coordinate.text("standard_name").lower() in _STANDARD[axis] or _angle(coordinate) == axis:
            return 4
        if written == axis:
            return 3
        if written in ("x", "y", "z", "t") or coordinate.text("positive") or is_time(coordinate):
            return 0
    return 2 if name.lower() in _NAMES[axis] else int(name.lower() in _SIDES[axis])


def _by_latitudes(variables: Variables, variable: Variable) -> tuple[str, str] | None:
    """Returns the dimensions of rows and columns by the latitudes of each pixel, which change most from row to row."""
    for latitudes in variables.values():
        if (
            len(latitudes.dimensions) == 2
            and {*latitudes.dimensions} <= {*variable.dimensions}
            and min(latitudes.shape) > 1
            and _angle(latitudes) == "y"
        ):
            # Two rows are enough to know, and there may be many fields to ask for.
            values = np.asarray(latitudes.read(slice(0, 2)), np.float64)
            down, right = (np.abs(np.diff(values, axis=axis)) for axis in (0, 1))
            first, second = latitudes.dimensions
            known = np.isfinite(down).any() and np.isfinite(right).any()
            turned = known and np.nanmean(down) < np.nanmean(right)
            return (second, first) if turned else (first, second)
    return None


def _counts_times(variables: Variables, name: str) -> bool:
    """Returns True if a dimension has times, by a variable of its own name or another one along it alone."""
    own = variables.get(name)
    if own is not None and is_time(own):
        return True
    along = (
        v
        for v in variables.values()
        if [n for n, size in zip(v.dimensions, v.shape, strict=True) if size > 1] == [name]
    )
    return name.lower() in ("time", "valid_time") or any(is_time(variable) for variable in along)


def _position(variables: Variables, variable: Variable, name: str, size: int, wanted: Any) -> int:
    """Returns the position of a value along a dimension."""
    if not _has_numbers(variables, name, size):
        if type(wanted) is int and 0 <= wanted < size:
            return wanted
        raise UnreadableError(
            f"has no coordinates of the dimension {name!r} of {size}, so 'select' takes a number from 0 to {size - 1}, "
            f"but it is {wanted!r}"
        )
    values = variables[name].decoded()
    if isinstance(wanted, int | float) and not isinstance(wanted, bool):
        positions = np.flatnonzero(np.isclose(values, float(wanted), rtol=1e-6, atol=1e-9))
        if len(positions) == 1:
            return int(positions[0])
    raise UnreadableError(f"has no {name}={wanted!r}; {variable.name!r} has{_values(variables, name)}")


def _has_numbers(variables: Variables, name: str, size: int) -> bool:
    """Returns True if a dimension has a number for each of its positions."""
    coordinate = variables.get(name)
    return coordinate is not None and coordinate.dtype.kind in "iuf" and coordinate.shape == (size,)


def _values(variables: Variables, name: str) -> str:
    """Returns the first coordinates along a dimension as text."""
    coordinate = variables.get(name)
    if coordinate is None or coordinate.dtype.kind not in "iuf" or len(coordinate.shape) != 1:
        return ""
    values = coordinate.decoded()
    shown = ", ".join(f"{value:g}" for value in values[:_SHOWN].tolist()) + (", ..." if len(values) > _SHOWN else "")
    units = coordinate.text("units")
    return f" ({shown}{f' {units[:40]}' if units else ''})"
