"""Panels of forecast frames: what was seen, what came, what was forecast, and the error."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convlstm.report.style import DPI, INK, MISSING, RULE, SOFT, digits, lead_time, save, spread

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

GREY = colormaps["gray"].with_extremes(bad=MISSING)
DIVERGING = colormaps["RdBu_r"].with_extremes(bad=MISSING)


def forecast_panel(
    path: str | Path,
    inputs: np.ndarray,
    targets: np.ndarray,
    forecasts: Mapping[str, np.ndarray],
    *,
    title: str | None = None,
    frame_interval: float | None = None,
    max_columns: int = 10,
) -> None:
    """Draws what was seen, what came, what was forecast and the error of the first forecast, as a PNG.

    A row holds at most `max_columns` frames, evenly spread, with the last input, the first and the last lead time among
    them. One channel is drawn in grey and three as RGB, both from 0 to 1; of any other number the mean is drawn. The
    error is forecast minus truth, in units of the full scale, averaged over the channels.

    Args:
        path: The file.
        inputs: (T_in, H, W, C), or (S, T_in, H, W, C) for S sequences below each other.
        targets: (horizon, H, W, C), or (S, horizon, H, W, C). NaN where missing.
        forecasts: By name, arrays of the shape of the targets. The first one gets the row of errors.
        title: Heading of the picture. Default: none.
        frame_interval: Minutes between two frames, for the headings. Default: unknown, headings count frames.
        max_columns: At most this many frames in a row. Default: 10.

    Raises:
        ValueError: The shapes do not fit each other, or there is no forecast.
    """
    layout: dict[str, Any] = {"title": title, "frame_interval": frame_interval, "max_columns": max_columns}
    save(draw(inputs, targets, forecasts, **layout), path)


def draw(
    inputs: np.ndarray,
    targets: np.ndarray,
    forecasts: Mapping[str, np.ndarray],
    *,
    title: str | None = None,
    frame_interval: float | None = None,
    max_columns: int = 10,
) -> Figure:
    sequences = sequences_of("forecast_panel", inputs, targets, forecasts)
    _, t_in, height, width, _ = sequences[0].shape
    horizon = sequences[1].shape[1]
    past, future = spread(t_in, max_columns), spread(horizon, max_columns)
    columns = max(len(past), len(future))

    # Everything is laid out in inches from the top left: the frames keep their shape and the gaps their size.
    left, right, gap, heading, between = 1.6, 0.9, 0.05, 0.24, 0.28
    cell = min((14 - left - right) / columns - gap, 1.4)
    tall = cell * height / width
    top, foot = 0.5 if title else 0.1, 0.36
    block = (3 + len(forecasts)) * (tall + gap) + 2 * heading + 0.08
    count = len(sequences[0])
    wide = max(left + columns * (cell + gap) + right, 7.5)
    high = top + count * block + (count - 1) * between + foot
    figure = Figure(figsize=(wide, high), dpi=DPI, facecolor="white")

    def axes(x: float, y: float, w: float, h: float) -> Axes:
        return figure.add_axes((x / wide, 1 - (y + h) / high, w / wide, h / high))

    def write(x: float, y: float, text: str, **how: Any) -> None:
        figure.text(x / wide, 1 - y / high, text, **{"size": 9, "color": SOFT, "va": "top", **how})

    if title:
        write(left, 0.14, title, size=14, weight="bold", color=INK)

    def row(y: float, label: str, note: str, frames: np.ndarray, at: list[int], headings: list[str], **how: Any):
        for k, t in enumerate(at):
            frame = axes(left + k * (cell + gap), y, cell, tall)
            frame.imshow(picture(frames[t], how["cmap"]), **how)
            frame.set(xticks=[], yticks=[])
            frame.spines[:].set(color=RULE, linewidth=0.6)
            if headings:
                frame.set_title(headings[k], size=10, color=SOFT, pad=3)
        lines = [line.replace("_ ", "_") for line in textwrap.wrap(label.replace("_", "_ "), 17)]
        start = y + tall / 2 - (0.185 * len(lines) + (0.16 if note else 0)) / 2
        write(left - 0.12, start, "\n".join(lines), size=11, color=INK, ha="right")
        write(left - 0.12, start + 0.185 * len(lines) + 0.02, note, ha="right")

    def bar(y: float, h: float, label: str, **how: Any) -> None:
        side = axes(left + columns * (cell + gap) + 0.08, y, 0.13, h)
        colours = ScalarMappable(Normalize(how["vmin"], how["vmax"]), how["cmap"])
        ends = [how["vmin"], (how["vmin"] + how["vmax"]) / 2, how["vmax"]]
        scale = figure.colorbar(colours, cax=side, ticks=ends, format="%g")
        scale.outline.set(color=RULE, linewidth=0.6)
        side.tick_params(labelsize=9, colors=SOFT, length=2)
        low, _, high_end = side.get_yticklabels()
        low.set_verticalalignment("bottom")
        high_end.set_verticalalignment("top")
        scale.set_label(label, size=9, color=SOFT)

    grey = {"cmap": GREY, "vmin": 0, "vmax": 1}
    first = next(iter(forecasts))
    error = {name: value - sequences[1] for name, value in zip(forecasts, sequences[2:], strict=True)}
    limit = _round_up(np.nanmax(np.abs(error[first].mean(axis=-1)), initial=0.0))
    signed = {"cmap": DIVERGING, "vmin": -limit, "vmax": limit}
    past_heads = [lead_time(t - t_in + 1, frame_interval) for t in past]
    future_heads = [lead_time(t + 1, frame_interval) for t in future]

    for s in range(count):
        y = top + s * (block + between) + heading
        row(y, "input", "" if count == 1 else f"sequence {s + 1}", sequences[0][s], past, past_heads, **grey)
        y += tall + gap + heading + 0.08
        bar(y, (tall + gap) * (1 + len(forecasts)) - gap, "intensity", **grey)
        row(y, "truth", "", sequences[1][s], future, future_heads, **grey)
        for name, value in zip(forecasts, sequences[2:], strict=True):
            y += tall + gap
            mse = np.nansum(error[name][s] ** 2) / horizon
            row(y, name, f"MSE {digits(mse)} per frame", value[s], future, [], **grey)
        y += tall + gap
        bar(y, tall, "error", **signed)
        row(y, f"error of {first}", "", error[first][s], future, [], **signed)
    notes = ["intensity 1 = full scale", "error = forecast - truth", "MSE = sum over the frame"]
    if any(np.isnan(value).any() for value in sequences):
        notes.append("sand = missing")
    write(left, high - foot + 0.1, "   |   ".join(notes))
    return figure


def sequences_of(
    owner: str, inputs: np.ndarray, targets: np.ndarray, forecasts: Mapping[str, np.ndarray]
) -> list[np.ndarray]:
    """Inputs, targets and every forecast as (S, T, H, W, C), checked."""
    if not forecasts:
        raise ValueError(f"[{owner}] 'forecasts' must name at least one forecast but is empty.")
    arrays = {"inputs": inputs, "targets": targets, **forecasts}
    arrays = {name: np.asarray(value, np.float32) for name, value in arrays.items()}
    shape, past = arrays["targets"].shape, arrays["inputs"].shape
    for name in forecasts:
        if arrays[name].shape != shape:
            raise ValueError(
                f"[{owner}] the forecast '{name}' must have the shape of 'targets', {shape}, "
                f"but got {arrays[name].shape}."
            )
    if len(shape) not in (4, 5) or len(past) != len(shape) or past[:-4] != shape[:-4] or past[-3:] != shape[-3:]:
        raise ValueError(
            f"[{owner}] 'inputs' and 'targets' must be (T, H, W, C) or (S, T, H, W, C) and differ in T alone "
            f"but got {past} and {shape}."
        )
    return [value if value.ndim == 5 else value[None] for value in arrays.values()]


def picture(frame: np.ndarray, cmap: Any) -> np.ndarray:
    """What `imshow` can draw: (H, W), or (H, W, 3) in [0, 1]."""
    if frame.shape[-1] != 3 or cmap is not GREY:
        return np.ma.masked_invalid(frame.mean(axis=-1))
    missing = np.isnan(frame).any(axis=-1, keepdims=True)
    colour = [int(MISSING[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return np.where(missing, colour, np.clip(frame, 0, 1))


def _round_up(value: float) -> float:
    """The next of 0.1, 0.2, 0.5 and 1, or the value itself beyond."""
    return next((step for step in (0.1, 0.2, 0.5, 1.0) if value <= step), math.ceil(value))
