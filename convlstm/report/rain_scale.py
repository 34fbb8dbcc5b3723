"""The classes of rain and their colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from convlstm.metrics.events import lowest_event
from convlstm.report.map_drawing import Scale

import numpy as np
from matplotlib.colors import BoundaryNorm, ListedColormap, to_rgba_array
from matplotlib.ticker import MaxNLocator

# Radar's blues, greens, yellow, orange, red and violet, with steps of lightness for people with red-green blindness: in
# Machado's (2009) model of it, the closest two of the twelve colours are 8.5 apart in CIEDE2000.
RAIN = ("#cbe2f6", "#82baec", "#4f86c6", "#274b91", "#12876f", "#9fd36c", "#f7ee38", "#e08a12", "#cf1f25", "#9a3ad6")
DRY = "#f7f8f9"

# Lower limits of the classes, title of the colour bar, and threshold of the score beside a row, by unit.
UNITS: dict[str, tuple[tuple[float, ...], str, float | None]] = {
    "mm/h": ((0.1, 0.5, 1, 2, 5, 10, 20, 30, 50, 100), "rain rate (mm/h)", 2.0),
    "dBZ": ((5, 15, 20, 25, 30, 35, 40, 45, 50, 55), "reflectivity (dBZ)", 30.0),
    "raw": ((), "raw value", None),
}


@dataclass(frozen=True)
class RainScale(Scale):
    """Classes of values and their colours. Dry and missing pixels have their own.

    Attributes:
        levels: Lower limits of the classes; values below the first one count as dry.
    """

    norm: BoundaryNorm
    levels: tuple[float, ...]

    def bar(self, room: float) -> dict[str, Any]:
        return {"extend": "both", "ticks": self.levels[:: max(1, math.ceil(len(self.levels) / room))]}


def rain_scale(owner: str, units: str, levels: Sequence[float] | None, values: Sequence[np.ndarray]) -> RainScale:
    """Returns the classes of a unit, or the given ones; the classes of raw values reach up to the largest value.

    Raises:
        ValueError: The units are unknown, or the levels do not rise.
    """
    check_units(owner, units)
    limits, label, _ = UNITS[units]
    if levels is not None:
        limits = tuple(float(level) for level in levels)
        if len(limits) < 2 or not all(low < high for low, high in pairwise(limits)):
            raise ValueError(f"[{owner}] 'levels' must be two or more rising numbers but got {list(levels)}.")
    elif not limits:
        known = np.concatenate([value[np.isfinite(value)] for value in values])
        low, high = min(known.min(initial=0.0), 0.0), known.max(initial=0.0)
        steps = MaxNLocator(10).tick_values(low, high if high > low else low + 1)
        limits = tuple(round(float(step), 12) for step in steps[1:])
    # If there are fewer or more classes than colours, colours are interpolated.
    positions = np.linspace(0, len(RAIN) - 1, len(limits))
    rgba = np.stack([np.interp(positions, range(len(RAIN)), channel) for channel in to_rgba_array(RAIN).T], axis=1)
    return class_scale(limits, rgba, label)


def class_scale(limits: Sequence[float], rgba: np.ndarray, label: str) -> RainScale:
    """Returns classes of values with the given colours.

    Args:
        limits: Their lower limits, rising. Values below the first one have the colour of dry pixels.
        rgba: Their colours, (N, 4).
        label: Title of the colour bar.
    """
    colours = ListedColormap(list(rgba[:-1])).with_extremes(under=DRY, over=tuple(rgba[-1]), bad=(0, 0, 0, 0))
    # Classes begin like the events of scores, so that a forecast of the truth has the colours of the truth.
    norm = BoundaryNorm([*map(lowest_event, limits)], len(limits) - 1)
    return RainScale(colours, norm, label, label, tuple(limits))


def check_units(owner: str, units: str) -> None:
    """Raises ValueError if the units are unknown."""
    if units not in UNITS:
        raise ValueError(f"[{owner}] 'units' must be one of {', '.join(UNITS)} but got {units!r}.")
