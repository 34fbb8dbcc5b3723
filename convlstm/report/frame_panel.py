"""Panels of forecast frames: inputs, truth, forecasts and the error of the first forecast."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convlstm.evaluation.lead_times import lead_time
from convlstm.report.figure_layout import Sheet
from convlstm.report.matplotlib_charts import save
from convlstm.report.style import MISSING, RULE, SOFT, digits, spread

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

GREY = colormaps["gray"].with_extremes(bad=MISSING)
DIVERGING = colormaps["RdBu_r"].with_extremes(bad=MISSING)


def forecast_panel(
    path: str | Path | None,
    inputs: np.ndarray,
    targets: np.ndarray,
    forecasts: Mapping[str, np.ndarray],
    *,
    title: str | None = None,
    frame_interval: float | None = None,
    max_columns: int = 10,
) -> Figure:
    """Draws the inputs, the truth, the forecasts and the error of the first forecast, as a PNG.

    A row holds at most `max_columns` frames, evenly spread, with the last input, the first and the last lead time among
    them. One channel is drawn in grey and three as RGB, both from 0 to 1; of any other number the mean is drawn. The
    error is forecast minus truth, in units of the full scale, averaged over the channels.

    Args:
        path: The file; None only returns the figure.
        inputs: (T_in, H, W, C), or (S, T_in, H, W, C) for S sequences below each other.
        targets: (horizon, H, W, C), or (S, horizon, H, W, C). NaN where missing.
        forecasts: Arrays of the shape of the targets, by name. The first one gets the row of errors.
        title: Heading of the picture. Default: none.
        frame_interval: Minutes between two frames, for the headings. Default: unknown, headings count frames.
        max_columns: Largest number of frames in a row. Default: 10.

    Raises:
        ValueError: The shapes do not fit each other, or there is no forecast.
    """
    sequences = sequences_of("forecast_panel", inputs, targets, forecasts)
    _, t_in, height, width, channels = sequences[0].shape
    colour = channels == 3
    horizon = sequences[1].shape[1]
    past, future = spread(t_in, max_columns), spread(horizon, max_columns)
    columns = max(len(past), len(future))

    # Sizes in inches: the frames keep their shape and the gaps their size.
    left, right, gap, heading, between = 1.6, 0.9, 0.05, 0.24, 0.28
    cell = min((14 - left - right) / columns - gap, 1.4)
    tall = cell * height / width
    top, foot = 0.5 if title else 0.1, 0.36
    block = (3 + len(forecasts)) * (tall + gap) + 2 * heading + 0.08
    count = len(sequences[0])
    high = top + count * block + (count - 1) * between + foot
    sheet = Sheet(max(left + columns * (cell + gap) + right, 7.5), high)
    sheet.title(left, title)

    def row(y: float, name: str, note: str, frames: np.ndarray, at: list[int], headings: list[str], **how: Any):
        for k, t in enumerate(at):
            frame = sheet.axes(left + k * (cell + gap), y, cell, tall)
            frame.imshow(picture(frames[t], how["cmap"]), **how)
            frame.set(xticks=[], yticks=[])
            frame.spines[:].set(color=RULE, linewidth=0.6)
            if headings:
                frame.set_title(headings[k], size=10, color=SOFT, pad=3)
        sheet.label(left - 0.12, y + tall / 2, name, [note] if note else [], 17)

    def bar(y: float, h: float, label: str, **how: Any) -> None:
        side = sheet.axes(left + columns * (cell + gap) + 0.08, y, 0.13, h)
        colours = ScalarMappable(Normalize(how["vmin"], how["vmax"]), how["cmap"])
        ends = [how["vmin"], (how["vmin"] + how["vmax"]) / 2, how["vmax"]]
        scale = sheet.figure.colorbar(colours, cax=side, ticks=ends, format="%g")
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
        if not colour:
            bar(y, (tall + gap) * (1 + len(forecasts)) - gap, "intensity", **grey)
        row(y, "truth", "", sequences[1][s], future, future_heads, **grey)
        for name, value in zip(forecasts, sequences[2:], strict=True):
            y += tall + gap
            mse = np.nansum(error[name][s] ** 2) / horizon
            row(y, name, f"MSE {digits(mse)} per frame", value[s], future, [], **grey)
        y += tall + gap
        bar(y, tall, "error", **signed)
        row(y, f"error of {first}", "", error[first][s], future, [], **signed)
    if colour:
        notes = ["error = forecast - truth, mean of the colours", "MSE = sum over frame and colours"]
    else:
        notes = ["intensity 1 = full scale", "error = forecast - truth", "MSE = sum over the frame"]
    if any(np.isnan(value).any() for value in sequences):
        notes.append("sand colour = missing")
    sheet.write(left, high - foot + 0.1, "   |   ".join(notes))
    save(sheet.figure, path)
    return sheet.figure


def sequences_of(
    owner: str, inputs: np.ndarray, targets: np.ndarray, forecasts: Mapping[str, np.ndarray]
) -> list[np.ndarray]:
    """Returns inputs, targets and every forecast as (S, T, H, W, C), or raises ValueError if they do not fit."""
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
            f"[{owner}] 'inputs' and 'targets' must be (T, H, W, C) or (S, T, H, W, C) and differ only in T "
            f"but got {past} and {shape}."
        )
    return [value if value.ndim == 5 else value[None] for value in arrays.values()]


def picture(frame: np.ndarray, cmap: Any) -> np.ndarray:
    """Returns an array that `imshow` can draw: (H, W), or (H, W, 3) in [0, 1]."""
    if frame.shape[-1] != 3 or cmap is not GREY:
        return np.ma.masked_invalid(frame.mean(axis=-1))
    missing = np.isnan(frame).any(axis=-1, keepdims=True)
    colour = [int(MISSING[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return np.where(missing, colour, np.clip(frame, 0, 1))


def rgb(frame: np.ndarray) -> np.ndarray:
    """Returns a frame (H, W, C) in [0, 1], drawn by `picture`, as red, green and blue of 8 bits, (H, W, 3)."""
    drawing = picture(frame, GREY)
    if drawing.ndim == 2:
        drawing = GREY(np.ma.clip(drawing, 0, 1))[..., :3]
    return np.rint(drawing * 255).astype(np.uint8)


def _round_up(value: float) -> float:
    """Returns the next of 0.1, 0.2, 0.5 and 1, or the next whole number."""
    return next((step for step in (0.1, 0.2, 0.5, 1.0) if value <= step), math.ceil(value))
