"""Coordinate reference systems as CF's grid mappings and as WKT, from PROJ strings."""

from __future__ import annotations

import re
from typing import Any

# Major axis in metres and inverse flattening, which is 0 for a sphere.
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

# For each projection, by PROJ's name: CF's name, WKT's name, and the parameters. A parameter is PROJ's name, PROJ's
# default, CF's name and WKT's name.
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
        # Not CF's oblique_mercator, which does not say where the false origin lies. WKT does.
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
    """Returns the attributes of CF's grid mapping variable.

    Args:
        projection: A PROJ string with coordinates in metres or degrees, or WKT.

    Returns:
        `grid_mapping_name` and its parameters if CF has the projection, `crs_wkt` and `spatial_ref` (the same, for
        GDAL), and `proj4_params` as given. Empty without a projection.
    """
    if not projection:
        return {}
    if _WKT.match(projection):
        return {"crs_wkt": projection, "spatial_ref": projection}
    words = _words(projection)
    attributes: dict[str, Any] = {}
    name = words.get("proj", "")
    if name in ("longlat", "latlong", "lonlat", "latlon"):
        attributes = {"grid_mapping_name": "latitude_longitude", **_figure(words), "longitude_of_prime_meridian": 0.0}
        attributes["crs_wkt"] = _geographic(words)
    elif name in _MAPPINGS and not (name == "stere" and abs(_number(words, "lat_0", 0)) != 90):
        attributes = _projected(name, words)
    if not attributes.get("grid_mapping_name"):
        attributes = {key: value for key, value in attributes.items() if key == "crs_wkt"}
    if "crs_wkt" in attributes:
        attributes["spatial_ref"] = attributes["crs_wkt"]
    return {**attributes, "proj4_params": projection}


def _projected(name: str, words: dict[str, str]) -> dict[str, Any]:
    """Returns the attributes of a projection that is a key of `_MAPPINGS`."""
    cf, wkt, parameters = _MAPPINGS[name]
    south = name == "stere" and _number(words, "lat_0", 0) < 0
    attributes: dict[str, Any] = {"grid_mapping_name": cf}
    in_wkt = []
    for word, default, cf_name, wkt_name in parameters:
        fallback = -90.0 if south and word == "lat_ts" else float(default)
        if word == "lat_2" and "lat_2" not in words:
            fallback = _number(words, "lat_1", 0)
        value = _number(words, word, fallback)
        attributes[cf_name] = [attributes[cf_name], value] if cf_name in attributes else value
        in_wkt.append((wkt_name, value))
    if name == "stere":
        attributes["latitude_of_projection_origin"] = -90.0 if south else 90.0
        in_wkt.append(("scale_factor", 1.0))
    if name == "somerc":
        in_wkt[2:2] = [("azimuth", 90.0), ("rectified_grid_angle", 90.0)]
    east, north = _number(words, "x_0", 0), _number(words, "y_0", 0)
    attributes |= {"false_easting": east, "false_northing": north, **_figure(words)}
    in_wkt += [("false_easting", east), ("false_northing", north)]
    text = "".join(f',PARAMETER["{key}",{value:.15g}]' for key, value in in_wkt)
    attributes["crs_wkt"] = (
        f'PROJCS["unknown",{_geographic(words)},PROJECTION["{wkt}"]{text},UNIT["metre",1],'
        'AXIS["Easting",EAST],AXIS["Northing",NORTH]]'
    )
    return attributes


def _geographic(words: dict[str, str]) -> str:
    """Returns the geographic coordinate system as WKT."""
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
    """Returns CF's attributes of the figure of the earth."""
    a, rf = _ellipsoid(words)
    return {"semi_major_axis": a, "inverse_flattening": rf} if rf else {"earth_radius": a}


def _ellipsoid(words: dict[str, str]) -> tuple[float, float]:
    """Returns the major axis in metres and the inverse flattening, which is 0 for a sphere."""
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
    """Returns an axis of the earth in metres. Some services write kilometres."""
    return axis * 1000 if axis < 1e5 else axis


def _words(projection: str) -> dict[str, str]:
    """Returns the parameters of a PROJ string by name."""
    parameters: dict[str, str] = dict(re.findall(r"\+(\w+)=([^\s+]+)", projection))
    return {_SYNONYMS.get(word, word): value for word, value in parameters.items()}


def _number(words: dict[str, str], name: str, default: float) -> float:
    """Returns a parameter as a number. PROJ allows a letter for the hemisphere behind it."""
    value = words.get(name, "")
    if not value:
        return float(default)
    if value[-1] in "NEnwWeSs":
        return float(value[:-1]) * (-1 if value[-1] in "SWsw" else 1)
    return float(value)
