"""Colours of an ensemble's probabilities and spread."""

from __future__ import annotations

from convlstm.report.field_scale import FieldScale
from convlstm.report.map_drawing import Scale
from convlstm.report.rain_scale import RainScale, class_scale

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Normalize

# Limits in percent of the classes of probabilities.
_CHANCES = (1, 10, 20, 30, 40, 50, 60, 70, 80, 90)
# Colour maps, and the share of each where the lowest class begins, so that it differs from dry ground.
_CHANCE, _SPREAD, _START = "YlOrRd", "BuPu", 0.15


def chance_scale() -> RainScale:
    """Returns the classes of probabilities in percent."""
    return class_scale(_CHANCES, colormaps[_CHANCE](np.linspace(_START, 1, len(_CHANCES))), "probability (%)")


def spread_scale(scale: Scale, unit: str, high: float) -> Scale:
    """Returns the colours of the spread of a field: its classes in other colours, or continuous ones from 0.

    Args:
        scale: Colours of the field.
        unit: Its unit, or "".
        high: The largest spread.
    """
    label = f"spread ({unit})" if unit else "spread"
    if isinstance(scale, RainScale):
        levels = [level for level in scale.levels if level > 0]
        return class_scale(levels, colormaps[_SPREAD](np.linspace(_START, 1, len(levels))), label)
    colours = colormaps[_SPREAD].with_extremes(bad=(0, 0, 0, 0))
    return FieldScale(colours, Normalize(0, high if high > 0 else 1.0), label, label, "neither")
