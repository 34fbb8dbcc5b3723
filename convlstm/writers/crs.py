"""Coordinate reference systems as CF's grid mappings and as WKT, from PROJ strings."""

from __future__ import annotations

import re
from typing import Any

# Major axis in metres and inverse flattening, 0 for a sphere.
_ELLIPSOIDS = {
    "WGS84": (6378137.0, 298.257223563),
    "GRS80": (6378137.0, 298.257222101),
    "bessel": (6377397.155, 299.1528128),
    "intl": (6378388.0, 297.0),
    "clrk66": (6378206.4, 294.978698213898),
    "airy": (6377563.396, 299.3249646),
    "sphere": (6370997.0, 0.0),
}
_DATUMS = {"NAD83": "GRS80", "WGS84": "WGS84"}

# By PROJ's name: CF's, WKT's, and for each parameter PROJ's words with their defaults, CF's name and WKT's.
_MAPPINGS: dict[str, tuple[str, str, tuple[tuple[str, float, str, str], ...]]] = {
    "laea": (
        "lambert_azimuthal_equal_area",
        "Lambert_Azimuthal_Equal_Area",
        (
            ("lat_0", 0, "latitude_of_projection_origin", "latitude_of_center"),
            ("lon_0", 0, "longitude_of_projection_origin", "longitude_of_center"),
        ),
    ),
    "aeqd": (
        "azimuthal_equidistant",
        "Azimuthal_Equidistant",
        (
            ("lat_0", 0, "latitude_of_projection_origin", "latitude_of_center"),
            ("lon_0", 0, "longitude_of_projection_origin", "longitude_of_center"),
        ),
    ),
    "aea": (
        "albers_conical_equal_area",
        "Albers_Conic_Equal_Area",
        (
            ("lat_1", 0, "standard_parallel", "standard_parallel_1"),
            ("lat_2", 0, "standard_parallel", "standard_parallel_2"),
            ("lat_0", 0, "latitude_of_projection_origin", "latitude_of_center"),
            ("lon_0", 0, "longitude_of_central_meridian", "longitude_of_center"),
        ),
    ),
    "lcc": (
        "lambert_conformal_conic",
        "Lambert_Conformal_Conic_2SP",
        (
            ("lat_1", 0, "standard_parallel", "standard_parallel_1"),
            ("lat_2", 0, "standard_parallel", "standard_parallel_2"),
            ("lat_0", 0, "latitude_of_projection_origin", "latitude_of_origin"),
            ("lon_0", 0, "longitude_of_central_meridian", "central_meridian"),
        ),
    ),
    "tmerc": (
        "transverse_mercator",
        "Transverse_Mercator",
        (
            ("lat_0", 0, "latitude_of_projection_origin", "latitude_of_origin"),
            ("lon_0", 0, "longitude_of_central_meridian", "central_meridian"),
            ("k_0", 1, "scale_factor_at_central_meridian", "scale_factor"),
        ),
    ),
    "merc": (
        "mercator",
        "Mercator_2SP",
        (
            ("lat_ts", 0, "standard_parallel", "standard_parallel_1"),
            ("lon_0", 0, "longitude_of_projection_origin", "central_meridian"),
        ),
    ),
    "stere": (
        "polar_stereographic",
        "Polar_Stereographic",
        (
            ("lat_ts", 90, "standard_parallel", "latitude_of_origin"),
            ("lon_0", 0, "straight_vertical_longitude_from_pole", "central_meridian"),
        ),
    ),
    "somerc": (
        # CF's oblique_mercator leaves open where the false origin is: WKT alone says it.
        "",
        "Hotine_Oblique_Mercator_Azimuth_Center",
        (
            ("lat_0", 0, "latitude_of_projection_origin", "latitude_of_center"),
            ("lon_0", 0, "longitude_of_projection_origin", "longitude_of_center"),
            ("k_0", 1, "scale_factor_at_projection_origin", "scale_factor"),
        ),
    ),
}
_SYNONYMS = {"k": "k_0"}
_WKT = re.compile(r"\s*(PROJCS|GEOGCS|PROJCRS|GEOGCRS|BOUNDCRS|COMPD_CS|COMPOUNDCRS|GEODCRS|ENGCRS|LOCAL_CS)\s*\[")


