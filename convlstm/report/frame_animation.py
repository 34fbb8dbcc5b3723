"""Animations of forecasts, and GIF files of figures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from convlstm.backend.files import replacing
from convlstm.evaluation.lead_times import lead_time
from convlstm.report.frame_panel import GREY, picture, sequences_of
from convlstm.report.style import COLOURS, DPI, INK, RULE, spread

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

# Frames of a coloured clip that its palette is made from.
_MOST_TYPICAL = 24
# Share of all pixels from which a colour is kept as it is.
_COMMON = 1e-4


def forecast_gif(
    path: str | Path,
    inputs: np.ndarray,
    targets: np.ndarray,
    forecasts: Mapping[str, np.ndarray],
    *,
    frame_interval: float | None = None,
    milliseconds: int = 250,
) -> None:
    """Writes the truth beside the forecasts as a GIF that loops and rests on the last frame.

    During the inputs every panel shows them. From the first lead time on, forecasts have a coloured frame.

    Args:
        path: The file.
        inputs: (T_in, H, W, C).
        targets: (horizon, H, W, C). NaN where missing.
        forecasts: Arrays of the shape of the targets, by name.
        frame_interval: Minutes between two frames, for the labels. Default: unknown, labels count frames.
        milliseconds: Time that a frame is shown for. Default: 250.

    Raises:
        ValueError: The shapes do not fit each other, or there is no forecast.
    """
    sequences = sequences_of("forecast_gif", inputs, targets, forecasts)
    if np.ndim(inputs) == 5:
        raise ValueError(f"[forecast_gif] 'inputs' must be one sequence (T, H, W, C) but got {np.shape(inputs)}.")
    sequences = [value[0] for value in sequences]
    t_in, horizon = len(sequences[0]), len(sequences[1])

    def figures() -> Iterator[Figure]:
        for t in range(t_in + horizon):
            frames = (
                [value[t - t_in] for value in sequences[1:]] if t >= t_in else [sequences[0][t]] * len(sequences[1:])
            )
            yield frame_figure(dict(zip(("truth", *forecasts), frames, strict=True)), t - t_in + 1, frame_interval)

    typical = (0, t_in - 1, t_in, -1) if sequences[0].shape[-1] != 3 else typical_colours(t_in + horizon)
    write_gif(path, figures(), milliseconds, typical=typical)


def write_gif(path: str | Path, figures: Iterable[Figure], milliseconds: int, *, typical: Iterable[int]) -> None:
    """Writes figures of one size as a GIF that loops and rests on the last one.

    Args:
        path: The file.
        figures: At least one figure. They are drawn one at a time.
        milliseconds: Time that a figure is shown for. The last one is shown six times as long.
        typical: Indices of figures that together have all colours. The common palette is made from them.
    """
    images = [Image.fromarray(pixels(figure)) for figure in figures]
    palette = _palette([images[k] for k in typical])
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    durations = [milliseconds] * (len(images) - 1) + [6 * milliseconds]
    options = {"append_images": images[1:], "duration": durations, "comment": b"convlstm"}
    with replacing(Path(path)) as temporary:
        images[0].save(temporary, save_all=True, loop=0, format="GIF", **options)


def typical_colours(count: int) -> list[int]:
    """Returns indices of frames that together have all colours of a coloured clip, in which any may come and go."""
    return spread(count, _MOST_TYPICAL)


def pixels(figure: Figure) -> np.ndarray:
    """Returns the picture of a figure, (H, W, 3) uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _palette(images: list[Image.Image]) -> Image.Image:
    """Returns one palette for all frames, so that greys do not flicker.

    It has all colours if there are few, else the common ones, such as those of classes under lines, and means of
    similar colours.
    """
    joined = Image.fromarray(np.concatenate([np.asarray(image) for image in images]))
    palette = joined.quantize(256, method=Image.Quantize.FASTOCTREE)
    colours = np.array(palette.getpalette()).reshape(-1, 3)
    # Pillow distinguishes colours in steps of four levels, so the most common one of closer colours is enough.
    apart: dict[tuple[int, ...], tuple[int, ...]] = {}
    counted: list[Any] = joined.getcolors(joined.width * joined.height) or []
    common = []
    for count, colour in sorted(counted, reverse=True):
        step = tuple(level // 4 for level in colour)
        if step not in apart and count >= _COMMON * joined.width * joined.height:
            common.append(colour)
        apart.setdefault(step, colour)
    if len(apart) <= 1024:
        colours = np.array(list(apart.values())[:256])
    elif common:
        colours = np.concatenate([common[:128], colours])[:256]
    colours[colours.min(axis=1) > 247] = 255
    palette.putpalette(colours.ravel().tolist())
    return palette


def frame_figure(panels: Mapping[str, np.ndarray], lead: int, frame_interval: float | None) -> Figure:
    """Returns one picture of the animation, laid out in whole pixels so that small frames stay crisp."""
    height, width, _ = next(iter(panels.values())).shape
    scale = max(1, round(256 / max(height, width))) if max(height, width) <= 384 else 384 / max(height, width)
    w, h, gap, head, foot = round(width * scale), round(height * scale), 12, 30, 30
    wide, high = len(panels) * (w + gap) + gap, head + h + foot
    figure = Figure(figsize=(wide / DPI, high / DPI), dpi=DPI, facecolor="white")
    for k, (name, frame) in enumerate(panels.items()):
        axes = figure.add_axes(((gap + k * (w + gap)) / wide, foot / high, w / wide, h / high))
        axes.imshow(picture(frame, GREY), cmap=GREY, vmin=0, vmax=1, aspect="auto")
        forecast = k > 0 and lead > 0
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(color=COLOURS[1] if forecast else RULE, linewidth=3 if forecast else 1)
        label = name if len(name) * 8 <= w else name[: max(w // 8 - 2, 1)] + ".."
        axes.set_title(label, size=11, color=COLOURS[1] if forecast else INK, pad=6)
    when = "input" if lead <= 0 else "forecast"
    figure.text(0.5, 9 / high, f"{when}  {lead_time(lead, frame_interval)}", size=11, color=INK, ha="center")
    return figure
