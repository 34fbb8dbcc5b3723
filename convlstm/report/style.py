"""The look that all pictures share: colours, sizes, axes, names at the ends of lines, and how numbers are written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

DPI = 100
INK, SOFT, RULE = "#222222", "#767676", "#bbbbbb"
MISSING = "#e3c9a0"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
BASELINES = {"persistence": ("#767676", "--"), "extrapolation": ("#8a6d3b", "-."), "zeros": ("#a6a6a6", ":")}


def subplots(count: int, title: str | None) -> tuple[Figure, list[Axes]]:
    """A figure of that many axes, three side by side."""
    across = min(count, 3)
    down = -(-count // across)
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1, wspace=0.03, hspace=0.06)
    high = 3.9 * down + (0.45 if title else 0)
    figure = Figure(figsize=(4.66 * across if count > 1 else 7, high), dpi=DPI, facecolor="white", layout=layout)
    if title:
        figure.suptitle(title, size=14, weight="bold", color=INK)
    return figure, [figure.add_subplot(down, across, k + 1) for k in range(count)]


def dress(axes: Axes, title: str, note: str, x: str, y: str) -> None:
    axes.set_title(title, size=12, color=INK, loc="left", weight="bold")
    axes.set_title(note, size=9, color=SOFT, loc="right")
    axes.set_xlabel(x, size=10, color=INK)
    axes.set_ylabel(y, size=10, color=INK)
    axes.tick_params(labelsize=9, colors=SOFT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(RULE)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)


def say_empty(axes: Axes) -> None:
    """Says that there is nothing to draw: the scores are not defined."""
    axes.text(0.5, 0.5, "no value", transform=axes.transAxes, size=10, color=SOFT, ha="center")
    axes.set_yticks([])


def name_ends(axes: Axes, ends: list[tuple[float, str, str]], x: float) -> None:
    """Names every line at its end, in its colour; names that would touch are moved apart, but not out of the axes."""
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
    for height, (_, name, colour) in zip(heights, ends, strict=True):
        place: dict[str, Any] = {
            "xycoords": ("data", "axes fraction"),
            "textcoords": "offset points",
            "annotation_clip": False,
        }
        axes.annotate(name, (x, height), (7, 0), size=10, color=colour, va="center", **place)


def line_styles(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    colours = iter(COLOURS * (len(list(names)) // len(COLOURS) + 1))
    return {name: BASELINES[name] if name in BASELINES else (next(colours), "-") for name in names}


def spread(count: int, most: int) -> list[int]:
    return sorted({round(t) for t in np.linspace(0, count - 1, min(count, most)).tolist()})


def even_steps(count: int, most: int) -> list[int]:
    """At most `most` of the lead times: at equal steps up to the last one if that leaves half as many, else spread."""
    step = next((t for t in range(1, count + 1) if count % t == 0 and most / 2 <= count // t <= most), None)
    return spread(count, most) if step is None else list(range(step - 1, count, step))


def lead_time(lead: int, frame_interval: float | None) -> str:
    """The heading of a frame: t-2, t-1, t0, +1, +2, or minutes."""
    if frame_interval is None:
        return f"+{lead}" if lead > 0 else f"t{lead}" if lead else "t0"
    return f"{lead * frame_interval:+g} min" if lead else "now"


def digits(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:#.4g}".rstrip(".")


def save(figure: Figure, path: str | Path) -> None:
    figure.savefig(path, format="png", dpi=DPI)