def grid_mapping(projection: str | None) -> dict[str, Any]:
    """The attributes of CF's grid mapping variable.

    Args:
        projection: A PROJ string, whose coordinates are in metres or degrees, or WKT.

    Returns:
        `grid_mapping_name` and its parameters where the projection is known here, `crs_wkt` and `spatial_ref` (the
        same, where GDAL looks), and `proj4_params` as it was given. Empty where there is no projection.
    """
    if not projection:
        return {}
    if _WKT.match(projection):
        return {"crs_wkt": projection, "spatial_ref": projection}
    words = _words(projection)
    told: dict[str, Any] = {}
    name = words.get("proj", "")
    if name in ("longlat", "latlong", "lonlat", "latlon"):
        told = {"grid_mapping_name": "latitude_longitude", **_figure(words), "longitude_of_prime_meridian": 0.0}
        told["crs_wkt"] = _geographic(words)
    elif name in _MAPPINGS and not (name == "stere" and abs(_number(words, "lat_0", 0)) != 90):
        told = _projected(name, words)
    if not told.get("grid_mapping_name"):
        told = {key: value for key, value in told.items() if key == "crs_wkt"}
    if "crs_wkt" in told:
        told["spatial_ref"] = told["crs_wkt"]
    return {**told, "proj4_params": projection}


def _projected(name: str, words: dict[str, str]) -> dict[str, Any]:
    cf, wkt, parameters = _MAPPINGS[name]
    south = name == "stere" and _number(words, "lat_0", 0) < 0
    told: dict[str, Any] = {"grid_mapping_name": cf}
    written = []
    for word, default, ours, theirs in parameters:
        fallback = -90.0 if south and word == "lat_ts" else float(default)
        if word == "lat_2" and "lat_2" not in words:
            fallback = _number(words, "lat_1", 0)
        value = _number(words, word, fallback)
        told[ours] = [told[ours], value] if ours in told else value
        written.append((theirs, value))
    if name == "stere":
        told["latitude_of_projection_origin"] = -90.0 if south else 90.0
        written.append(("scale_factor", 1.0))
    if name == "somerc":
        written[2:2] = [("azimuth", 90.0), ("rectified_grid_angle", 90.0)]
    east, north = _number(words, "x_0", 0), _number(words, "y_0", 0)
    told |= {"false_easting": east, "false_northing": north, **_figure(words)}
    written += [("false_easting", east), ("false_northing", north)]
    inside = "".join(f',PARAMETER["{key}",{value:.15g}]' for key, value in written)
    told["crs_wkt"] = (
        f'PROJCS["unknown",{_geographic(words)},PROJECTION["{wkt}"]{inside},UNIT["metre",1],'
        'AXIS["Easting",EAST],AXIS["Northing",NORTH]]'
    )
    return told


def _geographic(words: dict[str, str]) -> str:
    a, rf = _ellipsoid(words)
    shift = words.get("towgs84", "")
    numbers = ",".join((shift.split(",") + ["0"] * 7)[:7]) if shift else ""
    named = words.get("datum") == "WGS84" or (words.get("ellps") == "WGS84" and not shift)
    datum = "WGS_1984" if named else "unknown"
    to_wgs = f",TOWGS84[{numbers}]" if numbers else ""
    return (
        f'GEOGCS["unknown",DATUM["{datum}",SPHEROID["unknown",{a:.15g},{rf:.15g}]{to_wgs}],'
        'PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]]'
    )


def _figure(words: dict[str, str]) -> dict[str, float]:
    """The figure of the earth as CF tells it."""
    a, rf = _ellipsoid(words)
    return {"semi_major_axis": a, "inverse_flattening": rf} if rf else {"earth_radius": a}


def _ellipsoid(words: dict[str, str]) -> tuple[float, float]:
    """Major axis in metres and inverse flattening, 0 of a sphere."""
    if "R" in words:
        return _metres(float(words["R"])), 0.0
    name = words.get("ellps", _DATUMS.get(words.get("datum", ""), "WGS84"))
    a, rf = _ELLIPSOIDS.get(name, _ELLIPSOIDS["WGS84"])
    if "a" in words:
        a = _metres(float(words["a"]))
        rf = rf if "ellps" in words or "datum" in words else 0.0
    if "b" in words:
        b = _metres(float(words["b"]))
        rf = 0.0 if a == b else a / (a - b)
    elif "rf" in words:
        rf = float(words["rf"])
    return a, rf


def _metres(axis: float) -> float:
    """An axis of the earth in metres; some services write kilometres."""
    return axis * 1000 if axis < 1e5 else axis


def _words(projection: str) -> dict[str, str]:
    found: dict[str, str] = dict(re.findall(r"\+(\w+)=([^\s+]+)", projection))
    return {_SYNONYMS.get(word, word): value for word, value in found.items()}


def _number(words: dict[str, str], name: str, default: float) -> float:
    """A number; PROJ allows a letter for the half of the globe behind it."""
    value = words.get(name, "")
    if not value:
        return float(default)
    if value[-1] in "NEnwWeSs":
        return float(value[:-1]) * (-1 if value[-1] in "SWsw" else 1)
    return float(value)
