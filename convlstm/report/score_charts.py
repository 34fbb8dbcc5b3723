"""Scores against lead time, and losses and scores of a training run against its steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from convlstm.evaluation.lead_times import lead_times
from convlstm.metrics import Score, Scores, logged_score, score
from convlstm.metrics.table import FIELDS, FRAMES
from convlstm.report.chart_descriptions import Chart, Line, check_positive
from convlstm.report.matplotlib_charts import Ends, draw, dress, name_ends, save, subplots
from convlstm.report.style import COLOURS, INK, digits

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


def lead_curves(
    path: str | Path | None,
    scores: Mapping[str, Scores],
    metrics: Iterable[str] | None = None,
    *,
    title: str | None = None,
    frame_interval: float | None = None,
) -> Figure:
    """Draws scores against lead time, a panel for each score and a line for each forecaster, as a PNG.

    Args:
        path: The file; None only returns the figure.
        scores: Return values of `compute` of any metric, by forecaster.
        metrics: Names of the scores; those that a forecaster lacks are left out. Default: those of fields in their own
            units if there are any, four for each field; else MSE per frame, SSIM and PSNR.
        title: Heading of the picture. Default: none.
        frame_interval: Minutes between two frames. Default: unknown, the axis counts frames.

    Raises:
        ValueError: None of the scores was computed.
    """
    computed, across = _shared(scores), 3
    if metrics is None:
        of_fields = [name for name in computed if score(name).kind in FIELDS and score(name).chart]
        names = of_fields or [kind for kind, entry in FRAMES.items() if entry.chart]
        across = 2 if of_fields else 3
    else:
        names = list(metrics)
    charts = [lead_chart(scores, name, frame_interval) for name in names if name in computed]
    if not charts:
        raise ValueError(f"[lead_curves] none of the scores {names} was computed.")
    return draw(path, charts, title, across)


def score_curves(
    path: str | Path | None,
    scores: Mapping[str, Scores],
    kind: str = "csi",
    *,
    pool: int | None = None,
    title: str | None = None,
    frame_interval: float | None = None,
) -> Figure:
    """Draws a score of rain against lead time, a panel for each threshold and a line for each forecaster, as a PNG.

    Args:
        path: The file; None only returns the figure.
        scores: Return values of `RainMetrics.compute`, by forecaster. Thresholds that one of them lacks are left out.
        kind: The score: "csi", "pod", "far", "hss" or "bias". Default: "csi".
        pool: Side in pixels of the squares over whose maxima the score is taken. Default: none, single pixels.
        title: Heading of the picture. Default: none.
        frame_interval: Minutes between two frames. Default: unknown, the axis counts frames.

    Raises:
        ValueError: The score was not computed, or `frame_interval` is not positive.
    """
    check_positive("score_curves", "frame_interval", frame_interval)
    entries = {name: score(name) for name in _shared(scores)}
    events = {name: entry for name, entry in entries.items() if entry.threshold is not None and entry.scale is None}
    names = [name for name, entry in events.items() if (entry.kind, entry.pool) == (kind, pool)]
    if not names:
        computed = sorted({_in_words(entry.kind, entry.pool) for entry in events.values()})
        raise ValueError(
            f"[score_curves] the score {_in_words(repr(kind), pool)} was not computed. There are: "
            f"{', '.join(computed) or 'none'}."
        )
    names.sort(key=lambda name: events[name].threshold or 0)
    return draw(path, [lead_chart(scores, name, frame_interval) for name in names], title)


def _in_words(kind: str, pool: int | None) -> str:
    return kind if pool is None else f"{kind} with pool={pool}"


def _shared(scores: Mapping[str, Scores]) -> list[str]:
    """Returns the names of the scores that all forecasters have."""
    first, *others = scores.values() or [{}]
    return [name for name in first if all(name in other for other in others)]


def lead_chart(scores: Mapping[str, Scores], name: str, frame_interval: float | None) -> Chart:
    """Returns the chart of a score against lead time, with a line for each forecaster."""
    values = {forecaster: computed[name]["per_lead"] for forecaster, computed in scores.items()}
    return chart_of(score(name), values, frame_interval)


def chart_of(entry: Score, values: Mapping[str, Sequence[float]], frame_interval: float | None) -> Chart:
    """Returns the chart of values by lead time, with the titles of a score."""
    leads, unit = lead_times(max(map(len, values.values())), frame_interval)
    lines = {name: Line(leads[: len(y)], y) for name, y in values.items()}
    words: dict[str, Any] = {
        "title": entry.title,
        "x": f"lead time ({unit})",
        "y": entry.axis,
        "note": entry.note,
        "choose": entry.choose,
    }
    return Chart(**words, lines=lines, from_zero=entry.from_zero, mark=entry.best_value, ticks=leads)


def training_curve(path: str | Path | None, rows: Iterable[Mapping[str, Any]], *, title: str | None = None) -> Figure:
    """Draws the losses and the validation scores of a run against the step, as a PNG.

    Args:
        path: The file; None only returns the figure.
        rows: The rows of a run's `metrics.csv`: `step`, `train_loss` and any number of `val_*`, as numbers or as text;
            blank, None or absent if a row has no value. `val_loss` shares the panel of `train_loss`.
        title: Heading of the picture. Default: none.

    Raises:
        ValueError: No row holds a loss or a score.
    """
    rows = list(rows)
    names = list(dict.fromkeys(name for row in rows for name in row))
    series = {name: _series(rows, name) for name in names if name == "train_loss" or name.startswith("val_")}
    series = {name: points for name, points in series.items() if points[0].size}
    if not series:
        raise ValueError("[training_curve] 'rows' hold neither a 'train_loss' nor a 'val_*' value.")
    losses = [name for name in ("train_loss", "val_loss") if name in series]
    panels = ([losses] if losses else []) + [[name] for name in series if name not in losses]
    figure, grid = subplots(len(panels), title)
    for axes, columns in zip(grid, panels, strict=True):
        _draw_training(axes, {name: series[name] for name in columns})
    save(figure, path)
    return figure


def _draw_training(axes: Axes, series: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Draws columns of `metrics.csv`, each as its steps and values, into the same axes."""
    ends: Ends = []
    for name, (steps, values) in series.items():
        if name == "train_loss":
            axes.plot(steps, values, color=COLOURS[0], linewidth=1, alpha=0.35, label="every step logged")
            smooth = _smoothed(values)
            axes.plot(steps, smooth, color=COLOURS[0], linewidth=2, label="training")
            ends.append((smooth[-1], "training", COLOURS[0]))
        else:
            axes.plot(steps, values, color=COLOURS[1], linewidth=2, marker="o", markersize=4, label="validation")
            higher = logged_score(name).higher_is_better
            if higher is not None:
                _mark_best(axes, steps, values, higher, above=higher or len(series) > 1)
            ends.append((values[-1], "validation", COLOURS[1]))
    all_values = np.concatenate([values for _, values in series.values()])
    if all_values.min() > 0 and all_values.max() > 30 * all_values.min():
        axes.set_yscale("log")
    entry = logged_score(next(iter(series)))
    dress(axes, entry.title, entry.note, "step", entry.axis)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.margins(y=0.22)
    name_ends(axes, ends, max(steps[-1] for steps, _ in series.values()))


