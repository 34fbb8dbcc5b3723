"""The scores of an evaluation in a page: tables of the means, charts and tables by lead time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from convlstm.evaluation.scoring import Evaluation
from convlstm.evaluation.tables import Column, frame_columns, rain_columns
from convlstm.metrics import score
from convlstm.metrics.table import FRAMES, spelled
from convlstm.report.page.chart import Line, legend, line_chart, looks
from convlstm.report.page.markup import Markup, element, table
from convlstm.report.style import digits

WINDOW = 16
"""Side in pixels of the windows of the fractions skill score that is drawn against lead time."""


def means(result: Evaluation) -> list[Markup]:
    """The tables that a terminal gets, too, and one of all scores."""
    names = list(result.scores)
    parts = []
    if result.thresholds:
        parts.append(columns_table("Rain, means over the lead times", names, rain_columns(result)))
        told = (
            f"FSS: at {spelled(result.middle_threshold[1:])}, in windows of so many pixels. "
            "Power: share of the truth's at shorter waves, 1 is as sharp."
        )
        parts.append(element("p", told, class_="note"))
    parts.append(columns_table("Frames from 0 to 1, means", names, frame_columns(result)))
    if len(names) > 1:
        parts.append(element("p", "\u2605 best. Skill: 1 - MSE / MSE of the baseline.", class_="note"))
    every = table(
        ["score", *names, "unit", "name in metrics.csv"],
        [
            [score(metric).full_title, *(_number(result, name, metric) for name in names), score(metric).unit, metric]
            for metric in _metrics(result)
        ],
        caption="All scores, over all lead times and pixels",
    )
    parts.append(element("details", element("summary", "All scores"), every))
    return parts


def by_lead(result: Evaluation, frame_interval: float | None) -> list[Markup]:
    """A chart for each score that is drawn, and the numbers in tables."""
    names = list(result.scores)
    leads, axis, unit = axis_of_leads(result, frame_interval)
    chosen = [metric for metric in drawn(result) if _known(result, metric)]
    look = looks(names)
    empty = [score(metric).title for metric in drawn(result) if not _known(result, metric)]
    charts: list[Markup] = []
    tables: list[Markup] = []
    for metric in chosen:
        words = score(metric)
        values = {name: result.scores[name][metric]["per_lead"] for name in names}
        lines = {name: Line(leads, known, look[name]) for name, known in values.items()}
        how: dict[str, Any] = {"from_zero": words.from_zero, "mark": words.best_value, "whole": frame_interval is None}
        charts.append(
            line_chart(f"lead{len(charts)}", lines, title=words.title, x=axis, y=words.axis, note=words.note, **how)
        )
        caption = f"{words.title} by lead time ({unit}); {words.note}"
        tables.append(by_lead_table(caption, values, leads, words.choose))
    return [
        legend(look),
        element("div", charts, class_="plots"),
        *undefined(empty),
        element("details", element("summary", "The same as tables"), tables),
    ]


def undefined(titles: Sequence[str]) -> list[Markup]:
    """Which scores have no value."""
    return [element("p", f"Not defined here: {', '.join(titles)}.", class_="note")] if titles else []


def axis_of_leads(result: Evaluation, frame_interval: float | None) -> tuple[list[float], str, str]:
    """The lead times, what their axis says, and their unit."""
    unit = "frames" if frame_interval is None else "min"
    leads = [float(lead) * (frame_interval or 1) for lead in range(1, result.horizon + 1)]
    return leads, f"lead time ({unit})", unit


def by_lead_table(
    caption: str,
    values: Mapping[str, Sequence[float | None]],
    leads: Sequence[float],
    choose: Callable[[Iterable[float]], float] | None,
) -> Markup:
    """A row for each name, a column for each lead time."""
    columns: list[Column] = [
        Column([f"+{lead:g}", ""], [known[k] for known in values.values()], "", choose) for k, lead in enumerate(leads)
    ]
    return columns_table(caption, list(values), columns)


def drawn(result: Evaluation) -> list[str]:
    """Returns the scores with a chart by lead time: CSI, then other scores of rain, then those of frames."""
    metrics = {metric: score(metric) for metric in next(iter(result.scores.values()))}
    shown = [
        metric
        for metric, entry in metrics.items()
        if entry.chart
        and entry.pool is None
        and entry.scale in (None, WINDOW)
        and (entry.kind == "csi" or entry.at in ("", result.thresholds and result.middle_threshold))
    ]
    order = {"csi": -1} | {kind: n for n, kind in enumerate(FRAMES, 1)}
    return sorted(shown, key=lambda metric: order.get(metrics[metric].kind, 0))


def _metrics(result: Evaluation) -> list[str]:
    """The scores of all forecasters; an ensemble has some that others have not."""
    return list(dict.fromkeys(metric for score in result.scores.values() for metric in score))


def _known(result: Evaluation, metric: str) -> bool:
    scores = [score[metric]["per_lead"] for score in result.scores.values()]
    return any(math.isfinite(value) for values in scores for value in values)


def columns_table(caption: str, names: list[str], columns: list[Column]) -> Markup:
    texts = [column.cells() for column in columns]
    heads = [" ".join(spelled(part) for part in heading if part) for heading, *_ in columns]
    rows = [[name, *(column[r][0] for column in texts)] for r, name in enumerate(names)]
    best = [(r, c) for c, column in enumerate(texts) for r, (_, marked) in enumerate(column) if marked]
    return table(["forecaster", *heads], rows, caption=caption, best=best)


def _number(result: Evaluation, name: str, metric: str) -> str:
    value = result.scores[name].get(metric, {}).get("overall", math.nan)
    return "-" if not math.isfinite(value) else digits(value)
