"""Animations of rain fields: the truth beside the forecasts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from convlstm.report.chart_descriptions import check_positive
from convlstm.report.frame_animation import write_gif
from convlstm.report.rain_drawing import (
    RainScale,
    clock,
    draw_bar,
    draw_field,
    rain_fields,
    rain_scale,
    stamps,
)
from convlstm.report.style import COLOURS, DPI, INK, RULE, SOFT

import numpy as np
from matplotlib.figure import Figure


def rain_gif(
    path: str | Path,
    inputs: np.ndarray,
    targets: np.ndarray,
    forecasts: Mapping[str, np.ndarray],
    *,
    units: str,
    times: np.ndarray | None = None,
    frame_interval: float | None = None,
    levels: Sequence[float] | None = None,
    milliseconds: int = 300,
) -> None:
    """Writes observed rain beside the forecasts as a GIF that loops and rests on the last frame.

    During the inputs every panel shows them. From the first lead time on, forecasts have a coloured frame. Classes,
    colours and missing pixels are drawn as in `rain_panel`.

    Args:
        path: The file.
        inputs: Physical values, (T_in, H, W) or (T_in, H, W, 1). The first row is the northern one.
        targets: (horizon, H, W) or (horizon, H, W, 1).
        forecasts: Arrays of the shape of the targets, by name.
        units: Units of the values: "mm/h", "dBZ" or "raw".
        times: Times (UTC) of the inputs and the targets, datetime64 of (T_in + horizon,). Default: unknown.
        frame_interval: Minutes between two frames, for the stamps. Default: unknown, stamps count frames.
        levels: Lower limits of the classes, rising. Default: as in `rain_panel`.
        milliseconds: Time that a frame is shown for. Default: 300.

    Raises:
        ValueError: The shapes or the times do not fit each other, there is no forecast, or a value is out of its range.
    """
    fields = rain_fields("rain_gif", inputs, targets, forecasts)
    scale = rain_scale("rain_gif", units, levels, fields[:2])
    check_positive("rain_gif", "frame_interval", frame_interval)
    t_in, horizon = len(fields[0]), len(fields[1])
    moments = clock("rain_gif", times, t_in + horizon)
    named = dict(zip(("truth", *forecasts), fields[1:], strict=True))
    missing = any(np.isnan(field).any() for field in fields)

    def figures() -> Iterator[Figure]:
        for t, (lead, *_) in enumerate(stamps(moments, t_in, range(t_in + horizon), frame_interval)):
            time = None if moments is None else f"{moments[t].replace('T', ' ')} UTC"
            panels = {name: fields[0][t] if t < t_in else field[t - t_in] for name, field in named.items()}
            yield rain_figure(panels, scale, lead, time, forecast=t >= t_in, missing=missing)

    # The wettest frame has the most colours.
    wettest = int(np.argmax([np.nansum(frame) for frame in np.concatenate(fields[:2])]))
    write_gif(path, figures(), milliseconds, typical=(0, t_in - 1, t_in, wettest, -1))


def rain_figure(
    panels: Mapping[str, np.ndarray],
    scale: RainScale,
    lead: str,
    time: str | None,
    *,
    forecast: bool,
    missing: bool,
) -> Figure:
    """Returns one picture of the animation, laid out in whole pixels so that small fields stay crisp."""
    height, width = next(iter(panels.values())).shape
    most = min(384, 1260 // len(panels))
    enlarged = max(1, round(min(256, most) / max(height, width)))
    zoom = enlarged if enlarged * max(height, width) <= most else most / max(height, width)
    w, h, gap, head, foot, side = round(width * zoom), round(height * zoom), 12, 30, 34, 82
    wide, high = len(panels) * (w + gap) + gap + side, head + h + foot
    figure = Figure(figsize=(wide / DPI, high / DPI), dpi=DPI, facecolor="white")
    for k, (name, field) in enumerate(panels.items()):
        axes = figure.add_axes(((gap + k * (w + gap)) / wide, foot / high, w / wide, h / high))
        draw_field(axes, field, scale, w)
        marked = k > 0 and forecast
        axes.spines[:].set(color=COLOURS[1] if marked else RULE, linewidth=2.5 if marked else 1)
        label = name if len(name) * 8 <= w else name[: max(w // 8 - 2, 1)] + ".."
        axes.set_title(label, size=11, color=COLOURS[1] if marked else INK, pad=6)
    draw_bar(figure, figure.add_axes(((wide - side + 6) / wide, foot / high, 12 / wide, h / high)), scale)
    write = {"y": 11 / high, "va": "baseline"}
    stamp = "  ".join(["forecast" if forecast else "input", lead, *([] if time is None else [time])])
    figure.text(gap / wide, s=stamp, size=11, color=INK, ha="left", **write)
    if missing:
        figure.text(1 - gap / wide, s="hatched = missing", size=9, color=SOFT, ha="right", **write)
    return figure
