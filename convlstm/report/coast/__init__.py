"""The coast, borders and grid lines of a map, in the pixels of its frames.

Coast and borders are those of Natural Earth at 1:10 million, simplified to 1 km by `make.py`; see LICENSE.txt.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convlstm.backend.projection_text import check_projection

import numpy as np

SOURCE = "Natural Earth"
UNIT = 0.002
"""Degrees of the integers in which points are stored."""
# Degrees of lines between two points that are projected.
_PIECE = 0.2
# Degrees between grid lines, of which the map has at most six in each direction.
_STEPS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 45.0)
_MOST_LINES = 6
# Degrees of longitude from which a map may be cut open within a line.
_WIDE = 20
# Points in each direction of the table of longitudes and latitudes.
_NODES = 33
# Kilometres of a degree of latitude.
_DEGREE_KM = 111.2
# Metres of the units of coordinates.
_METRES = {"m": 1.0, "metre": 1.0, "meter": 1.0, "metres": 1.0, "meters": 1.0, "km": 1000.0, "kilometre": 1000.0}

Projection = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


class NoMapError(ValueError):
    """An error that says why the place of a map's pixels on the earth is unknown."""


@dataclass(frozen=True)
class GridLine:
    """A meridian or a parallel.

    Attributes:
        label: Its degrees, such as "5°E".
        is_meridian: True for a meridian.
        at: Column and row at which the label belongs: where a meridian ends below, or a parallel at the left.
        parts: Lines (N, 2) of columns and rows.
    """

    label: str
    is_meridian: bool
    at: tuple[float, float]
    parts: list[np.ndarray]


@dataclass(frozen=True)
class MapLines:
    """Lines of a map, and the size of its pixels.

    A line is (N, 2) float32, columns and rows; (0, 0) is the outer corner of the first pixel, and (W, H) that of the
    last one. Lines end within a segment of the frame's edge.

    Attributes:
        coast: Lines between land and sea.
        borders: Lines between two countries.
        grid: Meridians and parallels.
        pixel_km: Width on the ground of the pixel in the middle.
        degrees: Longitude and latitude, (2, 33, 33), at even steps from the first pixel's centre to the last one's.
    """

    coast: list[np.ndarray]
    borders: list[np.ndarray]
    grid: list[GridLine]
    pixel_km: float
    degrees: np.ndarray


