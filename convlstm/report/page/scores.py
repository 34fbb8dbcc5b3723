"""The scores of an evaluation in a page: tables of the means, charts and tables by lead time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from convlstm.evaluation import tables as results
from convlstm.evaluation.scoring import Evaluation
from convlstm.report.labels import event, full_title, label, spelled
from convlstm.report.page.chart import Line, legend, line_chart, looks
from convlstm.report.page.markup import Markup, element, table
from convlstm.report.style import digits

FRAMES = ("mse_per_frame", "ssim", "psnr")
# Of rain, beside the critical success index of every threshold; of those with a threshold, at that of the tables alone.
RAIN = ("bias", "fss", "mae", "spectral_ratio")


def means(result: Evaluation) -> list[Markup]:
    """The tables that a terminal gets, too, and one of all scores."""
    names = list(result.scores)
    parts = []
    if results.thresholds_of(result):
        at = results.middle_threshold(result)
        parts.append(columns_table("Rain, means over the lead times", names, results.rain_columns(result, names)))
        told = (
            f"FSS: at {spelled(at)}, in windows of so many pixels. "
            "Power: share of the truth's at shorter waves, 1 is as sharp."
        )
        parts.append(element("p", told, class_="note"))
    parts.append(columns_table("Frames from 0 to 1, means", names, results.frame_columns(result, names)))
    if len(names) > 1:
        parts.append(element("p", "\u2605 best. Skill: 1 - MSE / MSE of the baseline.", class_="note"))
    every = table(
        ["score", *names, "unit", "name in metrics.csv"],
        [
            [full_title(metric), *(_number(result, name, metric) for name in names), results.unit(metric), metric]
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
    empty = [label(metric).title for metric in drawn(result) if not _known(result, metric)]
    charts: list[Markup] = []
    tables: list[Markup] = []
    for metric in chosen:
        words = label(metric)
        values = {name: result.scores[name][metric]["per_lead"] for name in names}
        lines = {name: Line(leads, known, look[name]) for name, known in values.items()}
        how: dict[str, Any] = {"from_zero": words.from_zero, "mark": words.best, "whole": frame_interval is None}
        charts.append(
            line_chart(f"lead{len(charts)}", lines, title=words.title, x=axis, y=words.axis, note=words.note, **how)
        )
        caption = f"{words.title} by lead time ({unit}); {words.note}"
        tables.append(by_lead_table(caption, values, leads, _best(words.higher, words.best)))
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
    choose: Callable[[list[float]], float] | None,
) -> Markup:
    """A row for each name, a column for each lead time."""
    columns: list[results.Column] = [
        ([f"+{lead:g}", ""], [known[k] for known in values.values()], "", choose) for k, lead in enumerate(leads)
    ]
    return columns_table(caption, list(values), columns)


def drawn(result: Evaluation) -> list[str]:
    """The scores that have a chart here, those of all forecasters."""
    known = list(next(iter(result.scores.values())))
    if not results.thresholds_of(result):
        return [metric for metric in known if metric in FRAMES]
    at = f"@{results.middle_threshold(result)}"
    found = []
    for metric in known:
        parts = event(metric)
        if parts is None:
            wanted = metric.startswith(RAIN) and "_per_" not in metric
        elif parts.kind == "csi":
            wanted = parts.pool is None
        else:
            wanted = parts.kind in RAIN and parts.suffix == at and parts.scale in (None, 16)
        found += [metric] if wanted else []
    # The critical success index first.
    found.sort(key=lambda metric: not metric.startswith("csi@"))
    return [*found, *(metric for metric in FRAMES if metric in known)]


def _metrics(result: Evaluation) -> list[str]:
    """The scores of all forecasters; an ensemble has some that others have not."""
    return list(dict.fromkeys(metric for score in result.scores.values() for metric in score))


def _known(result: Evaluation, metric: str) -> bool:
    scores = [score[metric]["per_lead"] for score in result.scores.values()]
    return any(math.isfinite(value) for values in scores for value in values)


def _best(higher: bool | None, best: float | None) -> Callable[[list[float]], float] | None:
    if best is not None:
        return lambda values: min(values, key=lambda value: abs(value - best))
    return None if higher is None else max if higher else min


def columns_table(caption: str, names: list[str], columns: list[results.Column]) -> Markup:
    texts = [results.written(column, len(names)) for column in columns]
    heads = [" ".join(spelled(part) for part in heading if part) for heading, *_ in columns]
    rows = [[name, *(column[r][0] for column in texts)] for r, name in enumerate(names)]
    best = [(r, c) for c, column in enumerate(texts) for r, (_, marked) in enumerate(column) if marked]
    return table(["forecaster", *heads], rows, caption=caption, best=best)


def _number(result: Evaluation, name: str, metric: str) -> str:
    value = result.scores[name].get(metric, {}).get("overall", math.nan)
    return "-" if not math.isfinite(value) else digits(value)
