"""How ensembles did: are their probabilities right, is the truth like one of them, and do they spread as they err?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from convlstm.metrics import Scores, score
from convlstm.metrics.table import unit_in_words
from convlstm.report.curves import draw_leads
from convlstm.report.rain import check_positive
from convlstm.report.style import (
    COLOURS,
    RULE,
    SOFT,
    dress,
    line_styles,
    name_ends,
    save,
    say_empty,
    spread,
    subplots,
)

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Tables = Mapping[str, Mapping[str, np.ndarray]]

FEW = 10
"""A probability that was given so seldom, or less often, shows nothing and is left out."""


def reliability_diagram(path: str | Path, tables: Mapping[str, Tables], *, title: str | None = None) -> None:
    """Draws how often an event came against its probability, a panel per threshold and a line per ensemble, as a PNG.

    On the diagonal the probabilities are right; the dotted line is how often the event came at all. Bars say how often
    each probability was given, on a scale of powers of ten. Those given fewer than ten times are left out.

    Args:
        path: The file.
        tables: By ensemble, what `EnsembleMetrics.reliability` returns. Thresholds not in all of them are left out.
        title: Heading of the picture. Default: none.

    Raises:
        ValueError: There is no ensemble, or no threshold that all of them have.
    """
    save(draw_reliability(tables, title=title), path)


def draw_reliability(tables: Mapping[str, Tables], *, title: str | None = None) -> Figure:
    _check_some("reliability_diagram", tables)
    first, *others = tables.values()
    thresholds = [at for at in first if all(at in other for other in others)]
    if not thresholds:
        raise ValueError("[reliability_diagram] there is no threshold that all ensembles have.")
    figure, grid = subplots(len(thresholds), title)
    styles = line_styles(tables)
    for axes, at in zip(grid, thresholds, strict=True):
        axes.plot([0, 1], [0, 1], color=RULE, linewidth=1, zorder=1, label="reliable")
        for name, table in tables.items():
            probability, observed, count = (table[at][key] for key in ("probability", "observed", "count"))
            known = count >= FEW
            colour, line = styles[name]
            x, y = probability[known], observed[known]
            axes.plot(x, y, line, color=colour, linewidth=2, marker="o", markersize=4, label=name)
        _, observed, count = (first[at][key] for key in ("probability", "observed", "count"))
        if count.sum():
            share = float(np.nansum(observed * count) / count.sum())
            axes.axhline(share, color=SOFT, linewidth=1, linestyle=":", zorder=1, label="observed share")
        dress(axes, f"event {at_least(at)}", "on the diagonal is best", "forecast probability", "observed frequency")
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        if len(tables) > 1:
            axes.legend(loc="upper left", fontsize=9, frameon=False)
        if count.sum():
            _draw_counts(axes, first[at]["probability"], count)
        else:
            say_empty(axes)
    return figure


def _draw_counts(axes: Axes, probability: np.ndarray, count: np.ndarray) -> None:
    """Bars in the lower right corner: how often each probability was given."""
    inside = axes.inset_axes((0.62, 0.06, 0.36, 0.24))
    known = count > 0
    width = 0.7 / max(len(count) - 1, 1)
    inside.bar(probability[known], count[known], width, color=COLOURS[0], alpha=0.5)
    inside.set(yscale="log", xlim=(-0.06, 1.06), xticks=[], ylim=(0.5, 2 * float(count.max())))
    inside.minorticks_off()
    inside.patch.set_alpha(0.7)
    inside.tick_params(labelsize=7, colors=SOFT, length=2)
    inside.spines[:].set(color=RULE, linewidth=0.6)
    inside.set_title("times given", size=8, color=SOFT, pad=2)


def rank_histogram(
    path: str | Path,
    histograms: Mapping[str, np.ndarray],
    *,
    ranked_from: str | None = None,
    title: str | None = None,
) -> None:
    """Draws how often the truth came at each place among the members, a panel per ensemble, as a PNG.

    Flat is reliable; high at both ends is too sure, high in the middle not sure enough, a slope is a bias.

    Args:
        path: The file.
        histograms: By ensemble, what `EnsembleMetrics.rank_histogram` returns.
        ranked_from: The least value that counted, as text, for the axis. Default: all counted.
        title: Heading of the picture. Default: none.

    Raises:
        ValueError: There is no ensemble.
    """
    save(draw_ranks(histograms, ranked_from=ranked_from, title=title), path)


def draw_ranks(
    histograms: Mapping[str, np.ndarray], *, ranked_from: str | None = None, title: str | None = None
) -> Figure:
    _check_some("rank_histogram", histograms)
    figure, grid = subplots(len(histograms), title)
    for axes, (name, counts) in zip(grid, histograms.items(), strict=True):
        total, places = float(counts.sum()), np.arange(len(counts))
        where = "" if ranked_from is None else f" with {ranked_from} or more"
        dress(axes, name, "flat is best", "members below the truth", f"share of pixels{where}")
        if not total:
            say_empty(axes)
            continue
        axes.bar(places, counts / total, 0.85, color=COLOURS[0])
        axes.axhline(1 / len(counts), color=SOFT, linewidth=1.2, linestyle="--", label="flat")
        axes.set_xticks(places[spread(len(places), 12 if len(places) <= 12 else 6)])
        axes.set_ylim(0, 1.12 * max(float((counts / total).max()), 1.5 / len(counts)))
    return figure


def spread_skill(
    path: str | Path,
    scores: Mapping[str, Scores],
    *,
    title: str | None = None,
    frame_interval: float | None = None,
) -> None:
    """Draws the spread of each ensemble beside the error of its mean, and their ratio, against lead time, as a PNG.

    The spread is drawn as it should equal the error: times sqrt((M + 1) / M), for M members.

    Args:
        path: The file.
        scores: By ensemble, what `EnsembleMetrics.compute` returns.
        title: Heading of the picture. Default: none.
        frame_interval: Minutes between two frames. Default: unknown, the axis counts frames.

    Raises:
        ValueError: There is no ensemble, or `frame_interval` is not positive.
    """
    save(draw_spread(scores, title=title, frame_interval=frame_interval), path)


def draw_spread(
    scores: Mapping[str, Scores], *, title: str | None = None, frame_interval: float | None = None
) -> Figure:
    _check_some("spread_skill", scores)
    check_positive("spread_skill", "frame_interval", frame_interval)
    error = next(name for name in next(iter(scores.values())) if name.startswith("rmse_of_mean_"))
    figure = draw_leads(scores, [error, "spread_skill"], title=title, frame_interval=frame_interval)
    axes = figure.axes[0]
    styles = line_styles(scores)
    for text in list(axes.texts):
        text.remove()
    ends, last = [], 0.0
    for name, forecaster in scores.items():
        errors = np.array(forecaster[error]["per_lead"], float)
        wide = np.array(forecaster["spread_skill"]["per_lead"], float) * errors
        leads = np.arange(1, len(errors) + 1) * (1 if frame_interval is None else frame_interval)
        axes.plot(leads, wide, "--", color=styles[name][0], linewidth=2, label=f"{name}, spread")
        last = max(last, float(leads[-1]))
        prefix = "" if len(scores) == 1 else f"{name}, "
        for values, word in ((errors, "error"), (wide, "spread")):
            known = np.flatnonzero(np.isfinite(values))
            if known.size:
                ends.append((values[known[-1]], prefix + word, styles[name][0]))
    unit = unit_in_words(score(error).unit)
    y = f"RMSE of the mean; dashed: spread ({unit})"
    dress(axes, "error and spread", "equal is best", axes.get_xlabel(), y)
    axes.relim()
    axes.autoscale(axis="y")
    axes.set_ylim(bottom=0)
    name_ends(axes, ends, last)
    return figure


def at_least(at: str) -> str:
    """A threshold as the names of scores have it, in words: "@2mmh" is "at 2 mm/h or more"."""
    for suffix, unit in (("mmh", " mm/h"), ("dBZ", " dBZ")):
        if at.endswith(suffix):
            return f"{at[1:].removesuffix(suffix)}{unit} or more"
    return f"{at[1:]} or more"


def _check_some(owner: str, given: Mapping) -> None:
    if not given:
        raise ValueError(f"[{owner}] there must be at least one ensemble but got none.")
