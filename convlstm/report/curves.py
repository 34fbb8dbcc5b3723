"""Scores against lead time, losses and scores against training steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from convlstm.metrics import Scores, logged_score, score
from convlstm.metrics.table import FRAMES
from convlstm.report.style import (
    COLOURS,
    INK,
    RULE,
    digits,
    dress,
    even_steps,
    line_styles,
    name_ends,
    save,
    say_empty,
    subplots,
)

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


def lead_curves(
    path: str | Path,
    scores: Mapping[str, Scores],
    metrics: Iterable[str] | None = None,
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
    save(draw_leads(scores, metrics, title=title, frame_interval=frame_interval), path)


def draw_leads(
    scores: Mapping[str, Scores],
    metrics: Iterable[str] | None = None,
    *,
    title: str | None = None,
    frame_interval: float | None = None,
) -> Figure:
    asked = [kind for kind, entry in FRAMES.items() if entry.chart] if metrics is None else list(metrics)
    drawn = [metric for metric in asked if all(metric in values for values in scores.values())] if scores else []
    if not drawn:
        raise ValueError(f"[lead_curves] none of the scores {asked} was computed.")
    figure, grid = subplots(len(drawn), title)
    styles = line_styles(scores)
    for axes, metric in zip(grid, drawn, strict=True):
        ends = []
        horizon = max(len(values[metric]["per_lead"]) for values in scores.values())
        leads = np.arange(1, horizon + 1) * (1 if frame_interval is None else frame_interval)
        for name, values_of in scores.items():
            values = np.array(values_of[metric]["per_lead"], float)
            colour, line = styles[name]
            marker = "o" if len(values) <= 20 else None
            axes.plot(
                leads[: len(values)], values, line, color=colour, linewidth=2, marker=marker, markersize=4, label=name
            )
            known = np.flatnonzero(np.isfinite(values))
            if known.size:
                ends.append((values[known[-1]], name, colour))
        words = score(metric)
        dress(
            axes,
            words.title,
            words.note,
            "lead time (frames)" if frame_interval is None else "lead time (min)",
            words.axis,
        )
        axes.set_xticks(leads[even_steps(len(leads), 10)])
        if not ends:
            say_empty(axes)
        if words.best_value is not None:
            axes.axhline(words.best_value, color=RULE, linewidth=1, zorder=1, label="best")
        if words.from_zero:
            axes.set_ylim(bottom=0)
        if len(leads) == 1:
            axes.set_xlim(0.5 * leads[0], 1.5 * leads[0])
        name_ends(axes, ends, float(leads[-1]))
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
    save(draw_training(rows, title=title), path)


def draw_training(rows: Iterable[Mapping[str, Any]], *, title: str | None = None) -> Figure:
    rows = list(rows)
    names = list(dict.fromkeys(name for row in rows for name in row))
    series = {name: _series(rows, name) for name in names if name == "train_loss" or name.startswith("val_")}
    series = {name: points for name, points in series.items() if points[0].size}
    if not series:
        raise ValueError("[training_curve] 'rows' hold neither a 'train_loss' nor a 'val_*' value.")
    losses = [name for name in ("train_loss", "val_loss") if name in series]
    panels = ([losses] if losses else []) + [[name] for name in series if name not in losses]
    figure, grid = subplots(len(panels), title)

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
                higher = logged_score(name).higher_is_better
                if higher is not None:
                    _mark_best(axes, steps, values, higher, above=higher or len(shown) > 1)
                ends.append((values[-1], "validation", COLOURS[1]))
        every = np.concatenate([series[name][1] for name in shown])
        if every.min() > 0 and every.max() > 30 * every.min():
            axes.set_yscale("log")
        words = logged_score(shown[0])
        dress(axes, words.title, words.note, "step", words.axis)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axes.margins(y=0.22)
        name_ends(axes, ends, max(series[name][0][-1] for name in shown))
    return figure


def _mark_best(axes: Axes, steps: np.ndarray, values: np.ndarray, higher: bool, *, above: bool) -> None:
    best = int(np.argmax(values) if higher else np.argmin(values))
    axes.plot(steps[best], values[best], "o", markersize=11, markerfacecolor="none", color=INK, label="best")
    text = f"best {digits(values[best])}\nat step {steps[best]:,.0f}"
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
