"""Charts drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convlstm.backend.files import replacing
from convlstm.report.chart_descriptions import Bars, Chart, Histogram
from convlstm.report.style import COLOURS, DPI, INK, RULE, SOFT, even_steps, line_styles, spread

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, NullLocator, StrMethodFormatter

Ends = list[tuple[float, str, str]]
"""Last value, name and colour of each line."""

# Colour, line style and width of the lines that belong to no forecaster.
ROLES = {"truth": (INK, "-", 2.5), "guide": (SOFT, ":", 1.0)}


def draw(path: str | Path | None, charts: Sequence[Chart | Histogram], title: str | None, across: int = 3) -> Figure:
    """Returns a figure of charts, `across` side by side, and writes it as a PNG unless `path` is None."""
    figure, grid = subplots(len(charts), title, across)
    lines = [
        (line.like or name) for chart in charts if isinstance(chart, Chart) for name, line in chart.forecasters.items()
    ]
    styles = line_styles(dict.fromkeys(lines))
    for axes, chart in zip(grid, charts, strict=True):
        dress(axes, chart.title, chart.note, chart.x, chart.y)
        if isinstance(chart, Chart):
            _draw_lines(axes, chart, styles)
        else:
            _draw_histogram(axes, chart)
    save(figure, path)
    return figure


def save(figure: Figure, path: str | Path | None) -> None:
    """Writes a figure as a PNG unless `path` is None."""
    if path is not None:
        with replacing(Path(path)) as temporary:
            figure.savefig(temporary, format="png", dpi=DPI)


def subplots(count: int, title: str | None, across: int = 3) -> tuple[Figure, list[Axes]]:
    """Returns a figure and its axes, at most `across` side by side."""
    across = min(count, across)
    down = -(-count // across)
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1, wspace=0.03, hspace=0.06)
    high = 3.9 * down + (0.45 if title else 0)
    figure = Figure(figsize=(4.66 * across if count > 1 else 7, high), dpi=DPI, facecolor="white", layout=layout)
    if title:
        figure.suptitle(title, size=14, weight="bold", color=INK)
    return figure, [figure.add_subplot(down, across, k + 1) for k in range(count)]


def dress(axes: Axes, title: str, note: str, x: str, y: str) -> None:
    """Gives axes their titles and the look that all charts have."""
    axes.set_title(title, size=12, color=INK, loc="left", weight="bold")
    axes.set_title(note, size=9, color=SOFT, loc="right")
    axes.set_xlabel(x, size=10, color=INK)
    axes.set_ylabel(y, size=10, color=INK)
    axes.tick_params(labelsize=9, colors=SOFT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(RULE)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)


def name_ends(axes: Axes, ends: Ends, x: float) -> None:
    """Writes the name of every line at its end; names that would touch are moved apart, but not out of the axes."""
    scaled = axes.transScale.transform
    bottom, top = (scaled((1, limit))[1] for limit in axes.get_ylim())
    ends = sorted(ends)
    heights = [(scaled((1, value))[1] - bottom) / (top - bottom) for value, *_ in ends]
    for _ in range(50):
        for k in range(len(heights) - 1):
            overlap = max(0.065 - (heights[k + 1] - heights[k]), 0)
            heights[k] -= overlap / 2
            heights[k + 1] += overlap / 2
        heights = [min(max(height, 0.02), 0.98) for height in heights]
    how: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "va": "center"}
    for height, (_, name, colour) in zip(heights, ends, strict=True):
        axes.annotate(name, (x, height), (7, 0), size=10, color=colour, annotation_clip=False, **how)


def _draw_lines(axes: Axes, chart: Chart, styles: dict[str, tuple[str, str]]) -> None:
    ends: Ends = []
    for name, line in chart.lines.items():
        y = np.array(line.y, float)
        y[~np.isfinite(y) | (chart.log_y & (y <= 0))] = np.nan
        if line.role == "forecast":
            colour, dashes = styles[line.like or name]
            width, dashes = 2.0, "--" if line.dashed else dashes
        else:
            colour, dashes, width = ROLES[line.role]
            dashes = "--" if line.dashed else dashes
        marker = "o" if line.dots and line.role == "forecast" and len(y) <= 20 else None
        look: dict[str, Any] = {
            "linewidth": width,
            "marker": marker,
            "markersize": 4,
            "zorder": 2 - (line.role == "guide"),
        }
        axes.plot(np.asarray(line.x, float), y, dashes, color=colour, label=name, **look)
        finite = y[np.isfinite(y)]
        ends += [(finite[-1], name, colour)] if finite.size else []
    xs = np.concatenate([np.asarray(line.x, float) for line in chart.lines.values()])
    if chart.mark is not None:
        axes.axhline(chart.mark, color=RULE, linewidth=1, zorder=1, label="best")
    _scale(axes, chart, xs)
    if chart.empty:
        _say_empty(axes)
    elif chart.bars is None:
        bottom = axes.get_ylim()[0]
        last = xs.min() if chart.falling else xs.max()
        name_ends(axes, [(max(value, bottom), name, colour) for value, name, colour in ends], float(last))
    elif len(chart.forecasters) > 1:
        axes.legend(loc="upper left", fontsize=9, frameon=False)
    if chart.bars is not None and not chart.empty:
        _draw_counts(axes, chart.bars)


def _scale(axes: Axes, chart: Chart, xs: np.ndarray) -> None:
    """Sets the ranges of the axes and the numbers of the x axis."""
    if chart.log_y:
        axes.set_yscale("log")
    if chart.log_x:
        axes.set_xscale("log")
        axes.xaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), minor_locator=NullLocator())
        axes.xaxis.set(major_formatter=StrMethodFormatter("{x:g}"), minor_formatter=NullFormatter())
    if chart.falling:
        axes.set_xlim(xs.max(), xs.min())
    if chart.ticks is not None:
        ticks = [chart.ticks[k] for k in even_steps(len(chart.ticks), 10)]
        axes.xaxis.set(major_locator=FixedLocator(ticks), minor_locator=NullLocator())
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    if xs.min() == xs.max():
        axes.set_xlim(0.5 * xs[0], 1.5 * xs[0])
    if chart.span is not None:
        axes.set_ylim(chart.span[0] - 0.02 * (chart.bars is not None), chart.span[1] + 0.02)
    elif chart.from_zero:
        axes.set_ylim(bottom=0)
    elif chart.least is not None:
        axes.set_ylim(bottom=max(axes.get_ylim()[0], chart.least))
    if chart.log_y:
        axes.minorticks_off()


def _draw_counts(axes: Axes, bars: Bars) -> None:
    """Draws bars in small axes of their own, in the lower right corner."""
    inside = axes.inset_axes((0.62, 0.06, 0.36, 0.24))
    x, counts = (np.array(values)[np.array(bars.counts) > 0] for values in (bars.x, bars.counts))
    inside.bar(x, counts, 0.7 / max(len(bars.x) - 1, 1), color=COLOURS[0], alpha=0.5)
    inside.set(yscale="log", xlim=(-0.06, 1.06), xticks=[], ylim=(0.5, 2 * float(max(bars.counts))))
    inside.minorticks_off()
    inside.patch.set_alpha(0.7)
    inside.tick_params(labelsize=7, colors=SOFT, length=2)
    inside.spines[:].set(color=RULE, linewidth=0.6)
    inside.set_title("times given", size=8, color=SOFT, pad=2)


def _draw_histogram(axes: Axes, chart: Histogram) -> None:
    heights, ranks = chart.heights, np.arange(len(chart.heights))
    if not len(heights):
        _say_empty(axes)
        return
    axes.bar(ranks, heights, 0.85, color=COLOURS[0])
    axes.axhline(chart.mark, color=SOFT, linewidth=1.2, linestyle="--", label="best")
    axes.set_xticks(ranks[spread(len(ranks), 12 if len(ranks) <= 12 else 6)])
    axes.set_ylim(0, 1.12 * max(*heights, 1.5 * chart.mark))


def _say_empty(axes: Axes) -> None:
    axes.text(0.5, 0.5, "no value", transform=axes.transAxes, size=10, color=SOFT, ha="center")
    axes.set_yticks([])