def _mark_best(axes: Axes, steps: np.ndarray, values: np.ndarray, higher: bool, *, above: bool) -> None:
    best = int(np.argmax(values) if higher else np.argmin(values))
    axes.plot(steps[best], values[best], "o", markersize=11, markerfacecolor="none", color=INK, label="best")
    text = f"best {digits(values[best])}\nat step {steps[best]:,.0f}"
    align: dict[str, Any] = {
        "ha": ("left", "center", "right")[min(int(3 * best / len(steps)), 2)],
        "va": "bottom" if above else "top",
    }
    offset = (0, 10 if above else -10)
    axes.annotate(text, (steps[best], values[best]), offset, textcoords="offset points", size=9, color=INK, **align)


def _series(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the steps and the values of a column, without the rows that have none."""
    points = [(float(row["step"]), float(row[name])) for row in rows if row.get(name) not in (None, "")]
    points = [point for point in points if math.isfinite(point[1])]
    steps, values = np.array(points, float).reshape(-1, 2).T
    return steps, values


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Returns the mean of each value and its neighbours within a fortieth of the run on either side."""
    half = len(values) // 40
    total = np.concatenate([[0.0], np.cumsum(values)])
    i = np.arange(len(values))
    start, stop = np.maximum(i - half, 0), np.minimum(i + half + 1, len(values))
    return (total[stop] - total[start]) / (stop - start)
