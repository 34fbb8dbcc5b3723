"""Longitude and latitude to map coordinates, for the projections of radar composites."""

from __future__ import annotations

import math
import re

# Major axis in metres, and the flattening.
_ELLIPSOIDS = {
    "WGS84": (6378137.0, 1 / 298.257223563),
    "GRS80": (6378137.0, 1 / 298.257222101),
    "bessel": (6377397.155, 1 / 299.1528128),
    "sphere": (6370997.0, 0.0),
}


def project(projection: str | None, longitude: float, latitude: float) -> tuple[float, float] | None:
    """Returns the map coordinates in metres of a point in degrees, or None if the projection is not supported.

    Supported are polar stereographic and Lambert azimuthal equal-area, on the ellipsoid or the sphere, from a PROJ
    string (Snyder, 1987: Map projections, a working manual; pages 161 and 187).
    """
    words: dict[str, str] = dict(re.findall(r"\+(\w+)=([^\s+]+)", projection or ""))
    try:
        if words.get("units", "m") != "m" or "to_meter" in words:
            return None
        if words.get("proj") == "stere" and abs(_degrees(words, "lat_0")) == 90:
            x, y = _polar_stereographic(words, longitude, latitude)
        elif words.get("proj") == "laea" and abs(_degrees(words, "lat_0")) < 90:
            x, y = _equal_area(words, longitude, latitude)
        else:
            return None
        x, y = x + float(words.get("x_0", 0)), y + float(words.get("y_0", 0))
        return (x, y) if math.isfinite(x) and math.isfinite(y) else None
    except (ValueError, KeyError, TypeError, ArithmeticError):
        return None


def _degrees(words: dict[str, str], name: str, default: str = "0") -> float:
    """Returns an angle in degrees. PROJ allows a letter after it for the half of the globe."""
    value = words.get(name, default)
    if value[-1] in "NEnwWeSs":
        return float(value[:-1]) * (-1 if value[-1] in "SWsw" else 1)
    return float(value)


def _ellipsoid(words: dict[str, str]) -> tuple[float, float]:
    """Returns the major axis in metres, and the eccentricity."""
    if "R" in words:
        return float(words["R"]), 0.0
    a, flattening = _ELLIPSOIDS[words.get("ellps", words.get("datum", "WGS84"))]
    if "a" in words:
        a = float(words["a"])
        # An axis alone means a sphere, unless an ellipsoid is named as well.
        flattening = flattening if "ellps" in words or "datum" in words else 0.0
    if "b" in words:
        flattening = 1 - float(words["b"]) / a
    elif "rf" in words:
        flattening = 1 / float(words["rf"])
    elif "f" in words:
        flattening = float(words["f"])
    return a, math.sqrt(flattening * (2 - flattening))


def _polar_stereographic(words: dict[str, str], longitude: float, latitude: float) -> tuple[float, float]:
    a, e = _ellipsoid(words)
    pole = math.copysign(1, _degrees(words, "lat_0"))
    turn = math.radians(longitude - _degrees(words, "lon_0"))
    true = pole * math.radians(_degrees(words, "lat_ts", str(90 * pole)))
    phi = pole * math.radians(latitude)

    def t(phi: float) -> float:
        s = e * math.sin(phi)
        return math.tan(math.pi / 4 - phi / 2) / ((1 - s) / (1 + s)) ** (e / 2)

    if abs(true - math.pi / 2) < 1e-10:
        k = float(words.get("k_0", words.get("k", 1)))
        rho = 2 * a * k * t(phi) / math.sqrt((1 + e) ** (1 + e) * (1 - e) ** (1 - e))
    else:
        rho = a * math.cos(true) / math.sqrt(1 - (e * math.sin(true)) ** 2) * t(phi) / t(true)
    return rho * math.sin(turn), -pole * rho * math.cos(turn)


def _equal_area(words: dict[str, str], longitude: float, latitude: float) -> tuple[float, float]:
    a, e = _ellipsoid(words)
    turn = math.radians(longitude - _degrees(words, "lon_0"))
    phi, origin = math.radians(latitude), math.radians(_degrees(words, "lat_0"))

    def q(phi: float) -> float:
        s = math.sin(phi)
        if e == 0:
            return 2 * s
        return (1 - e * e) * (s / (1 - (e * s) ** 2) - math.log((1 - e * s) / (1 + e * s)) / (2 * e))

    # Latitudes on the sphere of equal area, and its radius.
    polar = q(math.pi / 2)
    beta, beta_0 = math.asin(q(phi) / polar), math.asin(q(origin) / polar)
    radius = a * math.sqrt(polar / 2)
    scale = a * math.cos(origin) / math.sqrt(1 - (e * math.sin(origin)) ** 2) / (radius * math.cos(beta_0))
    cos_distance = math.sin(beta_0) * math.sin(beta) + math.cos(beta_0) * math.cos(beta) * math.cos(turn)
    b = radius * math.sqrt(2 / (1 + cos_distance))
    x = b * scale * math.cos(beta) * math.sin(turn)
    y = b / scale * (math.cos(beta_0) * math.sin(beta) - math.sin(beta_0) * math.cos(beta) * math.cos(turn))
    return x, y
