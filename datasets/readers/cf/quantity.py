"""The quantity of a CF variable: rain and reflectivity by their names, everything else as it is."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NamedTuple

from convlstm.datasets.readers.cf.variable import Variable
from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.grid import RAIN_RATE, REFLECTIVITY, Field

# Factors to mm/h by unit, as UDUNITS or people write it, in lower case without spaces, carets and stars.
_RATES: dict[str, float] = {
    "mm/h": 1, "mm/hr": 1, "mm/hour": 1, "mmh-1": 1, "mmhr-1": 1, "mmhour-1": 1, "kgm-2h-1": 1, "kg/m2/h": 1, "mmph": 1,
    "mms-1": 3600, "mm/s": 3600, "kgm-2s-1": 3600, "kg/m2/s": 3600, "kg/(m2s)": 3600, "kg/m2s": 3600,
    "ms-1": 3.6e6, "m/s": 3.6e6, "mmday-1": 1 / 24, "mm/day": 1 / 24, "mmd-1": 1 / 24, "mm/d": 1 / 24,
    "kgm-2day-1": 1 / 24, "kgm-2d-1": 1 / 24, "kg/m2/day": 1 / 24, "in/h": 25.4, "in/hr": 25.4, "inh-1": 25.4,
}  # fmt: skip
_MM = ("mm", "millimeter", "millimeters", "millimetre", "millimetres", "kgm-2", "kg/m2")
_METRES = ("m", "metre", "meter", "metres", "meters")
_AMOUNTS: dict[str, float] = dict.fromkeys(_MM, 1) | dict.fromkeys(_METRES, 1000) | {"cm": 10, "in": 25.4, "inch": 25.4}
# Units of many other things, which a user's word alone does not make rain.
_LENGTHS = (*_METRES, "cm", "ms-1", "m/s")
# Characters of a text in which a pattern is searched for: the time for some patterns grows with their square.
_TEXT = 500
_WORD = re.compile(r"[A-Z]*[a-z]+|[A-Z]+")
_RAIN = re.compile(r"rain(fall|rate|s)?|precip(itation)?|prcp|ppt|qpe|drizzle")
# Its "thickness" is that of the water, not of a layer.
_DEPTH_OF_WATER = re.compile(r"lwe_thickness_of_(\w+_)?(precipitation|rainfall)_amount")
_SHORT = ("pr", "tp", "rr")
# Words of quantities that are about rain, but are none: these in all units, and those in all but mm and kg m-2.
_ABOUT = frozenset(
    [
        "anomaly",
        "anomalies",
        "bias",
        "column",
        "content",
        "departure",
        "deviation",
        "difference",
        "error",
        "errors",
        "evaporation",
        "evapotranspiration",
        "minus",
        "mixing",
        "path",
        "precipitable",
        "ratio",
        "std",
        "stddev",
        "trend",
        "uncertainty",
        "variance",
        "weight",
    ]
)
_NO_DEPTH = frozenset(
    [
        "altitude",
        "attenuation",
        "base",
        "class",
        "code",
        "conditions",
        "count",
        "counts",
        "days",
        "diameter",
        "differential",
        "duration",
        "flag",
        "fraction",
        "frequency",
        "height",
        "index",
        "mask",
        "number",
        "onset",
        "percent",
        "percentage",
        "phase",
        "pressure",
        "probability",
        "quality",
        "size",
        "speed",
        "status",
        "temperature",
        "thickness",
        "top",
        "type",
        "velocity",
    ]
)


class Quantity(NamedTuple):
    """A field, and the way from the numbers in the file to its values.

    Attributes:
        field: The field.
        factor: Factor from the file's units to mm/h, or to mm if `is_amount`; 1 if there is nothing to convert.
        is_amount: True for amounts of rain, which become rates by their period.
    """

    field: Field
    factor: float
    is_amount: bool


def units_of(text: str) -> tuple[str, float]:
    """Returns `"mm/h"`, `"mm"`, `"dBZ"` or `"raw"`, and the factor that converts values in `text` to it."""
    plain = _plain(text)
    if plain in _RATES:
        return "mm/h", float(_RATES[plain])
    if plain in _AMOUNTS:
        return "mm", float(_AMOUNTS[plain])
    return ("dBZ", 1.0) if plain == "dbz" else ("raw", 1.0)


def named_rain(variable: Variable) -> bool:
    """Returns True if its name, standard name or long name says that a variable is rain or radar reflectivity."""
    if any(name in variable.attributes for name in ("flag_values", "flag_masks", "flag_meanings")):
        return False
    texts = [variable.name, variable.text("standard_name"), variable.text("long_name")]
    words = [word.lower() for text in texts for word in _WORD.findall(text[:_TEXT])]
    kind, _ = units_of(variable.text("units"))
    # Reflectances of the ground are called reflectivity, too, and have no dBZ.
    if kind == "dBZ" or any(word in ("dbz", "dbzh") for word in words) or "equivalent_reflectivity" in texts[1]:
        return True
    if _DEPTH_OF_WATER.fullmatch(texts[1]):
        return True
    corrected = {"corrected", "adjusted"} & {*words}
    if (_ABOUT - {"bias", "error"} if corrected else _ABOUT) & {*words}:
        return False
    deep = _plain(variable.text("units")) not in _LENGTHS and kind in ("mm/h", "mm")
    if not deep and _NO_DEPTH & {*words}:
        return False
    return any(_RAIN.fullmatch(word) for word in words) or (kind in ("mm/h", "mm") and texts[0].lower() in _SHORT)


def quantity_of(variable: Variable, units: str | None = None) -> Quantity:
    """Returns the quantity of a variable.

    Args:
        variable: The variable.
        units: Units instead of those in the file; `"raw"` keeps the values. Default: those in the file.

    Raises:
        UnreadableError: If the variable is called rain, but its units are not those of rain.
    """
    written = variable.text("units")[:_TEXT] if units is None else units
    kind, factor = units_of(written)
    standard, long = variable.text("standard_name")[:_TEXT], variable.text("long_name")[:_TEXT]
    is_rain = named_rain(variable)
    if units is not None and units != "raw" and kind != "raw" and _plain(units) not in _LENGTHS:
        is_rain = True
    if units == "raw" or not is_rain:
        return Quantity(Field(variable.name, written[:60] or "raw", standard, long), 1.0, False)
    if kind == "raw":
        has = f"in {written[:60]!r}, which are no units of rain" if written else "without units"
        raise UnreadableError(
            f"has the rain {variable.name!r} {has}. Name its units: reader.units=mm/h, mm (of a period: "
            "reader.step_minutes=5), dBZ or the like, or raw to keep the numbers as they are"
        )
    source = "" if factor == 1 and kind != "mm" else written
    if kind == "dBZ":
        named = Field(variable.name, "dBZ", standard or REFLECTIVITY.standard_name, long or REFLECTIVITY.long_name)
    else:
        # Other standard names are those of amounts or of masses.
        standard = standard if standard.endswith("_rate") else RAIN_RATE.standard_name
        named = Field(variable.name, "mm/h", standard, RAIN_RATE.long_name if kind == "mm" else long)
    return Quantity(replace(named, file_units=source, is_rain=True), factor, kind == "mm")


def _plain(text: str) -> str:
    return re.sub(r"[\s^*.]|\{.*\}", "", text[:_TEXT]).lower()
