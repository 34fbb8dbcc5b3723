"""A sheet of maps: the forecast and fields beside it, by lead time, as PDF or SVG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from convlstm.evaluation.lead_times import lead_time
from convlstm.report.coast import MapLines
from convlstm.report.figure_layout import Sheet
from convlstm.report.forecast_only import Extra
from convlstm.report.line_drawing import draw_lines
from convlstm.report.map_drawing import draw_bar, draw_field
from convlstm.report.style import DPI, INK, even_steps

import numpy as np
from matplotlib.figure import Figure

# Columns, and inches of the longer side of a map.
_MOST_COLUMNS, _SIDE = 4, 3.2
CREATOR = "convlstm"
"""The program that drew a file, as it says itself."""


def map_sheet(
    path: str | Path | None,
    rows: Sequence[Extra],
    *,
    step: float | None = None,
    times: np.ndarray | None = None,
    lines: MapLines | None = None,
    title: str | None = None,
    format: str = "pdf",
) -> Figure:
    """Draws fields in rows, and at most four lead times in columns.

    Args:
        path: The file; None only returns the figure.
        rows: The fields, of one shape.
        step: Minutes from frame to frame, for the headings. Default: unknown, headings count frames.
        times: Valid times of the frames (UTC), (T,). Default: unknown.
        lines: Coast, borders and grid lines. Default: none.
        title: Heading of the sheet. Default: none.
        format: "pdf" or "svg". Default: "pdf".
    """
    frames, height, width = rows[0].values.shape
    at = even_steps(frames, _MOST_COLUMNS)
    cell, tall = (_SIDE * side / max(height, width) for side in (width, height))
    left, gap, top, heading = 0.2, 0.1, 0.55 if title else 0.2, 0.45
    row_high = tall + gap + 0.25
    sheet = Sheet(left + len(at) * (cell + gap) + 1.0, top + heading + len(rows) * row_high + 0.2)
    sheet.title(left, title)
    for k, t in enumerate(at):
        middle = left + k * (cell + gap) + cell / 2
        sheet.write(middle, top, lead_time(t + 1, step), size=11, color=INK, ha="center")
        if times is not None:
            moment = str(times[t].astype("datetime64[m]")).replace("T", " ")
            sheet.write(middle, top + 0.2, f"{moment} UTC", ha="center")
    y = top + heading
    for row in rows:
        missing = ", hatched = missing" if np.isnan(row.values).any() else ""
        sheet.write(left, y, f"{row.title}{missing}", size=10, color=INK)
        for k, t in enumerate(at):
            axes = sheet.axes(left + k * (cell + gap), y + 0.22, cell, tall)
            # Vector formats keep all pixels.
            draw_field(axes, row.values[t], row.scale, max(width, cell * DPI))
            if lines is not None:
                draw_lines(axes, lines, (height, width))
        draw_bar(sheet.figure, sheet.axes(left + len(at) * (cell + gap) + 0.05, y + 0.22, 0.14, tall), row.scale)
        y += row_high
    if path is not None:
        dated = {"pdf": "CreationDate", "svg": "Date"}[format]
        # In memory, since Matplotlib's writer of PDF hides that a disk is full.
        drawn = io.BytesIO()
        sheet.figure.savefig(drawn, format=format, metadata={"Creator": CREATOR, dated: None})
        Path(path).write_bytes(drawn.getvalue())
    return sheet.figure
