"""Coordinate reference systems as CF's grid mappings and as WKT, by PROJ."""

from __future__ import annotations

import math
import warnings
from typing import Any

from convlstm.backend.projection_text import check_projection


def grid_mapping(projection: str | None) -> dict[str, Any]:
    """Returns the attributes of CF's grid mapping variable.

    Args:
        projection: A PROJ string with coordinates in metres or degrees, or WKT.

    Returns:
        `grid_mapping_name` and its parameters if CF has the projection, `crs_wkt` and `spatial_ref` (the same, for
        GDAL), and a PROJ string as `proj4_params`. The Swiss grid is an oblique Mercator projection; its WKT also gives
        the angle of the axes, which CF leaves to PROJ's `omerc`. Empty without a projection, and for one that names a
        file or that PROJ does not know, with a warning. Without the library pyproj it is the text of the projection
        alone.
    """
    if not projection:
        return {}
    try:
        check_projection(projection)
    except ValueError as error:
        warnings.warn(
            f"[write] the projection {projection[:200]!r} is refused: {error}. The forecast has none.", stacklevel=2
        )
        return {}
    name = "proj4_params" if projection.lstrip().startswith("+") else "crs_wkt"
    try:
        from pyproj import CRS
    except ImportError:
        return {name: projection}
    try:
        with warnings.catch_warnings(record=True) as lost:
            warnings.simplefilter("always")
            attributes = CRS.from_user_input(projection).to_cf()
    except Exception as error:  # of PROJ, for a stranger's text
        warnings.warn(
            f"[write] the projection {projection[:200]!r} is not known to PROJ ({error}), so the forecast has none.",
            stacklevel=2,
        )
        return {}
    wkt = attributes["crs_wkt"]
    if lost and not _is_plain_oblique_mercator(projection, attributes):  # CF cannot say all of it; WKT can
        attributes = {"crs_wkt": wkt}
    if attributes.get("grid_mapping_name") == "polar_stereographic":  # which CF asks for, and pyproj leaves out
        pole = math.copysign(90.0, attributes.get("standard_parallel", 90.0))
        attributes.setdefault("latitude_of_projection_origin", pole)
    if attributes.get("grid_mapping_name") == "oblique_mercator":  # the name under which checkers of CF look for it
        attributes["azimuth"] = attributes["azimuth_of_central_line"]
    attributes = {key: list(value) if isinstance(value, tuple) else value for key, value in attributes.items()}
    return {**attributes, "spatial_ref": wkt, **({name: projection} if name == "proj4_params" else {})}


def _is_plain_oblique_mercator(projection: str, attributes: dict[str, Any]) -> bool:
    """Returns True if an oblique Mercator projection has its axes where PROJ's `omerc` has them by default.

    CF's description of `oblique_mercator` refers to `omerc`. It lacks the angle from the rectified to the skew grid,
    which is by default the azimuth of the central line.
    """
    if attributes.get("grid_mapping_name") != "oblique_mercator":
        return False
    from pyproj import CRS

    crs = CRS.from_user_input(projection)
    projected = crs.source_crs if crs.is_bound else crs
    operation = None if projected is None else projected.coordinate_operation
    parameters = {} if operation is None else {p.name: p.value for p in operation.params}
    angle = parameters.get("Angle from Rectified to Skew Grid")
    return angle is not None and math.isclose(float(angle), attributes["azimuth_of_central_line"], abs_tol=1e-9)
