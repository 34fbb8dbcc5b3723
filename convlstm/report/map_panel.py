"""Panels of maps: inputs, truth and forecasts by lead time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from convlstm.report.chart_descriptions import check_count, check_positive
from convlstm.report.figure_layout import Sheet
from convlstm.report.map_drawing import Maps, Scale, draw_bar, draw_field, scale_bar
from convlstm.report.matplotlib_charts import save
from convlstm.report.style import DPI, INK, SOFT, even_steps

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

Row = tuple[str, list[str], np.ndarray]
"""Name, notes and frames of a row."""


def map_panel(
    owner: str,
    path: str | Path | None,
    maps: Maps,
    scale: Scale,
    *,
    note: Callable[[np.ndarray, np.ndarray], str | None],
    remark: str,
    errors: Mapping[str, np.ndarray] | None = None,
    error_scale: Scale | None = None,
    pixel_km: float | None = None,
    title: str | None = None,
    max_columns: int = 6,
) -> Figure:
    """Draws a sequence as maps, as a PNG.

    Args:
        owner: Name of the public function, for errors.
        path: The file; None only returns the figure.
        maps: The sequence.
        scale: Colours of the values.
        note: Returns the text beside a forecast, given the forecast and the truth; None for no text.
        remark: Text below the maps if there is any such text.
        errors: Rows of errors (horizon, H, W) by name, below the forecasts. Default: none.
        error_scale: Their colours. Default: none.
        pixel_km, title, max_columns: The same as for `rain_panel`.

    Raises:
        ValueError: A value is out of its range.
    """
    check_positive(owner, "pixel_km", pixel_km)
    check_count(owner, "max_columns", max_columns)
    t_in, height, width = maps.inputs.shape
    truth = maps.panels["truth"]
    horizon = len(truth)
    past, future = _back(t_in, max_columns), even_steps(horizon, max_columns)
    columns = max(len(past), len(future))
    input_days, target_days = _days(maps.times, past), _days(maps.times, [t_in + t for t in future])
    texts = {name: note(field, truth) for name, field in maps.panels.items() if name != "truth"}
    rows: list[Row] = [("truth", target_days if target_days != input_days else [], truth)]
    rows += [(name, [text] if text else [], maps.panels[name]) for name, text in texts.items()]

    # Sizes in inches: the fields keep their shape and the gaps their size.
    left, right, gap, between = 1.75, 1.0, 0.06, 0.12
    heading = 0.25 if maps.times is None else 0.42
    cell = min((14 - left - right) / columns - gap, 1.9, 2.6 * width / height)
    tall = cell * height / width
    top, foot = 0.55 if title else 0.1, 0.42
    wide = max(left + columns * (cell + gap) + right, 8)
    errors = errors or {}
    high = top + 2 * heading + between + (1 + len(rows) + len(errors)) * (tall + gap) + foot
    sheet = Sheet(wide, high)
    sheet.title(left, title)

    def draw(y: float, row: Row, at: list[int], colours: Scale) -> None:
        name, notes, frames = row
        for k, t in enumerate(at):
            draw_field(sheet.axes(left + k * (cell + gap), y, cell, tall), frames[t], colours, cell * DPI)
        sheet.label(left - 0.12, y + tall / 2, name, notes, 18)

    def heads(y: float, at: list[int]) -> None:
        for k, (lead, *time) in enumerate(maps.stamps(at)):
            middle = left + k * (cell + gap) + cell / 2
            sheet.write(middle, y, lead, size=10, color=INK, ha="center")
            sheet.write(middle, y + 0.18, "".join(time), ha="center")

    def bar(y: float, count: int, colours: Scale) -> None:
        side = sheet.axes(left + columns * (cell + gap) + 0.1, y, 0.15, count * (tall + gap) - gap)
        draw_bar(sheet.figure, side, colours)

    y = top
    heads(y, past)
    y += heading
    draw(y, ("input", input_days, maps.inputs), past, scale)
    y += tall + gap + between
    heads(y, [t_in + t for t in future])
    y += heading
    bar(y, len(rows), scale)
    for row in rows:
        draw(y, row, future, scale)
        y += tall + gap
    if error_scale is not None:
        bar(y, len(errors), error_scale)
        for name, frames in errors.items():
            draw(y, (name, [], frames), future, error_scale)
            y += tall + gap
    remarks = ["hatched = missing"] if maps.missing else []
    if any(texts.values()):
        over = "the lead time" if horizon == 1 else f"all {horizon} lead times"
        remarks.append(f"{remark}, {over}")
    if errors:
        remarks.append("error = forecast - truth")
    if pixel_km is not None:
        _draw_scale_bar(sheet, left - 0.14, high - foot + 0.3, width * pixel_km, cell)
    sheet.write(left, high - foot + 0.13, "   |   ".join(remarks))
    save(sheet.figure, path)
    return sheet.figure


def _draw_scale_bar(sheet: Sheet, right: float, y: float, width_km: float, cell: float) -> None:
    """Draws a line as long as a number of km in maps that are `cell` inches wide, to the left of a point."""
    length = scale_bar(width_km)
    inches = length / width_km * cell
    x, wide, high = right - inches, sheet.wide, sheet.high
    ends = ((x / wide, (x + inches) / wide), (1 - y / high, 1 - y / high))
    sheet.figure.add_artist(Line2D(*ends, color=SOFT, linewidth=2, solid_capstyle="butt", marker="|", markersize=6))
    sheet.write(x + inches / 2, y - 0.2, f"{length:g} km", ha="center")


def _days(times: list[str] | None, at: Sequence[int]) -> list[str]:
    """Returns the day of the frames `at`, or the first and the last day."""
    if times is None:
        return []
    first, last = times[at[0]][:10], times[at[-1]][:10]
    return [f"{last} UTC"] if first == last else [f"{first} to", f"{last} UTC"]


def _back(count: int, most: int) -> list[int]:
    """Returns the indices of at most `most` of `count` inputs, at equal steps back from the last one."""
    return [t for t in range(count) if (count - 1 - t) % math.ceil(count / most) == 0]
