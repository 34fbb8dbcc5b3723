"""Pictures of forecasts, of their scores and of a training run. The only file that knows matplotlib."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from convlstm.metrics import HIGHER_IS_BETTER, Scores

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from PIL import Image

DPI = 100
INK, SOFT, RULE = "#222222", "#767676", "#bbbbbb"
MISSING = "#e3c9a0"
GREY = colormaps["gray"].with_extremes(bad=MISSING)
DIVERGING = colormaps["RdBu_r"].with_extremes(bad=MISSING)
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
BASELINES = {"persistence": ("#767676", "--"), "zeros": ("#a6a6a6", ":")}

# Name, unit of the axis.
METRICS = {
    "mse_per_frame": ("MSE per frame", "squared intensity, summed over the frame"),
    "mae_per_frame": ("MAE per frame", "absolute intensity, summed over the frame"),
    "mse_per_pixel": ("MSE per pixel", "squared intensity"),
    "mae_per_pixel": ("MAE per pixel", "absolute intensity"),
    "psnr": ("PSNR", "dB"),
    "ssim": ("SSIM", "SSIM (data range L = 1)"),
    "ssim_openstl": ("SSIM as in OpenSTL", "SSIM (data range L = 2)"),
}


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
    _save(_panel(inputs, targets, forecasts, **layout), path)


def _panel(
    inputs: np.ndarray,
    targets: np.ndarray,
    forecasts: Mapping[str, np.ndarray],
    *,
    title: str | None = None,
    frame_interval: float | None = None,
    max_columns: int = 10,
) -> Figure:
    sequences = _sequences("forecast_panel", inputs, targets, forecasts)
    _, t_in, height, width, _ = sequences[0].shape
    horizon = sequences[1].shape[1]
    past, future = _spread(t_in, max_columns), _spread(horizon, max_columns)
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
            frame.imshow(_picture(frames[t], how["cmap"]), **how)
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
    past_heads = [_lead(t - t_in + 1, frame_interval) for t in past]
    future_heads = [_lead(t + 1, frame_interval) for t in future]

    for s in range(count):
        y = top + s * (block + between) + heading
        row(y, "input", "" if count == 1 else f"sequence {s + 1}", sequences[0][s], past, past_heads, **grey)
        y += tall + gap + heading + 0.08
        bar(y, (tall + gap) * (1 + len(forecasts)) - gap, "intensity", **grey)
        row(y, "truth", "", sequences[1][s], future, future_heads, **grey)
        for name, value in zip(forecasts, sequences[2:], strict=True):
            y += tall + gap
            mse = np.nansum(error[name][s] ** 2) / horizon
            row(y, name, f"MSE {_digits(mse)} per frame", value[s], future, [], **grey)
        y += tall + gap
        bar(y, tall, "error", **signed)
        row(y, f"error of {first}", "", error[first][s], future, [], **signed)
    notes = ["intensity 1 = full scale", "error = forecast - truth", "MSE = sum over the frame"]
    if any(np.isnan(value).any() for value in sequences):
        notes.append("sand = missing")
    write(left, high - foot + 0.1, "   |   ".join(notes))
    return figure


def forecast_gif(
    path: str | Path,
    inputs: np.ndarray,
    targets: np.ndarray,
    forecasts: Mapping[str, np.ndarray],
    *,
    frame_interval: float | None = None,
    milliseconds: int = 250,
) -> None:
    """Animates the truth beside the forecasts, as a GIF that loops and rests on the last frame.

    While the inputs run, every panel shows them; from the first lead time on, a coloured frame marks what is forecast.

    Args:
        path: The file.
        inputs: (T_in, H, W, C).
        targets: (horizon, H, W, C). NaN where missing.
        forecasts: By name, arrays of the shape of the targets.
        frame_interval: Minutes between two frames, for the labels. Default: unknown, labels count frames.
        milliseconds: Time for which a frame stands. Default: 250.

    Raises:
        ValueError: The shapes do not fit each other, or there is no forecast.
    """
    sequences = _sequences("forecast_gif", inputs, targets, forecasts)
    if np.ndim(inputs) == 5:
        raise ValueError(f"[forecast_gif] 'inputs' must be one sequence (T, H, W, C) but got {np.shape(inputs)}.")
    sequences = [value[0] for value in sequences]
    t_in, horizon = len(sequences[0]), len(sequences[1])
    images = []
    for t in range(t_in + horizon):
        shown = [value[t - t_in] for value in sequences[1:]] if t >= t_in else [sequences[0][t]] * (len(forecasts) + 1)
        figure = _still(dict(zip(("truth", *forecasts), shown, strict=True)), t - t_in + 1, frame_interval)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        images.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy()))
    palette = _palette([images[k] for k in (0, t_in - 1, t_in, -1)])
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    durations = [milliseconds] * (len(images) - 1) + [6 * milliseconds]
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations, loop=0, format="GIF")


def _palette(images: list[Image.Image]) -> Image.Image:
    """One palette for all frames, so that the greys do not flicker: the commonest colours, or the mean ones of many."""
    some = Image.fromarray(np.concatenate([np.asarray(image) for image in images]))
    palette = some.quantize(256, method=Image.Quantize.MAXCOVERAGE)
    colours = np.array(palette.getpalette()).reshape(-1, 3)
    # Pillow tells colours apart in steps of four levels: of those that are closer the commonest is enough.
    apart: dict[tuple[int, ...], tuple[int, ...]] = {}
    counted: list[Any] = some.getcolors(some.width * some.height) or []
    for _, colour in sorted(counted, reverse=True):
        apart.setdefault(tuple(level // 4 for level in colour), colour)
    if len(apart) <= 1024:
        colours = np.array(list(apart.values())[:256])
    colours[colours.min(axis=1) > 247] = 255
    palette.putpalette(colours.ravel().tolist())
    return palette


def _still(shown: Mapping[str, np.ndarray], lead: int, frame_interval: float | None) -> Figure:
    """One picture of the animation, laid out in whole pixels so that small frames stay crisp."""
    height, width, _ = next(iter(shown.values())).shape
    scale = max(1, round(256 / max(height, width))) if max(height, width) <= 384 else 384 / max(height, width)
    w, h, gap, head, foot = round(width * scale), round(height * scale), 12, 30, 30
    wide, high = len(shown) * (w + gap) + gap, head + h + foot
    figure = Figure(figsize=(wide / DPI, high / DPI), dpi=DPI, facecolor="white")
    for k, (name, frame) in enumerate(shown.items()):
        axes = figure.add_axes(((gap + k * (w + gap)) / wide, foot / high, w / wide, h / high))
        axes.imshow(_picture(frame, GREY), cmap=GREY, vmin=0, vmax=1, aspect="auto")
        forecast = k > 0 and lead > 0
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(color=COLOURS[1] if forecast else RULE, linewidth=3 if forecast else 1)
        label = name if len(name) * 8 <= w else name[: max(w // 8 - 2, 1)] + ".."
        axes.set_title(label, size=11, color=COLOURS[1] if forecast else INK, pad=6)
    when = "input" if lead <= 0 else "forecast"
    figure.text(0.5, 9 / high, f"{when}  {_lead(lead, frame_interval)}", size=11, color=INK, ha="center")
    return figure


def lead_curves(
    path: str | Path,
    scores: Mapping[str, Scores],
    metrics: Iterable[str] = ("mse_per_frame", "ssim", "psnr"),
    *,
    title: str | None = None,
    frame_interval: float | None = None,
) -> None:
    """Draws every score against lead time, a panel per score and a line per forecaster, as a PNG.

    Args:
        path: The file.
        scores: By forecaster, what `FrameMetrics.compute` returns.
        metrics: The scores to draw; those that were not computed are left out.
            Default: MSE per frame, SSIM and PSNR.
        title: Heading of the picture. Default: none.
        frame_interval: Minutes between two frames. Default: unknown, the axis counts frames.

    Raises:
        ValueError: None of the scores was computed.
    """
    _save(_curves(scores, metrics, title=title, frame_interval=frame_interval), path)


def _curves(
    scores: Mapping[str, Scores],
    metrics: Iterable[str] = ("mse_per_frame", "ssim", "psnr"),
    *,
    title: str | None = None,
    frame_interval: float | None = None,
) -> Figure:
    asked = list(metrics)
    drawn = [metric for metric in asked if all(metric in score for score in scores.values())] if scores else []
    if not drawn:
        raise ValueError(f"[lead_curves] none of the scores {asked} was computed.")
    figure, panels = _panels(len(drawn), title)
    styles = _styles(scores)
    for axes, metric in zip(panels, drawn, strict=True):
        ends = []
        horizon = max(len(score[metric]["per_lead"]) for score in scores.values())
        leads = np.arange(1, horizon + 1) * (1 if frame_interval is None else frame_interval)
        for name, score in scores.items():
            values = np.array(score[metric]["per_lead"], float)
            colour, line = styles[name]
            marker = "o" if len(values) <= 20 else None
            axes.plot(
                leads[: len(values)], values, line, color=colour, linewidth=2, marker=marker, markersize=4, label=name
            )
            known = np.flatnonzero(np.isfinite(values))
            if known.size:
                ends.append((values[known[-1]], name, colour))
        label, unit = METRICS.get(metric, (metric, ""))
        better = "higher is better" if metric in HIGHER_IS_BETTER else "lower is better"
        _dress(axes, label, better, "lead time (frames)" if frame_interval is None else "lead time (min)", unit)
        axes.set_xticks(leads[_spread(len(leads), 10)])
        if metric not in HIGHER_IS_BETTER:
            axes.set_ylim(bottom=0)
        if len(leads) == 1:
            axes.set_xlim(0.5 * leads[0], 1.5 * leads[0])
        _name_ends(axes, ends, float(leads[-1]))
    return figure


def training_curve(path: str | Path, rows: Iterable[Mapping[str, Any]], *, title: str | None = None) -> None:
    """Draws the losses of a run against the step, and every validation score beside them, as a PNG.

    Args:
        path: The file.
        rows: The rows of a run's `metrics.csv`: `step`, `train_loss` and any number of `val_*`, as numbers or as text;
            blank, None or absent where a row has no value. `val_loss` shares the panel of `train_loss`.
        title: Heading of the picture. Default: none.

    Raises:
        ValueError: No row holds a loss or a score.
    """
    _save(_training(rows, title=title), path)


def _training(rows: Iterable[Mapping[str, Any]], *, title: str | None = None) -> Figure:
    rows = list(rows)
    names = list(dict.fromkeys(name for row in rows for name in row))
    series = {name: _series(rows, name) for name in names if name == "train_loss" or name.startswith("val_")}
    series = {name: points for name, points in series.items() if points[0].size}
    if not series:
        raise ValueError("[training_curve] 'rows' hold neither a 'train_loss' nor a 'val_*' value.")
    losses = [name for name in ("train_loss", "val_loss") if name in series]
    panels = ([losses] if losses else []) + [[name] for name in series if name not in losses]
    figure, grid = _panels(len(panels), title)

    for axes, shown in zip(grid, panels, strict=True):
        ends = []
        for name in shown:
            steps, values = series[name]
            if name == "train_loss":
                axes.plot(steps, values, color=COLOURS[0], linewidth=1, alpha=0.35, label="every step logged")
                smooth = _smoothed(values)
                axes.plot(steps, smooth, color=COLOURS[0], linewidth=2, label="training")
                ends.append((smooth[-1], "training", COLOURS[0]))
            else:
                axes.plot(steps, values, color=COLOURS[1], linewidth=2, marker="o", markersize=4, label="validation")
                higher = name.removeprefix("val_") in HIGHER_IS_BETTER
                _mark_best(axes, steps, values, higher, above=higher or len(shown) > 1)
                ends.append((values[-1], "validation", COLOURS[1]))
        every = np.concatenate([series[name][1] for name in shown])
        if every.min() > 0 and every.max() > 30 * every.min():
            axes.set_yscale("log")
        metric = shown[0].removeprefix("val_")
        label, unit = ("loss", "loss") if shown == losses else METRICS.get(metric, (metric, metric))
        better = "higher is better" if metric in HIGHER_IS_BETTER else "lower is better"
        _dress(axes, label, better, "step", unit)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axes.margins(y=0.22)
        _name_ends(axes, ends, max(series[name][0][-1] for name in shown))
    return figure


def _mark_best(axes: Axes, steps: np.ndarray, values: np.ndarray, higher: bool, *, above: bool) -> None:
    best = int(np.argmax(values) if higher else np.argmin(values))
    axes.plot(steps[best], values[best], "o", markersize=11, markerfacecolor="none", color=INK, label="best")
    text = f"best {_digits(values[best])}\nat step {steps[best]:,.0f}"
    place: dict[str, Any] = {
        "ha": ("left", "center", "right")[min(int(3 * best / len(steps)), 2)],
        "va": "bottom" if above else "top",
    }
    offset = (0, 10 if above else -10)
    axes.annotate(text, (steps[best], values[best]), offset, textcoords="offset points", size=9, color=INK, **place)


def _series(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    points = [(float(row["step"]), float(row[name])) for row in rows if row.get(name) not in (None, "")]
    points = [point for point in points if math.isfinite(point[1])]
    steps, values = np.array(points, float).reshape(-1, 2).T
    return steps, values


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Mean over the neighbours within a fortieth of the run."""
    half = len(values) // 40
    total = np.concatenate([[0.0], np.cumsum(values)])
    i = np.arange(len(values))
    start, stop = np.maximum(i - half, 0), np.minimum(i + half + 1, len(values))
    return (total[stop] - total[start]) / (stop - start)


