"""Scores of rain forecasts: by lead time and threshold, and by scale."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convlstm.metrics import Score, Scores, score
from convlstm.report.curves import draw_leads
from convlstm.report.rain import check_positive
from convlstm.report.style import SOFT, dress, line_styles, name_ends, save, say_empty, subplots

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator


def score_curves(
    path: str | Path,
    scores: Mapping[str, Scores],
    kind: str = "csi",
    *,
    pool: int | None = None,
    title: str | None = None,
    frame_interval: float | None = None,
) -> None:
    """Draws a score of rain against lead time, a panel per threshold and a line per forecaster, as a PNG.

    Args:
        path: The file.
        scores: By forecaster, what `RainMetrics.compute` returns. Thresholds that are not in all of them are left out.
        kind: The score: "csi", "pod", "far", "hss" or "bias". Default: "csi".
        pool: Side in pixels of the squares over whose maxima the score is taken. Default: none, single pixels.
        title: Heading of the picture. Default: none.
        frame_interval: Minutes between two frames. Default: unknown, the axis counts frames.

    Raises:
        ValueError: The score was not computed, or `frame_interval` is not positive.
    """
    save(draw_scores(scores, kind, pool=pool, title=title, frame_interval=frame_interval), path)


def draw_scores(
    scores: Mapping[str, Scores],
    kind: str = "csi",
    *,
    pool: int | None = None,
    title: str | None = None,
    frame_interval: float | None = None,
) -> Figure:
    check_positive("score_curves", "frame_interval", frame_interval)
    events = {metric: parts for metric, parts in _events(scores).items() if parts.scale is None}
    chosen = [metric for metric, parts in events.items() if (parts.kind, parts.pool) == (kind, pool)]
    if not chosen:
        known = sorted(
            {parts.kind + ("" if parts.pool is None else f" with pool={parts.pool}") for parts in events.values()}
        )
        wanted = repr(kind) + ("" if pool is None else f" with pool={pool}")
        raise ValueError(
            f"[score_curves] the score {wanted} was not computed. There are: {', '.join(known) or 'none'}."
        )
    chosen.sort(key=lambda metric: events[metric].threshold or 0)
    return draw_leads(scores, chosen, title=title, frame_interval=frame_interval)


def fss_by_scale(
    path: str | Path,
    scores: Mapping[str, Scores],
    *,
    pixel_km: float | None = None,
    title: str | None = None,
) -> None:
    """Draws the fractions skill score against scale, a panel per threshold and a line per forecaster, as a PNG.

    The score is pooled over all lead times. A dotted line marks the useful skill, 0.5 + f / 2 with the share f of the
    pixels in which the event was observed, if the scores say what f is: see `observed_share`.

    Args:
        path: The file.
        scores: By forecaster, what `RainMetrics.compute` returns. Scales that are not in all of them are left out.
        pixel_km: Side of a pixel in km. Default: unknown, the axis counts pixels.
        title: Heading of the picture. Default: none.

    Raises:
        ValueError: The score was not computed, or `pixel_km` is not positive.

    Reference:
        Roberts and Lean, "Scale-selective verification of rainfall accumulations from high-resolution forecasts of
        convective events", 2008.
    """
    save(draw_scales(scores, pixel_km=pixel_km, title=title), path)


def draw_scales(scores: Mapping[str, Scores], *, pixel_km: float | None = None, title: str | None = None) -> Figure:
    check_positive("fss_by_scale", "pixel_km", pixel_km)
    thresholds: dict[str, list[tuple[int, str]]] = {}
    events = _events(scores)
    for metric, parts in sorted(events.items(), key=lambda item: item[1].threshold or 0):
        if parts.kind == "fss" and parts.scale is not None:
            thresholds.setdefault(parts.at, []).append((parts.scale, metric))
    if not thresholds:
        raise ValueError("[fss_by_scale] the score 'fss' was not computed.")

    figure, grid = subplots(len(thresholds), title)
    styles = line_styles(scores)
    for axes, (suffix, chosen) in zip(grid, thresholds.items(), strict=True):
        chosen.sort()
        scales = np.array([scale for scale, _ in chosen]) * (1 if pixel_km is None else pixel_km)
        ends = []
        for name, values_of in scores.items():
            values = np.array([values_of[metric]["overall"] for _, metric in chosen], float)
            colour, line = styles[name]
            axes.plot(scales, values, line, color=colour, linewidth=2, marker="o", markersize=4, label=name)
            known = np.flatnonzero(np.isfinite(values))
            if known.size:
                ends.append((values[known[-1]], name, colour))
        share = observed_share(scores, suffix)
        if not ends:
            say_empty(axes)
        if share is not None:
            useful = 0.5 + share / 2
            axes.axhline(useful, color=SOFT, linewidth=1, linestyle=":", zorder=1, label="useful skill")
            ends.append((useful, "useful skill", SOFT))
        words = score(chosen[0][1])
        x = "scale (px)" if pixel_km is None else "scale (km)"
        dress(axes, words.title, words.note, x, "fractions skill score, all lead times")
        axes.set(xscale="log", ylim=(0, 1.02))
        axes.xaxis.set(major_locator=FixedLocator(scales.tolist()), minor_locator=NullLocator())
        axes.set_xticks(scales, [f"{scale:.3g}" for scale in scales])
        name_ends(axes, ends, float(scales[-1]))
    return figure


def observed_share(scores: Mapping[str, Scores], suffix: str) -> float | None:
    """The share of the pixels in which an event was observed, from the scores that counted the same pixels.

    With the probability of detection p, the bias b, the Heidke skill score h and the share f:

        h = 2 (p - b f) / (1 + b - 2 b f),   so   f = (2 p - h (1 + b)) / (2 b (1 - h))

    Args:
        scores: By forecaster, what `RainMetrics.compute` returns.
        suffix: The threshold as in the names, such as "@2mmh".

    Returns:
        The share; None where no forecaster's scores say it or where they contradict each other, as they may where each
        forecaster misses other pixels.
    """
    shares = []
    for values in scores.values():
        p, h, b = (values.get(kind + suffix, {}).get("overall", math.nan) for kind in ("pod", "hss", "bias"))
        if all(map(math.isfinite, (p, h, b))) and b > 0 and h < 1 - 1e-6:
            shares.append((2 * p - h * (1 + b)) / (2 * b * (1 - h)))
    if not shares or max(shares) - min(shares) > 1e-3:
        return None
    return float(np.mean(shares))


def _events(scores: Mapping[str, Scores]) -> dict[str, Score]:
    """The scores with a threshold that every forecaster has."""
    every: list[Any] = [set(values) for values in scores.values()]
    shared = set.intersection(*every) if every else set()
    entries = {metric: score(metric) for metric in sorted(shared)}
    return {metric: entry for metric, entry in entries.items() if entry.threshold is not None}
