"""The scores of an evaluation in the page: tables of the means, charts and tables by lead time."""

from __future__ import annotations

import math
from collections.abc import Sequence

from convlstm.evaluation.scoring import Evaluation
from convlstm.evaluation.tables import Column, field_columns, frame_columns, rain_columns
from convlstm.metrics import score
from convlstm.metrics.table import FRAMES, spelled
from convlstm.report.chart_descriptions import Chart
from convlstm.report.page.markup import Markup, element, table
from convlstm.report.page.svg import Look, legend, looks, plots
from convlstm.report.score_charts import lead_chart
from convlstm.report.style import digits

WINDOW = 16
"""Side in pixels of the windows of the fractions skill score that is drawn against lead time."""


def means(result: Evaluation) -> list[Markup]:
    """Returns the tables of means that the terminal also shows, and a table of all scores."""
    names = list(result.scores)
    parts = []
    if result.thresholds:
        parts.append(columns_table("Rain, means over the lead times", names, rain_columns(result)))
        note = (
            f"FSS is at {spelled(result.middle_threshold[1:])}, by side of the window. "
            "Power is the forecast's at shorter waves, divided by the truth's; at 1 the forecast is as sharp."
        )
        parts.append(element("p", note, class_="note"))
    for field, metrics in result.field_scores.items():
        caption = f"{field} ({score(metrics[0]).unit}), means over the lead times"
        parts.append(columns_table(caption, names, field_columns(result, field)))
    caption = "Frames on the model's scale, 0 to 1, means" if result.field_scores else "Frames from 0 to 1, means"
    parts.append(columns_table(caption, names, frame_columns(result)))
    if len(names) > 1:
        parts.append(element("p", "\u2605 best. Skill: 1 - MSE / MSE of the baseline.", class_="note"))
    entries = {metric: score(metric) for values in result.scores.values() for metric in values}
    rows = [
        [entry.full_title, *(_number(result, name, metric) for name in names), entry.unit, metric]
        for metric, entry in entries.items()
    ]
    heads = ["score", *names, "unit", "name in metrics.csv"]
    all_scores = table(heads, rows, caption="All scores, over all lead times and pixels")
    return [*parts, element("details", element("summary", "All scores"), all_scores)]


def by_lead(result: Evaluation, frame_interval: float | None) -> list[Markup]:
    """Returns a chart of each score that is drawn by lead time, and the numbers as tables."""
    metrics = drawn(result)
    charts = [lead_chart(result.scores, metric, frame_interval) for metric in metrics]
    defined = [chart for chart in charts if not chart.empty]
    look = looks(list(result.scores))
    if not result.field_scores:
        parts = [legend(charts, look), plots("lead", defined, look)]
    else:
        own = {chart.title for chart, metric in zip(charts, metrics, strict=True) if score(metric).field}
        groups = ([chart for chart in defined if (chart.title in own) == of_fields] for of_fields in (True, False))
        fields, frames = groups
        note = "Frames as the model sees them: all fields together, each in the range 0 to 1."
        parts = [
            *(legend(fields, look), plots("lead", fields, look)),
            *(group("On the model's scale", note, "scaled", frames, look) if frames else []),
        ]
    return [
        *parts,
        *undefined([chart.title for chart in charts if chart.empty]),
        as_tables([chart_table(chart, "+{:.4g}") for chart in defined]),
    ]


def drawn(result: Evaluation) -> list[str]:
    """Returns the scores with a chart by lead time: CSI, then other scores of rain, then those of frames."""
    metrics = {metric: score(metric) for metric in next(iter(result.scores.values()))}
    middle = result.middle_threshold if result.thresholds else ""
    shown = [
        metric
        for metric, entry in metrics.items()
        if entry.chart
        and entry.pool is None
        and entry.scale in (None, WINDOW)
        and (entry.kind == "csi" or entry.at in ("", middle))
    ]
    order = {"csi": -1} | {kind: n for n, kind in enumerate(FRAMES, 1)}
    return sorted(shown, key=lambda metric: order.get(metrics[metric].kind, 0))


def group(title: str, note: str, key: str, charts: Sequence[Chart], look: dict[str, Look]) -> list[Markup]:
    """Returns charts below a heading, a note and a legend."""
    head = [element("h3", title), element("p", note, class_="note")]
    return [*head, legend(charts, look), plots(key, charts, look)]


def undefined(titles: Sequence[str]) -> list[Markup]:
    """Returns a note on the scores that have no value."""
    return [element("p", f"Not defined here: {', '.join(titles)}.", class_="note")] if titles else []


def as_tables(tables: Sequence[Markup]) -> Markup:
    """Returns tables of the numbers of charts, in a part of the page that opens on a click."""
    return element("details", element("summary", "The same as tables"), tables)


def chart_table(chart: Chart, head: str, form: str = "") -> Markup:
    """Returns the numbers of a chart: a row for each line of a forecaster, a column for each x.

    Args:
        chart: The chart.
        head: Format of the heading of a column, such as "+{:g}".
        form: Format of the numbers. Default: four digits of the smallest in a column.
    """
    lines = chart.forecasters
    xs = max((line.x for line in lines.values()), key=len)
    columns = [
        Column([head.format(x), ""], [line.y[k] for line in lines.values()], form, chart.choose)
        for k, x in enumerate(xs)
    ]
    return columns_table(f"{chart.title} by {chart.x}; {chart.note}", list(lines), columns)


def columns_table(caption: str, names: list[str], columns: list[Column]) -> Markup:
    """Returns a table of columns that has a row for each name."""
    texts = [column.cells() for column in columns]
    heads = [" ".join(spelled(part) for part in column.heading if part) for column in columns]
    rows = [[name, *(column[r][0] for column in texts)] for r, name in enumerate(names)]
    best = [(r, c) for c, column in enumerate(texts) for r, (_, marked) in enumerate(column) if marked]
    return table(["forecaster", *heads], rows, caption=caption, best=best)


def _number(result: Evaluation, name: str, metric: str) -> str:
    value = result.scores[name].get(metric, {}).get("overall", math.nan)
    return "-" if not math.isfinite(value) else digits(value)