def _panels(count: int, title: str | None) -> tuple[Figure, list[Axes]]:
    across = min(count, 3)
    down = -(-count // across)
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1, wspace=0.03, hspace=0.06)
    high = 3.9 * down + (0.45 if title else 0)
    figure = Figure(figsize=(4.66 * across if count > 1 else 7, high), dpi=DPI, facecolor="white", layout=layout)
    if title:
        figure.suptitle(title, size=14, weight="bold", color=INK)
    return figure, [figure.add_subplot(down, across, k + 1) for k in range(count)]


def _dress(axes: Axes, title: str, note: str, x: str, y: str) -> None:
    axes.set_title(title, size=12, color=INK, loc="left", weight="bold")
    axes.set_title(note, size=9, color=SOFT, loc="right")
    axes.set_xlabel(x, size=10, color=INK)
    axes.set_ylabel(y, size=10, color=INK)
    axes.tick_params(labelsize=9, colors=SOFT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(RULE)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)


def _name_ends(axes: Axes, ends: list[tuple[float, str, str]], x: float) -> None:
    """Names every line at its end, in its colour; names that would touch are moved apart."""
    scaled = axes.transScale.transform
    bottom, top = (scaled((1, limit))[1] for limit in axes.get_ylim())
    ends = sorted(ends)
    heights = [(scaled((1, value))[1] - bottom) / (top - bottom) for value, *_ in ends]
    for _ in range(50):
        for k in range(len(heights) - 1):
            overlap = max(0.065 - (heights[k + 1] - heights[k]), 0)
            heights[k] -= overlap / 2
            heights[k + 1] += overlap / 2
    for height, (_, name, colour) in zip(heights, ends, strict=True):
        place: dict[str, Any] = {
            "xycoords": ("data", "axes fraction"),
            "textcoords": "offset points",
            "annotation_clip": False,
        }
        axes.annotate(name, (x, height), (7, 0), size=10, color=colour, va="center", **place)


