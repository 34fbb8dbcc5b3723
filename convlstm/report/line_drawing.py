"""Coast, borders, grid lines and the scale bar in maps that Matplotlib draws."""

from __future__ import annotations

from typing import Any

from convlstm.report.coast import MapLines
from convlstm.report.map_drawing import scale_bar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patheffects import Stroke, withStroke

_COAST, _BORDER, _GRID, _HALO = "#1d2125", "#4b4f55", "#8b9198", "white"
# Share of the map's width that the scale bar may take, and its place as shares of width and height.
_BAR, _RIGHT, _BASE = 0.3, 0.97, 0.035
_SMALL = 7.5
# Width in pixels of a map from which on lines have their full width, and the least share of it.
_FULL, _THINNEST = 450, 0.35
# Labels of meridians end where the scale bar may begin; those of parallels keep clear of the corners.
_LABELS = (0.04, 0.6)


def draw_lines(axes: Axes, lines: MapLines, shape: tuple[int, int]) -> None:
    """Draws the lines of a map over a field (H, W) that `imshow` has drawn.

    Args:
        axes: The axes.
        lines: The lines.
        shape: Height and width of the field in pixels.
    """
    H, W = shape
    # Lines of small maps are thinner.
    size = min(1.0, max(_THINNEST, axes.get_window_extent().width / _FULL))
    halo = withStroke(linewidth=2.4 * size, foreground=_HALO, alpha=0.7)
    grid: dict[str, Any] = {"color": _GRID, "linewidth": 0.6 * size, "linestyle": ":"}
    borders: dict[str, Any] = {
        "color": _BORDER,
        "linewidth": 0.7 * size,
        "linestyle": (0, (5, 2)),
        "path_effects": [halo],
    }
    coast: dict[str, Any] = {"color": _COAST, "linewidth": 0.9 * size, "path_effects": [halo]}
    of_grid = [part for line in lines.grid for part in line.parts]
    for parts, how in ((of_grid, grid), (lines.borders, borders), (lines.coast, coast)):
        # The centre of the first pixel is at 0.
        axes.add_collection(LineCollection([part - 0.5 for part in parts], **how), autolim=False)
    around = [Stroke(linewidth=2, foreground=_HALO, alpha=0.8), withStroke(linewidth=0)]
    text: dict[str, Any] = {"size": max(6.0, _SMALL * size), "color": _COAST, "path_effects": around}
    for line in lines.grid:
        x, y = line.at[0] / W, 1 - line.at[1] / H
        if line.is_meridian and y < _BASE and _LABELS[0] < x < _LABELS[1]:
            axes.text(x + 0.005, 0.012, line.label, transform=axes.transAxes, va="bottom", **text)
        elif not line.is_meridian and x < _BASE and 0.08 < y < 0.95:
            axes.text(0.008, y, line.label, transform=axes.transAxes, va="bottom", **text)
    wide_km = W * lines.pixel_km
    length = scale_bar(wide_km * _BAR / 0.4)
    start = _RIGHT - length / wide_km
    for colour, width in ((_HALO, 4.0), (_COAST, 1.8)):
        points = np.array([[start, start, _RIGHT, _RIGHT], [_BASE + 0.012, _BASE, _BASE, _BASE + 0.012]])
        axes.plot(*points, color=colour, linewidth=width, transform=axes.transAxes, scalex=False, scaley=False)
    place: dict[str, Any] = {"transform": axes.transAxes, "ha": "center", "va": "bottom"}
    axes.text((start + _RIGHT) / 2, _BASE + 0.012, f"{length:g} km", **place, **text)
