"""Values and colours as 8 bits: a page has a table of both, and a byte for each pixel."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from convlstm.metrics.events import lowest_event
from convlstm.report.ensemble_scales import chance_scale, spread_scale
from convlstm.report.field_scale import FieldScale
from convlstm.report.frame_panel import GREY
from convlstm.report.map_drawing import Scale
from convlstm.report.rain_scale import RainScale

import numpy as np
from matplotlib.colors import Normalize, to_hex

MISSING = 255
"""The byte of a missing pixel."""
GREYS = FieldScale(GREY, Normalize(0, 1), "value", "value", "neither")
"""Colours of values in [0, 1], which have no units."""
# Values of a table; fewer for classes, whose noise takes most of a page's bytes.
_MOST, _MOST_OF_CLASSES = 250, 130
# Smallest rain rate in mm/h that is told from none.
_DRIZZLE = 0.03
# Unit of shares.
PERCENT = "%"


@dataclass(frozen=True)
class Palette:
    """A table of at most 255 values.

    Attributes:
        label: What the values are, with their unit.
        unit: Their unit.
        edges: (N - 1,), limits between the values, rising; a value that equals a limit belongs to the upper one.
        values: (N,), what the page says of a pixel.
        colours: (N,), colours such as "#1f77b4"; None where the ground is seen.
        decimals: Digits after the point of the values; None for two digits of any size.
        classes: Colours and lower limits of the classes, rising; empty for continuous colours, which are those of
            `colours`.
    """

    label: str
    unit: str
    edges: np.ndarray
    values: np.ndarray
    colours: list[str | None]
    decimals: int | None
    classes: list[tuple[str, str]]

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Returns the byte of each value, `MISSING` for NaN."""
        codes = np.searchsorted(self.edges.astype(np.float32), values.astype(np.float32), side="right")
        return np.where(np.isfinite(values), codes, MISSING).astype(np.uint8)

    def described(self) -> dict[str, Any]:
        """Returns the table for the page."""
        return {
            "label": self.label,
            "unit": self.unit,
            "values": [float(f"{value:.7g}") for value in self.values],
            "colours": self.colours,
            "decimals": self.decimals,
            "classes": self.classes,
        }


def palette(scale: Scale, unit: str, arrays: Iterable[np.ndarray]) -> Palette:
    """Returns the table of a scale for all values of some arrays."""
    low, high = _range(arrays)
    if isinstance(scale, RainScale):
        return _classes(scale.label, unit, scale.levels, low, high, _hex(scale))
    low, high = (low, high) if low < high else (low - 0.5, low + 0.5)
    values = np.linspace(low, high, _MOST)
    colours = [to_hex(colour) for colour in scale.colours(scale.norm(values))]
    return Palette(scale.label, unit, (values[1:] + values[:-1]) / 2, values, list(colours), _decimals(values), [])


def chance_palette() -> Palette:
    """Returns the table of probabilities from 0 to 1, which it says in percent, in steps of half a percent."""
    scale = chance_scale()
    values = np.arange(201) / 2
    rank, colours = np.searchsorted(scale.levels, values, side="right") - 1, _hex(scale)
    legend = [(colour, f"{level:g}") for colour, level in zip(colours, scale.levels, strict=True)]
    of_values = [None if k < 0 else colours[k] for k in rank]
    return Palette(scale.label, PERCENT, (values[1:] + values[:-1]) / 200, values, of_values, 0, legend)


def spread_palette(scale: Scale, unit: str, arrays: Sequence[np.ndarray]) -> Palette:
    """Returns the table of the spread of a field whose colours are given."""
    own = spread_scale(scale, unit, _range(arrays)[1])
    return palette(own, unit, [*arrays, np.zeros(1)])


def _classes(
    label: str, unit: str, levels: Sequence[float], low: float, high: float, colours: Sequence[str]
) -> Palette:
    """Returns a table in which every class has steps of its own; rain rates have steps that grow with them."""
    is_rate = unit == "mm/h"
    limits = [lowest_event(level) for level in levels]
    bottom = _DRIZZLE if is_rate else min(low, limits[0] - 1e-3 * abs(limits[0]) - 1e-6)
    top = max(high, limits[-1] + (limits[-1] - limits[0]) * 0.05)
    there, back = (np.log, np.exp) if is_rate else (np.asarray, np.asarray)
    ends = there(np.array([bottom, *limits, top]))
    counts = np.maximum(1, np.floor((_MOST_OF_CLASSES - len(ends)) * np.diff(ends) / (ends[-1] - ends[0]))).astype(int)
    parts = [np.linspace(a, b, n, endpoint=False) for a, b, n in zip(ends[:-1], ends[1:], counts, strict=True)]
    steps = np.concatenate([*parts, ends[-1:]])
    values, edges = back((steps[1:] + steps[:-1]) / 2), back(steps[:-1])
    # Exactly the limits: a logarithm and its inverse may lie on their other side.
    first = np.cumsum(counts)[:-1]
    edges[first] = limits
    if is_rate:
        values = np.concatenate([[0.0], values])
    else:
        edges = edges[1:]
    of_class = np.searchsorted(np.asarray(limits), values, side="right") - 1
    legend = [(colour, f"{level:g}") for colour, level in zip(colours, levels, strict=True)]
    of_values = [None if k < 0 else colours[k] for k in of_class]
    return Palette(label, unit, edges, values, of_values, None if is_rate else _decimals(values), legend)


def _decimals(values: np.ndarray) -> int:
    """Returns the digits after the point that tell even steps from each other."""
    return max(0, math.ceil(-math.log10((values[-1] - values[0]) / len(values))))


def _hex(scale: RainScale) -> list[str]:
    """Returns the colour of each class."""
    inside = [np.nextafter(lowest_event(level), np.inf) for level in scale.levels]
    return [to_hex(colour) for colour in scale.colours(scale.norm(np.array(inside)))]


def _range(arrays: Iterable[np.ndarray]) -> tuple[float, float]:
    """Returns the lowest and the highest finite value, 0 and 0 if there is none."""
    known = [(np.nanmin(values), np.nanmax(values)) for values in arrays if np.isfinite(values).any()]
    if not known:
        return 0.0, 0.0
    return float(min(low for low, _ in known)), float(max(high for _, high in known))