def map_lines(x: np.ndarray, y: np.ndarray, units: str, crs: str | Mapping[str, Any] | None = None) -> MapLines:
    """Returns the lines of a map.

    Args:
        x: Coordinates of the columns, (W,), rising or falling.
        y: Coordinates of the rows, (H,).
        units: Their units in CF's notation, such as "m", "km" or "degrees_east".
        crs: PROJ string, WKT, or attributes of CF's grid mapping. Default: none, for degrees.

    Raises:
        NoMapError: The units or the projection are unknown, refused, or need the library pyproj.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if min(len(x), len(y)) < 2:
        raise NoMapError("the map has a single row or column")
    degrees = units.startswith("degree")
    if not degrees and units not in _METRES:
        raise NoMapError(f"coordinates in {units!r} are neither metres nor degrees")
    forward, inverse = _projections(crs, degrees, 1.0 if degrees else _METRES[units])
    rows, columns = (np.interp(np.linspace(0, len(a) - 1, _NODES), np.arange(len(a)), a) for a in (y, x))
    degrees_at = np.stack(inverse(*(part.ravel() for part in np.meshgrid(columns, rows)))).reshape(2, _NODES, _NODES)
    lon, lat = degrees_at
    known = np.isfinite(lon) & np.isfinite(lat)
    if not known.any():
        raise NoMapError("the projection does not say where the pixels are")
    half = _NODES // 2
    middle = (half, half) if known[half, half] else tuple(np.argwhere(known)[known.sum() // 2])
    centre = float(lon[middle])
    east = _relative(lon[known], centre)
    west, south, east_end, north = east.min(), lat[known].min(), east.max(), lat[known].max()
    margin = 0.05 * max(east_end - west, north - south) + 0.1
    box = (west - margin, south - margin, east_end + margin, north + margin)
    if east_end - west > 300:
        box = (-180.0, south - margin, 180.0, north + margin)

    def drawn(line: np.ndarray, number: np.ndarray) -> list[np.ndarray]:
        return _in_frame(line, number, box, centre, forward, x, y, is_global=degrees)

    points, number, is_border = _lines()
    coast, borders = (drawn(points[is_border == kind], number[is_border == kind]) for kind in (False, True))
    grid = _grid_lines(box, centre, drawn, (len(y), len(x)))
    step = (x[-1] - x[0]) / (len(x) - 1)
    at_x, at_y = np.array([columns[middle[1]], columns[middle[1]] + step]), np.full(2, rows[middle[0]])
    return MapLines(coast, borders, grid, _ground_km(*inverse(at_x, at_y)), degrees_at)


def _projections(crs: str | Mapping[str, Any] | None, degrees: bool, metres: float) -> tuple[Projection, Projection]:
    """Returns functions from longitudes and latitudes to coordinates, and back."""
    text = crs if isinstance(crs, str) else ""
    attributes = crs if isinstance(crs, Mapping) else {}
    turned = "ob_tran" in text or attributes.get("grid_mapping_name") == "rotated_latitude_longitude"
    if degrees and not turned:
        return (lambda lon, lat: (lon, lat)), (lambda x, y: (x, y))
    if not crs:
        raise NoMapError("the projection is unknown")
    try:
        from pyproj import CRS, Transformer
    except ImportError as error:
        raise NoMapError(f"it needs pyproj ({error}); install it with pip install 'convlstm[radar]'") from error
    written = text or str(attributes.get("crs_wkt") or attributes.get("spatial_ref") or "")
    try:
        if written:
            check_projection(written)
        of_map = CRS.from_user_input(written) if written else CRS.from_cf(dict(attributes))
        there = Transformer.from_crs("EPSG:4326", of_map, always_xy=True)
    except Exception as error:  # of PROJ, for a stranger's text
        raise NoMapError(f"the projection is not known to PROJ ({error})") from error

    def forward(lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, y = there.transform(lon, lat)
        return x / metres, y / metres

    def inverse(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return there.transform(x * metres, y * metres, direction="INVERSE")

    return forward, inverse


@functools.cache
def _lines() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns all points (N, 2) in degrees, the number of each point's line, and whether it is of a border."""
    with np.load(Path(__file__).with_name("coast.npz"), allow_pickle=False) as file:
        starts, counts, borders = file["starts"], file["counts"], file["borders"]
        steps = np.stack([file["dx"], file["dy"]], axis=1).astype(np.int64)
    first = np.cumsum(counts) - counts
    moves = np.empty((counts.sum(), 2), np.int64)
    moves[np.delete(np.arange(len(moves)), first)] = steps
    moves[first] = 0
    walked = np.cumsum(moves, axis=0)
    points = walked + np.repeat(starts - walked[first], counts, axis=0)
    return points * UNIT, np.repeat(np.arange(len(counts)), counts), np.repeat(borders, counts)


