"""The tables of an evaluation: their columns, which the report shows too, and their text for a terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from convlstm.evaluation.lead_times import lead_time, lead_times
from convlstm.evaluation.scoring import Evaluation
from convlstm.metrics import EnsembleMetrics, score
from convlstm.metrics.table import FRAMES, RAIN

import numpy as np

BASELINES = ("persistence", "climatology", "zeros")
"""Forecasters that others are compared with."""


class Column(NamedTuple):
    """A column of a table that has a row for each forecaster.

    Attributes:
        heading: Its lines, two of them.
        values: A value for each forecaster; None if it has no value.
        form: Format of the values; "" keeps four digits of the smallest one.
        choose: Function that returns the best of the values; None if the best value is not marked.
    """

    heading: list[str]
    values: list[float | None]
    form: str
    choose: Callable[[Iterable[float]], float] | None

    def cells(self) -> list[tuple[str, bool]]:
        """Returns the text of each value, and True for the best one."""
        scored = [value for value in self.values if value is not None and math.isfinite(value)]
        # If all values are the same, none is the best.
        best = self.choose(scored) if self.choose is not None and len({*scored}) > 1 else None
        form = self.form
        if not form:
            # The smallest value keeps four digits, and all have the same number of decimals.
            smallest = min((abs(value) for value in scored if value), default=1.0)
            form = f".{min(max(3 - math.floor(math.log10(smallest)), 0), 4)}f"
        texts = ["-" if value is None or math.isnan(value) else format(value, form) for value in self.values]
        return [(text, best is not None and value == best) for text, value in zip(texts, self.values, strict=True)]


def frame_columns(result: Evaluation) -> list[Column]:
    """Returns the columns of the table of frames: means of the scores, skill against the baselines, and speed."""
    names = list(result.scores)
    metrics = [metric for metric in result.scores[names[0]] if metric in FRAMES and FRAMES[metric].heading]
    columns = [_column(result, names, metric, "overall") for metric in metrics]
    for reference in BASELINES:
        values = [None if name == reference else result.skill(name, reference) for name in names]
        if any(value is not None for value in values):
            columns.append(Column(["skill vs", reference], values, "+.1%", None))
    columns.append(Column(["speed", "seq/s"], [result.speed[name] for name in names], ",.1f", None))
    return columns


def rain_columns(result: Evaluation) -> list[Column]:
    """Returns the columns of the table of rain: means over the lead times.

    CSI has a column for each threshold; the other scores of events are those at the threshold in the middle.
    """
    metrics = {metric: score(metric) for metric in next(iter(result.scores.values()))}
    columns = []
    for kind in RAIN:
        for metric, entry in metrics.items():
            at_threshold = kind == "csi" or entry.at in ("", result.middle_threshold)
            if entry.kind == kind and entry.heading and at_threshold and entry.pool is None and entry.scale != 1:
                columns.append(_column(result, list(result.scores), metric, "mean_over_leads"))
    return columns


def field_columns(result: Evaluation, field: str) -> list[Column]:
    """Returns the columns of the table of a field: means over the lead times, and skill against persistence."""
    names = list(result.scores)
    columns = []
    for metric in result.field_scores[field]:
        columns.append(_column(result, names, metric, "mean_over_leads"))
        if score(metric).kind == "field_rmse" and BASELINES[0] in names:
            mse = {name: result.scores[name][metric]["overall"] ** 2 for name in names}
            reference = mse.pop(BASELINES[0])
            skills = [1 - mse[name] / reference if name in mse and reference else None for name in names]
            columns.append(Column(["skill vs", BASELINES[0]], skills, "+.1%", None))
    return columns


def _column(result: Evaluation, names: list[str], metric: str, mean: str) -> Column:
    entry = score(metric)
    values = [result.scores[name][metric][mean] for name in names]
    return Column(list(entry.heading), values, entry.form, entry.choose)


def table(result: Evaluation) -> str:
    """Returns the scores as text for a terminal: means, skill against the baselines, and error by lead time.

    The tables of rain show CSI at each threshold, and how wet and how blurred the forecasts are; those of other fields
    are in their units. If there is more than one forecaster, the best value of a column has a star. Lines have at most
    100 characters for names of up to 18 letters, a few thresholds and the usual baselines; longer names are cut.
    """
    names = list(result.scores)
    ahead = ("1 frame" if result.horizon == 1 else f"{result.horizon} frames") + " ahead"
    if result.frame_interval is not None:
        ahead += f" ({lead_time(result.horizon, result.frame_interval)})"
    sequences = "1 sequence" if result.sequences == 1 else f"{result.sequences:,} sequences"
    low, high = (f"{choose(result.coverage.values()):.1%}" for choose in (min, max))
    pixels = "" if low == "100.0%" else f"; {low if low == high else f'{low} to {high}'} of the pixels scored"
    parts = [f"{sequences}, {ahead}; means over all lead times{pixels}"]
    if result.thresholds:
        parts += [*_rain_table(result), "", "Frames on the model's scale, 0 to 1"]
    for field, metrics in result.field_scores.items():
        parts += ["", *_aligned(names, field_columns(result, field), field)]
        for metric in metrics:
            if (entry := score(metric)).kind == "field_rmse":
                parts += _by_lead(result, metric, f"{entry.title} in {entry.unit}")
    if result.field_scores:
        parts += ["", "Frames on the model's scale, 0 to 1"]
    parts += _aligned(names, frame_columns(result))
    parts += _by_lead(result, "mse_per_frame", "MSE per frame")
    for field, metrics_of in result.ensembles.items():
        parts += _ensemble_table(result, field, metrics_of)
    notes = ["* best"] if len(names) > 1 else []
    if len(names) > 1 and set(BASELINES) & set(names):
        notes.append("skill = 1 - MSE / MSE of the baseline")
    if notes:
        parts += ["", "; ".join(notes)]
    return "\n".join(line.rstrip() for line in parts)


def _rain_table(result: Evaluation) -> list[str]:
    """Returns the table of rain, and CSI at the threshold in the middle by lead time."""
    middle = result.middle_threshold
    note = f"FSS: at {middle[1:]}, by side of the window; power: at shorter waves, forecast / truth (1: as sharp)"
    by_lead = _by_lead(result, f"csi{middle}", f"CSI at {middle[1:]}")
    return [*_aligned(list(result.scores), rain_columns(result)), note, *by_lead]


def _ensemble_table(result: Evaluation, field: str, metrics_of: Mapping[str, EnsembleMetrics]) -> list[str]:
    """Returns the table of the scores that only ensembles have, of a field or, named "", of rain or frames."""
    names = list(metrics_of)
    scores = next(iter(metrics_of.values())).compute()
    columns = [_column(result, names, metric, "overall")._replace(choose=None) for metric in scores]
    members = ", ".join(f"{metrics.settings.members}" for metrics in metrics_of.values())
    ensembles = "Ensemble" if len(names) == 1 else "Ensembles"
    title = f"{ensembles} of {members} members, all lead times together"
    return ["", f"{field}: {title}" if field else title, *_aligned(names, columns)]


def _by_lead(result: Evaluation, metric: str, title: str) -> list[str]:
    """Returns a table with a column for each of at most ten lead times, evenly spread; nothing if there is only one.

    Its title says in which unit the headings count.
    """
    if result.horizon == 1:
        return []
    leads = sorted({round(lead) for lead in np.linspace(1, result.horizon, min(result.horizon, 10)).tolist()})
    ahead, unit = lead_times(result.horizon, result.frame_interval)
    entry = score(metric)
    values = [scores[metric]["per_lead"] for scores in result.scores.values()]
    columns = [
        Column(["", f"+{ahead[lead - 1]:.4g}"], [v[lead - 1] for v in values], entry.form, entry.choose)
        for lead in leads
    ]
    by = "frames ahead" if result.frame_interval is None else unit
    return ["", f"{title} by lead time ({by})", *_aligned(list(result.scores), columns)[1:]]


def _aligned(names: list[str], columns: list[Column], corner: str = "") -> list[str]:
    labels = [name if len(name) <= 18 else name[:17] + "~" for name in (corner, "forecaster", *names)]
    lines = [label.ljust(max(map(len, labels))) for label in labels]
    for column in columns:
        cells = [f"{text} " for text in column.heading]
        cells += [text + ("*" if best else " ") for text, best in column.cells()]
        width = max(map(len, cells))
        lines = [f"{line} {cell.rjust(width)}" for line, cell in zip(lines, cells, strict=True)]
    return lines
