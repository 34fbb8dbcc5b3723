"""Animations of maps: the truth beside the forecasts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from convlstm.report.coast import MapLines
from convlstm.report.frame_animation import write_gif
from convlstm.report.line_drawing import draw_lines
from convlstm.report.map_drawing import Maps, Scale, draw_bar, draw_field, in_words
from convlstm.report.style import COLOURS, DPI, INK, RULE, SOFT

import numpy as np
from matplotlib.figure import Figure

LARGEST = 384
"""Longer side of a panel in pixels, unless another one is asked for."""
# Pixels of all panels side by side.
_WIDEST = 1260


def map_gif(path: str | Path, maps: Maps, scale: Scale, milliseconds: int) -> None:
    """Writes the truth beside the forecasts as a GIF that loops and rests on the last frame.

    During the inputs every panel shows them. From the first lead time on, forecasts have a coloured frame.

    Args:
        path: The file.
        maps: The sequence.
        scale: Colours of the values.
        milliseconds: Time that a frame is shown for.
    """
    t_in, horizon = len(maps.inputs), len(maps.panels["truth"])

    def figures() -> Iterator[Figure]:
        for t, (lead, *_) in enumerate(maps.stamps(range(t_in + horizon))):
            time = None if maps.times is None else in_words(maps.times[t])
            panels = {name: maps.inputs[t] if t < t_in else field[t - t_in] for name, field in maps.panels.items()}
            yield map_figure(panels, [scale], lead, time, forecast=t >= t_in, missing=maps.missing)

    # The wettest frame has the most colours.
    wettest = int(np.argmax([np.nansum(frame) for frame in np.concatenate(maps.observed)]))
    write_gif(path, figures(), milliseconds, typical=(0, t_in - 1, t_in, wettest, -1))


def map_figure(
    panels: Mapping[str, np.ndarray],
    scales: Sequence[Scale],
    lead: str,
    time: str | None,
    *,
    forecast: bool,
    missing: bool,
    lines: MapLines | None = None,
    title: str | None = None,
    largest: int = LARGEST,
) -> Figure:
    """Returns one picture of the animation, laid out in whole pixels so that small fields stay crisp.

    Args:
        panels: Fields (H, W) by name.
        scales: The scale of all panels, or one for each of them.
        lead: The lead time.
        time: The time, or None.
        forecast: True if the panels after the first one are forecasts, or all are if there are several scales.
        missing: True to say that hatched pixels are missing.
        lines: Lines of the map. Default: none.
        title: Heading of the picture. Default: none.
        largest: Longer side of a panel in pixels that it may have. Default: 384.
    """
    height, width = next(iter(panels.values())).shape
    most = min(largest, _WIDEST * largest // LARGEST // len(panels))
    enlarged = max(1, round(min(largest * 2 // 3, most) / max(height, width)))
    zoom = enlarged if enlarged * max(height, width) <= most else most / max(height, width)
    w, h, gap, foot, side = round(width * zoom), round(height * zoom), 12, 34, 82
    head = 56 if title else 30
    wide, high = len(panels) * (w + gap) + gap + len(scales) * side, head + h + foot
    figure = Figure(figsize=(wide / DPI, high / DPI), dpi=DPI, facecolor="white")
    x = gap
    for k, (name, field) in enumerate(panels.items()):
        axes = figure.add_axes((x / wide, foot / high, w / wide, h / high))
        draw_field(axes, field, scales[min(k, len(scales) - 1)], w)
        if lines is not None:
            draw_lines(axes, lines, field.shape)
        marked = k > 0 and forecast and len(scales) == 1
        axes.spines[:].set(color=COLOURS[1] if marked else RULE, linewidth=2.5 if marked else 1)
        label = name if len(name) * 8 <= w else name[: max(w // 8 - 2, 1)] + ".."
        axes.set_title(label, size=11, color=COLOURS[1] if marked else INK, pad=6)
        x += w + gap
        if len(scales) > 1 or k == len(panels) - 1:
            place = ((x + 6) / wide, foot / high, 12 / wide, h / high)
            draw_bar(figure, figure.add_axes(place), scales[min(k, len(scales) - 1)])
            x += side
    if title:
        figure.text(gap / wide, 1 - 22 / high, title, size=13, weight="bold", color=INK, ha="left")
    write = {"y": 11 / high, "va": "baseline"}
    stamp = "  ".join(["forecast" if forecast else "input", lead, *([] if time is None else [time])])
    figure.text(gap / wide, s=stamp, size=11, color=INK, ha="left", **write)
    if missing:
        figure.text(1 - gap / wide, s="hatched = missing", size=9, color=SOFT, ha="right", **write)
    return figure
