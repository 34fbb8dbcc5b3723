"""Conversions between the units of one quantity, such as K and degC."""

from __future__ import annotations

# Each unit is `factor * value + offset` of the first unit of its row.
_ROWS: tuple[dict[str, tuple[float, float]], ...] = (
    {"K": (1, 0), "degC": (1, 273.15), "degF": (5 / 9, 459.67 * 5 / 9)},
    {"m s-1": (1, 0), "km h-1": (1 / 3.6, 0), "knot": (1852 / 3600, 0)},
    {"Pa": (1, 0), "hPa": (100, 0), "kPa": (1000, 0)},
    {"m": (1, 0), "cm": (0.01, 0), "mm": (0.001, 0), "km": (1000, 0)},
    # Of water, 1 kg m-2 is 1 mm.
    {"kg m-2 s-1": (1, 0), "mm h-1": (1 / 3600, 0), "mm d-1": (1 / 86400, 0)},
    {"1": (1, 0), "%": (0.01, 0), "g kg-1": (0.001, 0)},
)
_NAMES = {
    **dict.fromkeys(("kelvin", "Kelvin", "degK"), "K"),
    **dict.fromkeys(("celsius", "Celsius", "degrees_celsius", "degree_Celsius", "degree_celsius", "°C", "C"), "degC"),
    **dict.fromkeys(("fahrenheit", "Fahrenheit", "degree_Fahrenheit", "degrees_fahrenheit", "°F"), "degF"),
    **dict.fromkeys(("m/s", "m s**-1", "m s^-1", "m.s-1", "meter second-1", "m sec-1"), "m s-1"),
    **dict.fromkeys(("km/h", "km h**-1", "km hr-1", "kph"), "km h-1"),
    **dict.fromkeys(("kn", "kt", "kts", "knots"), "knot"),
    **dict.fromkeys(("pascal", "Pascal", "N m-2"), "Pa"),
    **dict.fromkeys(("mbar", "mb", "millibar", "millibars", "hectopascal"), "hPa"),
    **dict.fromkeys(("meter", "metre", "meters", "metres"), "m"),
    **dict.fromkeys(("kg/m2/s", "kg m**-2 s**-1", "kg/(m2 s)", "mm s-1", "mm/s"), "kg m-2 s-1"),
    **dict.fromkeys(("mm/h", "mm/hr", "mm hr-1", "mm h**-1", "kg m-2 h-1"), "mm h-1"),
    **dict.fromkeys(("mm/day", "mm day-1", "mm/d", "kg m-2 d-1", "kg m-2 day-1"), "mm d-1"),
    **dict.fromkeys(("percent", "%"), "%"),
    **dict.fromkeys(("kg kg-1", "kg/kg", "kg kg**-1"), "1"),
    **dict.fromkeys(("g/kg", "g kg**-1"), "g kg-1"),
}


def conversion(given: str, wanted: str) -> tuple[float, float] | None:
    """Returns factor and offset, `wanted = factor * given + offset`, or None if the units are not of one quantity.

    Args:
        given: Units of the values, such as `"K"`.
        wanted: Units that they are to have, such as `"degC"`.
    """
    a, b = (_NAMES.get(units.strip(), units.strip()) for units in (given, wanted))
    if a == b:
        return 1.0, 0.0
    for row in _ROWS:
        if a in row and b in row:
            (factor, offset), (other, shift) = row[a], row[b]
            return factor / other, (offset - shift) / other
    return None
