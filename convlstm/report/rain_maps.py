"""Panels of rain fields: what was seen, what came and what was forecast, by lead time."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from convlstm.evaluation.ranking import critical_success
from convlstm.report.rain import (
    UNITS,
    check_count,
    check_positive,
    clock,
    draw_bar,
    draw_field,
    rain_fields,
    rain_scale,
    scale_bar,
    stamps,
)
from convlstm.report.style import DPI, INK, SOFT, even_steps, save

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D


def rain_panel(
    path: str | Path,
    inputs: np.ndarray,
    targets: np.ndarray,
    forecasts: Mapping[str, np.ndarray],
    *,
    units: str,
    times: np.ndarray | None = None,
    frame_interval: float | None = None,
    pixel_km: float | None = None,
    title: str | None = None,
    levels: Sequence[float] | None = None,
    threshold: float | None = None,
    max_columns: int = 6,
) -> None:
    """Draws rain that was seen, that came and that was forecast, as a PNG.

    Rows are the input, the truth and each forecast, columns are frames, at most `max_columns` in a row: at equal steps
    up to the last lead time where there are such, else evenly spread. Fields are drawn in classes; pixels that are NaN
    or infinite count as missing and are hatched. Beside each forecast stands its critical success index, of this
    sequence and over all lead times, where the truth or the forecast reaches the threshold at all.

    Args:
        path: The file.
        inputs: Physical values, (T_in, H, W) or (T_in, H, W, 1). The first row is the northern one.
        targets: (horizon, H, W) or (horizon, H, W, 1).
        forecasts: By name, arrays of the shape of the targets, in the order of the rows.
        units: Of the values: "mm/h", "dBZ" or "raw".
        times: Times (UTC) of the inputs and the targets, datetime64 of (T_in + horizon,). Default: unknown.
        frame_interval: Minutes between two frames, for the headings. Default: unknown, headings count frames.
        pixel_km: Side of a pixel in km, for the scale bar. Default: unknown, no bar.
        title: Heading of the picture. Default: none.
        levels: Lower limits of the classes, rising. Default: 0.1 to 100 mm/h, 5 to 55 dBZ, or about ten even steps of
            the raw values.
        threshold: From which value on the critical success index counts a pixel. Default: 2 mm/h, 30 dBZ; none, and no
            score, for raw values.
        max_columns: At most this many frames in a row. Default: 6.

    Raises:
        ValueError: The shapes or the times do not fit each other, there is no forecast, or a value is out of its range.
    """
    layout: dict[str, Any] = {"units": units, "times": times, "frame_interval": frame_interval, "pixel_km": pixel_km}
    layout |= {"title": title, "levels": levels, "threshold": threshold, "max_columns": max_columns}
    save(draw_maps(inputs, targets, forecasts, **layout), path)


def draw_maps(
    inputs: np.ndarray,
    targets: np.ndarray,
    forecasts: Mapping[str, np.ndarray],
    *,
    units: str,
    times: np.ndarray | None = None,
    frame_interval: float | None = None,
    pixel_km: float | None = None,
    title: str | None = None,
    levels: Sequence[float] | None = None,
    threshold: float | None = None,
    max_columns: int = 6,
) -> Figure:
    fields = rain_fields("rain_panel", inputs, targets, forecasts)
    scale = rain_scale("rain_panel", units, levels, fields[:2])
    check_positive("rain_panel", "frame_interval", frame_interval)
    check_positive("rain_panel", "pixel_km", pixel_km)
    check_count("rain_panel", "max_columns", max_columns)
    t_in, height, width = fields[0].shape
    horizon = len(fields[1])
    moments = clock("rain_panel", times, t_in + horizon)
    threshold = UNITS[units][2] if threshold is None else threshold
    past = _back(t_in, max_columns)
    future = even_steps(horizon, max_columns)
    columns = max(len(past), len(future))

    # Everything is laid out in inches from the top left: the fields keep their shape and the gaps their size.
    left, right, gap, between = 1.75, 1.0, 0.06, 0.12
    heading = 0.25 if moments is None else 0.42
    cell = min((14 - left - right) / columns - gap, 1.9, 2.6 * width / height)
    tall = cell * height / width
    top, foot = 0.55 if title else 0.1, 0.42
    wide = max(left + columns * (cell + gap) + right, 8)
    high = top + 2 * heading + between + (2 + len(forecasts)) * (tall + gap) + foot
    figure = Figure(figsize=(wide, high), dpi=DPI, facecolor="white")

    def axes(x: float, y: float, w: float, h: float) -> Axes:
        return figure.add_axes((x / wide, 1 - (y + h) / high, w / wide, h / high))

    def write(x: float, y: float, text: str, **how: Any) -> None:
        figure.text(x / wide, 1 - y / high, text, **{"size": 9, "color": SOFT, "va": "top", **how})

    def row(y: float, label: str, notes: list[str], frames: np.ndarray, at: list[int]) -> None:
        for k, t in enumerate(at):
            draw_field(axes(left + k * (cell + gap), y, cell, tall), frames[t], scale, cell * DPI)
        lines = [line.replace("_ ", "_") for line in textwrap.wrap(label.replace("_", "_ "), 18)]
        start = y + tall / 2 - (0.185 * len(lines) + 0.16 * len(notes)) / 2
        write(left - 0.12, start, "\n".join(lines), size=11, color=INK, ha="right")
        for k, note in enumerate(notes):
            write(left - 0.12, start + 0.185 * len(lines) + 0.02 + 0.16 * k, note, ha="right")

    def heads(y: float, at: list[int]) -> None:
        for k, (lead, *time) in enumerate(stamps(moments, t_in, at, frame_interval)):
            middle = left + k * (cell + gap) + cell / 2
            write(middle, y, lead, size=10, color=INK, ha="center")
            write(middle, y + 0.18, "".join(time), ha="center")

    if title:
        write(left, 0.14, title, size=14, weight="bold", color=INK)
    seen, coming = _days(moments, past), _days(moments, [t_in + t for t in future])
    y = top
    heads(y, past)
    y += heading
    row(y, "input", seen, fields[0], past)
    y += tall + gap + between
    heads(y, [t_in + t for t in future])
    y += heading
    draw_bar(figure, axes(left + columns * (cell + gap) + 0.1, y, 0.15, len(fields[1:]) * (tall + gap) - gap), scale)
    row(y, "truth", coming if coming != seen else [], fields[1], future)
    scored = False
    for name, field in zip(forecasts, fields[2:], strict=True):
        y += tall + gap
        score = math.nan if threshold is None else critical_success(field, fields[1], threshold)
        notes = []
        if not math.isnan(score):
            scored = True
            at = f"{threshold:g} {units}".removesuffix(" raw")
            notes = [f"CSI at {at}: {score:.2f}"]
        row(y, name, notes, field, future)
    remarks = []
    if any(np.isnan(field).any() for field in fields):
        remarks.append("hatched = missing")
    if scored:
        over = "the lead time" if horizon == 1 else f"all {horizon} lead times"
        remarks.append(f"CSI = hits / (hits + misses + false alarms), {over}")
    if pixel_km is not None:
        length = scale_bar(width * pixel_km)
        inches = length / (width * pixel_km) * cell
        x, under = left - 0.14 - inches, high - foot + 0.3
        ends = ((x / wide, (x + inches) / wide), (1 - under / high, 1 - under / high))
        figure.add_artist(Line2D(*ends, color=SOFT, linewidth=2, solid_capstyle="butt", marker="|", markersize=6))
        write(x + inches / 2, under - 0.2, f"{length:g} km", ha="center")
    write(left, high - foot + 0.13, "   |   ".join(remarks))
    return figure


def _days(times: list[str] | None, at: list[int]) -> list[str]:
    """The day, or the first and the last day, of the frames `at`."""
    if times is None:
        return []
    first, last = times[at[0]][:10], times[at[-1]][:10]
    return [f"{last} UTC"] if first == last else [f"{first} to", f"{last} UTC"]


def _back(count: int, most: int) -> list[int]:
    """At most `most` of the inputs, at equal steps back from the last one."""
    return [t for t in range(count) if (count - 1 - t) % math.ceil(count / most) == 0]
