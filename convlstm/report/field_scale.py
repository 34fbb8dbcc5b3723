"""Continuous colours of fields such as temperature or wind, in their own units."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from convlstm.report.map_drawing import Scale
from convlstm.report.rain_scale import rain_scale

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

# Missing pixels are transparent.
# Few enough steps for the palette of a GIF, which has 256 colours for all.
_STEPS = 64
ONE_SIDED, BOTH_SIDES = (
    colormaps[name].resampled(_STEPS).with_extremes(bad=(0, 0, 0, 0)) for name in ("viridis", "RdBu_r")
)
# Units that only rain has, see `convlstm.datasets.readers.grid.Field`.
_OF_RAIN = ("mm/h", "dBZ")
# A field has both signs if its smaller end is at least this share of the larger one.
_BOTH_SIGNS = 0.25


@dataclass(frozen=True)
class FieldScale(Scale):
    """Continuous colours between two values.

    Attributes:
        extend: The ends beyond which there are values, for the colour bar: "neither", "min", "max" or "both".
    """

    extend: str

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest value."""
        return float(self.norm.vmin or 0.0), float(self.norm.vmax or 0.0)

    def bar(self, room: float) -> dict[str, Any]:
        low, high = self.ends
        steps = MaxNLocator(max(2, min(int(room / 2), 8))).tick_values(low, high)
        return {"extend": self.extend, "ticks": [step for step in steps if low <= step <= high]}


def field_scale(
    label: str,
    observed: Iterable[np.ndarray],
    forecasts: Iterable[np.ndarray] = (),
    *,
    signed: bool | None = None,
    short: str | None = None,
) -> FieldScale:
    """Returns the colours of a field between its lowest and highest observed value.

    Fields of both signs, such as winds, have two colours that meet at 0.

    Args:
        label: Title of the colour bar, with the unit.
        observed: The values that the colours span, NaN where missing.
        forecasts: Other values that are drawn; those beyond the ends have the colours of the ends. Default: none.
        signed: True if two colours meet at 0. Default: if the smaller of the two ends is a quarter of the larger one.
        short: Title of a low colour bar. Default: the same as `label`.
    """
    low, high = _range(observed)
    if signed is None:
        signed = low < 0 < high and min(-low, high) >= _BOTH_SIGNS * max(-low, high)
    if signed:
        low, high = min(low, -high), max(high, -low)
    if low == high:
        low, high = low - 0.5, high + 0.5
    lowest, highest = _range([*forecasts, np.array([low, high])])
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
    colours = BOTH_SIDES if signed else ONE_SIDED
    return FieldScale(colours, Normalize(low, high), label, short or label, extend[lowest < low, highest > high])


def scale_of_field(field: Any, observed: Sequence[np.ndarray], forecasts: Iterable[np.ndarray] = ()) -> Scale:
    """Returns the colours of a field: continuous ones, or the classes of rain for its units.

    Args:
        field: An object with `name`, `units` and `long_name`, such as `convlstm.writers.Quantity`.
        observed, forecasts: The same as for `field_scale`.
    """
    label, short = _with_units(field.long_name or field.name, field), _with_units(field.name, field)
    if field.units in _OF_RAIN:
        return replace(rain_scale("scale_of_field", field.units, None, observed), label=label, short=short)
    return field_scale(label, observed, forecasts, short=short)


def error_label(field: Any) -> str:
    """Returns the title of the colour bar of a field's errors."""
    return _with_units("error", field)


def in_units(number: str, field: Any) -> str:
    """Returns a number with the units of a field."""
    return f"{number} {units}" if (units := _units(field)) else number


def _with_units(text: str, field: Any) -> str:
    return f"{text} ({units})" if (units := _units(field)) else text


def _units(field: Any) -> str:
    return "" if field.units in ("1", "raw") else field.units


def _range(arrays: Iterable[np.ndarray]) -> tuple[float, float]:
    """Returns the lowest and the highest finite value; 0 and 0 if there is none."""
    known = [values[np.isfinite(values)] for values in map(np.asarray, arrays)]
    known = [values for values in known if values.size]
    if not known:
        return 0.0, 0.0
    return float(min(values.min() for values in known)), float(max(values.max() for values in known))
