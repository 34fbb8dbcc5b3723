"""Coordinates in projections, by PROJ."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from convlstm.backend.projection_text import check_projection


class UnplacedError(ValueError):
    """An error that says why the place of a frame is not known, and what to do."""


def project(projection: str | None, longitude: float, latitude: float) -> tuple[float, float]:
    """Returns the map coordinates of a point in degrees: metres, or degrees if the projection has these.

    Args:
        projection: PROJ string or WKT.
        longitude, latitude: The point, on the projection's own figure of the earth.

    Raises:
        UnplacedError: If there is no projection, PROJ does not know it or has no such point, or pyproj is missing.
    """
    crs = checked(projection)
    if crs.is_geographic:
        return float(longitude), float(latitude)
    proj = _proj(projection)  # type: ignore[arg-type]
    x, y = proj(longitude, latitude)
    if not (abs(x) < 1e12 and abs(y) < 1e12):
        raise UnplacedError(f"the projection {projection!r} has no point at {longitude} east and {latitude} north")
    metres = crs.axis_info[0].unit_conversion_factor if crs.axis_info else 1.0
    return x * metres, y * metres


def checked(projection: str | None) -> Any:
    """Returns the coordinate reference system of a projection.

    Raises:
        UnplacedError: If there is no projection, it names a file, PROJ does not know it, or pyproj is missing.
    """
    if not projection:
        raise UnplacedError("the file has no projection")
    try:
        check_projection(projection)
    except ValueError as error:
        raise UnplacedError(f"the projection {projection[:200]!r} is refused: {error}") from error
    try:
        return _crs(projection)
    except ImportError as error:
        raise UnplacedError(
            f"the projection {projection[:200]!r} needs the library pyproj ({error}). Install it with pip install "
            "'convlstm[radar]' (in a checkout: pip install -e '.[radar]')"
        ) from error
    except Exception as error:  # of PROJ, for a text of a stranger
        raise UnplacedError(f"the projection {projection[:200]!r} is not known to PROJ") from error


@lru_cache(maxsize=64)
def _crs(projection: str) -> Any:
    from pyproj import CRS

    return CRS.from_user_input(projection)


@lru_cache(maxsize=64)
def _proj(projection: str) -> Any:
    from pyproj import Proj

    return Proj(projection)