def _in_frame(
    points: np.ndarray,
    number: np.ndarray,
    box: tuple[float, ...],
    centre: float,
    forward: Projection,
    x: np.ndarray,
    y: np.ndarray,
    is_global: bool,
) -> list[np.ndarray]:
    """Returns the parts of lines (N, 2) of degrees that lie in the frame, in pixels; `box` is around `centre`."""
    west, south, east, north = box
    flat = np.stack([_relative(points[:, 0], centre), points[:, 1]], axis=1)
    low, high = np.minimum(flat[:-1], flat[1:]), np.maximum(flat[:-1], flat[1:])
    near = (high >= (west, south)).all(axis=1) & (low <= (east, north)).all(axis=1)
    kept = np.flatnonzero(near & (number[:-1] == number[1:]) & (high[:, 0] - low[:, 0] < 180))
    if not len(kept):
        return []
    pieces = np.maximum(1, np.ceil((high - low)[kept].max(axis=1) / _PIECE - 1e-9)).astype(int)
    share = (np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces))[:, None]
    of, count = np.repeat(kept, pieces), np.repeat(pieces, pieces)[:, None]
    along = flat[of + 1] - flat[of]
    ends = []
    for part in (share, share + 1):
        lon, lat = (flat[of] + along * part / count).T
        at = forward(lon + centre, lat)
        shift = 0.0 if not is_global else 360 * np.round((x.mean() - at[0]) / 360)
        ends.append(np.stack([_pixels(at[0] + shift, x), _pixels(at[1], y)], axis=1))
    first, last = ends
    lower, upper, size = np.minimum(first, last), np.maximum(first, last), (len(x), len(y))
    with np.errstate(invalid="ignore"):
        seen = (upper >= 0).all(axis=1) & (lower <= size).all(axis=1)
        if east - west > _WIDE:  # where the map is cut open, lines would cross all of it
            seen &= (upper - lower < np.divide(size, 2)).all(axis=1)
    shown = np.flatnonzero(seen)
    if not len(shown):
        return []
    joined = (np.diff(shown) == 1) & np.isclose(last[shown[:-1]], first[shown[1:]], atol=1e-3).all(axis=1)
    groups = np.split(shown, np.flatnonzero(~joined) + 1)
    return [np.concatenate([first[group], last[group[-1:]]]).astype(np.float32) for group in groups]


def _grid_lines(
    box: tuple[float, ...],
    centre: float,
    drawn: Callable[[np.ndarray, np.ndarray], list[np.ndarray]],
    shape: tuple[int, int],
) -> list[GridLine]:
    """Returns the meridians and the parallels at round degrees."""
    west, south, east, north = box
    south, north = max(south, -90.0), min(north, 90.0)
    lines = []
    for is_meridian, start, end in ((True, west + centre, east + centre), (False, south, north)):
        step = next((step for step in _STEPS if (end - start) / step <= _MOST_LINES), _STEPS[-1])
        along = np.linspace(*((south, north) if is_meridian else (west, east)), 201)
        for degree in np.arange(math.ceil(start / step), math.floor(end / step) + 1) * step:
            fixed = np.full_like(along, degree)
            line = np.stack([fixed, along] if is_meridian else [along + centre, fixed], axis=1)
            if parts := drawn(line, np.zeros(len(line), int)):
                points = np.clip(np.concatenate(parts), 0, shape[::-1])
                end_at = points[points[:, 1].argmax() if is_meridian else points[:, 0].argmin()]
                at = (float(end_at[0]), float(end_at[1]))
                lines.append(GridLine(_degrees(degree, "EW" if is_meridian else "NS"), is_meridian, at, parts))
    return lines


def _degrees(degree: float, sides: str) -> str:
    """Returns degrees such as 5.5°W."""
    if sides == "EW":
        degree = float(_relative(np.asarray(degree), 0.0))
    rounded = round(degree, 6)
    return f"{abs(rounded):g}°{'' if rounded in (0, -180) else sides[0] if rounded > 0 else sides[1]}"


def _relative(lon: np.ndarray, centre: float) -> np.ndarray:
    """Returns longitudes as degrees east of `centre`, from -180 to 180."""
    return (lon - centre + 180) % 360 - 180


def _pixels(values: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Returns coordinates as pixels from the outer edge; those that are far away lie just outside."""
    padded = np.concatenate([[2 * axis[0] - axis[1]], axis, [2 * axis[-1] - axis[-2]]])
    at = np.arange(-0.5, len(axis) + 1)
    if axis[0] > axis[-1]:
        padded, at = padded[::-1], at[::-1]
    return np.where(np.isfinite(values), np.interp(values, padded, at), np.nan)


def _ground_km(lon: np.ndarray, lat: np.ndarray) -> float:
    """Returns the distance in km of two neighbours in degrees."""
    east = _relative(lon[1], lon[0]) * math.cos(math.radians(lat.mean()))
    return float(np.hypot(east, lat[1] - lat[0]) * _DEGREE_KM)