def _styles(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    colours = iter(COLOURS * (len(list(names)) // len(COLOURS) + 1))
    return {name: BASELINES[name] if name in BASELINES else (next(colours), "-") for name in names}


def _sequences(
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


def _picture(frame: np.ndarray, cmap: Any) -> np.ndarray:
    """What `imshow` can draw: (H, W), or (H, W, 3) in [0, 1]."""
    if frame.shape[-1] != 3 or cmap is not GREY:
        return np.ma.masked_invalid(frame.mean(axis=-1))
    missing = np.isnan(frame).any(axis=-1, keepdims=True)
    colour = [int(MISSING[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return np.where(missing, colour, np.clip(frame, 0, 1))


def _spread(count: int, most: int) -> list[int]:
    return sorted({round(t) for t in np.linspace(0, count - 1, min(count, most)).tolist()})


def _lead(lead: int, frame_interval: float | None) -> str:
    """The heading of a frame: t-2, t-1, t0, +1, +2, or minutes."""
    if frame_interval is None:
        return f"+{lead}" if lead > 0 else f"t{lead}" if lead else "t0"
    return f"{lead * frame_interval:+g} min" if lead else "now"


def _round_up(value: float) -> float:
    """The next of 0.1, 0.2, 0.5 and 1, or the value itself beyond."""
    return next((step for step in (0.1, 0.2, 0.5, 1.0) if value <= step), math.ceil(value))


def _digits(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:#.4g}".rstrip(".")


def _save(figure: Figure, path: str | Path) -> None:
    figure.savefig(path, format="png", dpi=DPI)
