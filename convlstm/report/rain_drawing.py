"""Rain fields in pictures: classes and colours, missing pixels, times and the scale bar."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from convlstm.metrics.events import lowest_event
from convlstm.report.frame_panel import sequences_of
from convlstm.report.style import RULE, SOFT, lead_time

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Radar's blues, greens, yellow, orange, red and violet, with steps of lightness for people with red-green blindness: in
# Machado's (2009) model of it, the closest two of the twelve colours are 8.5 apart in CIEDE2000.
RAIN = ("#cbe2f6", "#82baec", "#4f86c6", "#274b91", "#12876f", "#9fd36c", "#f7ee38", "#e08a12", "#cf1f25", "#9a3ad6")
DRY, MISSING, HATCH = "#f7f8f9", "#dcd6cc", "#c6bcab"

# Lower limits of the classes, title of the colour bar, and threshold of the score beside a row, by unit.
UNITS: dict[str, tuple[tuple[float, ...], str, float | None]] = {
    "mm/h": ((0.1, 0.5, 1, 2, 5, 10, 20, 30, 50, 100), "rain rate (mm/h)", 2.0),
    "dBZ": ((5, 15, 20, 25, 30, 35, 40, 45, 50, 55), "reflectivity (dBZ)", 30.0),
    "raw": ((), "raw value", None),
}


@dataclass(frozen=True)
class RainScale:
    """Classes of values and their colours.

    Attributes:
        levels: Lower limits of the classes; values below the first one count as dry.
        colours: A colour for each class; dry and missing pixels have their own.
        norm: Mapping from values to classes.
        label: Title of the colour bar, with the unit.
    """

    levels: tuple[float, ...]
    colours: Colormap
    norm: BoundaryNorm
    label: str


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
    colours = ListedColormap(list(rgba[:-1])).with_extremes(under=DRY, over=tuple(rgba[-1]), bad=(0, 0, 0, 0))
    # Classes begin like the events of scores, so that a forecast of the truth has the colours of the truth.
    return RainScale(limits, colours, BoundaryNorm([*map(lowest_event, limits)], len(limits) - 1), label)


def check_units(owner: str, units: str) -> None:
    """Raises ValueError if the units are unknown."""
    if units not in UNITS:
        raise ValueError(f"[{owner}] 'units' must be one of {', '.join(UNITS)} but got {units!r}.")


def draw_field(axes: Axes, frame: np.ndarray, scale: RainScale, pixels: float) -> None:
    """Draws a field (H, W) over all of the axes, which are `pixels` wide. Missing pixels are hatched."""
    # The hatching is the background. It is visible through missing pixels, which are transparent.
    axes.patch.set(facecolor=MISSING, hatch="////", edgecolor=HATCH, linewidth=0)
    # If the picture has fewer pixels than the field, their means are classified.
    shrunk = frame.shape[1] > pixels
    how: dict[str, Any] = {"interpolation": "hanning" if shrunk else "nearest", "interpolation_stage": "data"}
    axes.imshow(np.ma.masked_invalid(frame), cmap=scale.colours, norm=scale.norm, aspect="auto", **how)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(color=RULE, linewidth=0.6)


def draw_bar(figure: Figure, axes: Axes, scale: RainScale) -> None:
    """Fills the axes with the colour bar of the classes."""
    colours = ScalarMappable(scale.norm, scale.colours)
    room = axes.get_window_extent().height / 13
    ticks = scale.levels[:: max(1, math.ceil(len(scale.levels) / room))]
    bar = figure.colorbar(
        colours, cax=axes, extend="both", extendfrac="auto", extendrect=True, ticks=ticks, format="%g"
    )
    bar.outline.set(color=RULE, linewidth=0.6)
    axes.minorticks_off()
    axes.tick_params(labelsize=9, colors=SOFT, length=2)
    bar.set_label(scale.label, size=9, color=SOFT)


def rain_fields(
    owner: str, inputs: np.ndarray, targets: np.ndarray, forecasts: Mapping[str, np.ndarray]
) -> list[np.ndarray]:
    """Returns inputs, targets and every forecast as (T, H, W), NaN where they are not finite.

    Raises:
        ValueError: The shapes do not fit each other.
    """
    arrays = [np.asarray(value, np.float32) for value in (inputs, targets, *forecasts.values())]
    arrays = [value[..., None] if value.ndim == 3 else value for value in arrays]
    named = dict(zip(forecasts, arrays[2:], strict=True))
    if any(value.ndim != 4 or value.shape[-1] != 1 or 0 in value.shape for value in arrays[:2]):
        raise ValueError(
            f"[{owner}] 'inputs' and 'targets' must be one sequence of fields, (T, H, W) or (T, H, W, 1), "
            f"no side 0, but got {np.shape(inputs)} and {np.shape(targets)}."
        )
    sequences = sequences_of(owner, arrays[0], arrays[1], named)
    return [np.where(np.isfinite(value[0, ..., 0]), value[0, ..., 0], np.nan) for value in sequences]


def clock(owner: str, times: np.ndarray | None, count: int) -> list[str] | None:
    """Returns each frame's time as 2010-08-26T13:05, or None if the times are unknown.

    Raises:
        ValueError: The times are not datetime64 of (count,).
    """
    if times is None:
        return None
    array = np.asarray(times)
    if array.dtype.kind != "M" or array.shape != (count,):
        raise ValueError(
            f"[{owner}] 'times' must be datetime64 of ({count},), a time (UTC) for each input and each target, "
            f"but got {array.dtype} of {array.shape}."
        )
    return [str(time) for time in array.astype("datetime64[m]")]


def stamps(times: list[str] | None, t_in: int, at: Sequence[int], frame_interval: float | None) -> list[list[str]]:
    """Returns the lead time and, if known, the time of day of frames; `at` counts frames from the first input."""
    leads = [lead_time(t - t_in + 1, frame_interval) for t in at]
    return [[lead, *([] if times is None else [times[t][11:]])] for lead, t in zip(leads, at, strict=True)]


def scale_bar(width_km: float) -> float:
    """Returns a length in km of about a third of a field that is `width_km` wide: 1, 2 or 5 times a power of ten."""
    power = 10 ** np.floor(np.log10(width_km * 0.4))
    return float(max(step * power for step in (1, 2, 5) if step * power <= width_km * 0.4))
