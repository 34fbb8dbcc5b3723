"""Panels of rain fields: inputs, truth and forecasts by lead time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from convlstm.evaluation.ranking import critical_success
from convlstm.report.chart_descriptions import check_count, check_positive
from convlstm.report.figure_layout import Sheet
from convlstm.report.matplotlib_charts import save
from convlstm.report.rain_drawing import (
    UNITS,
    clock,
    draw_bar,
    draw_field,
    rain_fields,
    rain_scale,
    scale_bar,
    stamps,
)
from convlstm.report.style import DPI, INK, SOFT, even_steps

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D


def rain_panel(
    path: str | Path | None,
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
    """Draws observed and forecast rain, as a PNG.

    Rows are the input, the truth and each forecast. Columns are frames, at most `max_columns` in a row: at equal steps
    up to the last lead time if possible, else evenly spread. Fields are drawn in classes; pixels that are NaN or
    infinite count as missing and are hatched. Beside each forecast is its critical success index for this sequence over
    all lead times, if the truth or the forecast reaches the threshold.

    Args:
        path: The file; None only returns the figure.
        inputs: Physical values, (T_in, H, W) or (T_in, H, W, 1). The first row is the northern one.
        targets: (horizon, H, W) or (horizon, H, W, 1).
        forecasts: Arrays of the shape of the targets, by name, in the order of the rows.
        units: Units of the values: "mm/h", "dBZ" or "raw".
        times: Times (UTC) of the inputs and the targets, datetime64 of (T_in + horizon,). Default: unknown.
        frame_interval: Minutes between two frames, for the headings. Default: unknown, headings count frames.
        pixel_km: Side of a pixel in km, for the scale bar. Default: unknown, no bar.
        title: Heading of the picture. Default: none.
        levels: Lower limits of the classes, rising. Default: 0.1 to 100 mm/h, 5 to 55 dBZ, or about ten even steps of
            the raw values.
        threshold: Lowest value that the critical success index counts as an event. Default: 2 mm/h or 30 dBZ; raw
            values have no score.
        max_columns: Largest number of frames in a row. Default: 6.

    Raises:
        ValueError: The shapes or the times do not fit each other, there is no forecast, or a value is out of its range.
    """
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

    # Sizes in inches: the fields keep their shape and the gaps their size.
    left, right, gap, between = 1.75, 1.0, 0.06, 0.12
    heading = 0.25 if moments is None else 0.42
    cell = min((14 - left - right) / columns - gap, 1.9, 2.6 * width / height)
    tall = cell * height / width
    top, foot = 0.55 if title else 0.1, 0.42
    wide = max(left + columns * (cell + gap) + right, 8)
    high = top + 2 * heading + between + (2 + len(forecasts)) * (tall + gap) + foot
    sheet = Sheet(wide, high)
    sheet.title(left, title)

    def row(y: float, name: str, notes: list[str], frames: np.ndarray, at: list[int]) -> None:
        for k, t in enumerate(at):
            draw_field(sheet.axes(left + k * (cell + gap), y, cell, tall), frames[t], scale, cell * DPI)
        sheet.label(left - 0.12, y + tall / 2, name, notes, 18)

    def heads(y: float, at: list[int]) -> None:
        for k, (lead, *time) in enumerate(stamps(moments, t_in, at, frame_interval)):
            middle = left + k * (cell + gap) + cell / 2
            sheet.write(middle, y, lead, size=10, color=INK, ha="center")
            sheet.write(middle, y + 0.18, "".join(time), ha="center")

    input_days, target_days = _days(moments, past), _days(moments, [t_in + t for t in future])
    y = top
    heads(y, past)
    y += heading
    row(y, "input", input_days, fields[0], past)
    y += tall + gap + between
    heads(y, [t_in + t for t in future])
    y += heading
    side = sheet.axes(left + columns * (cell + gap) + 0.1, y, 0.15, len(fields[1:]) * (tall + gap) - gap)
    draw_bar(sheet.figure, side, scale)
    row(y, "truth", target_days if target_days != input_days else [], fields[1], future)
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
        sheet.figure.add_artist(Line2D(*ends, color=SOFT, linewidth=2, solid_capstyle="butt", marker="|", markersize=6))
        sheet.write(x + inches / 2, under - 0.2, f"{length:g} km", ha="center")
    sheet.write(left, high - foot + 0.13, "   |   ".join(remarks))
    save(sheet.figure, path)
    return sheet.figure


def _days(times: list[str] | None, at: list[int]) -> list[str]:
    """Returns the day of the frames `at`, or the first and the last day."""
    if times is None:
        return []
    first, last = times[at[0]][:10], times[at[-1]][:10]
    return [f"{last} UTC"] if first == last else [f"{first} to", f"{last} UTC"]


def _back(count: int, most: int) -> list[int]:
    """Returns the indices of at most `most` of `count` inputs, at equal steps back from the last one."""
    return [t for t in range(count) if (count - 1 - t) % math.ceil(count / most) == 0]
