"""Ensembles in the page: their errors, their spread and the reliability of their probabilities."""

from __future__ import annotations

from collections.abc import Mapping

from convlstm.evaluation.scoring import Evaluation
from convlstm.metrics import score
from convlstm.metrics.table import plain_field
from convlstm.report.chart_descriptions import Chart
from convlstm.report.ensemble_charts import FEWEST, rank_chart, ranked_from, reliability_charts, spread_charts
from convlstm.report.page.markup import Markup, element, table
from convlstm.report.page.scores import as_tables, chart_table, group
from convlstm.report.page.svg import looks, plots
from convlstm.report.score_charts import chart_of

import numpy as np


def ensembles(result: Evaluation, frame_interval: float | None) -> list[Markup]:
    """Returns errors and spread by lead time, reliability and rank histograms, with their numbers as tables.

    Those of fields are in their units, one field after the other.

    Args:
        result: The evaluation; if it has no `ensembles`, nothing is returned.
        frame_interval: Minutes between two frames; None if unknown.
    """
    return [part for field in result.ensembles for part in _of_field(result, field, frame_interval)]


def _of_field(result: Evaluation, field: str, frame_interval: float | None) -> list[Markup]:
    """Returns the part of a field, or that of rain or frames, whose name is ""."""
    metrics_of = result.ensembles[field]
    look = looks(list(result.scores))
    sizes = ", ".join(f"{name}: {metrics.settings.members} members" for name, metrics in metrics_of.items())
    if field:
        sizes = f"{field}, in {next(iter(metrics_of.values())).settings.units}. {sizes}"
    of = f" of {field}" if len(result.ensembles) > 1 else ""
    scores = {name: result.scores[name] for name in metrics_of}
    errors = [_crps(result, field, frame_interval), *spread_charts(scores, frame_interval, field)]
    note = "The CRPS of a single forecast is its mean absolute error. Below a ratio of 1 the ensemble is overconfident."
    key = f"error-{plain_field(field)}" if of else "error"
    parts = [element("p", f"{sizes}.", class_="note"), *group(f"Error and spread{of}", note, key, errors, look)]
    tables = [chart_table(chart, "+{:.4g}") for chart in errors]

    tables_of = {name: metrics.reliability() for name, metrics in metrics_of.items()}
    reliability = reliability_charts(tables_of)
    if reliability:
        note = (
            "Observed frequency of an event for each probability that it was given. Bars show how often "
            f"{next(iter(metrics_of))} gave each one, on a scale of powers of ten; probabilities given fewer than "
            f"{FEWEST} times have no point."
        )
        parts += group(f"Reliability{of}", note, "reliability", list(reliability.values()), look)
        tables += [
            _reliability_table(f"{chart.title}, {name}", tables_of[name][key])
            for key, chart in reliability.items()
            for name in tables_of
        ]

    ranks = [rank_chart(name, metrics.rank_histogram(), ranked_from(metrics)) for name, metrics in metrics_of.items()]
    note = (
        "Rank of the truth among the members. High at both ends: overconfident; high in the middle: not confident "
        "enough; higher at one end: biased. The dotted line is flat."
    )
    key = f"ranks-{plain_field(field)}" if of else "ranks"
    parts += [element("h3", f"Rank histogram{of}"), element("p", note, class_="note"), plots(key, ranks, look)]
    for chart in ranks:
        rows = [[f"{k}", f"{share:.2%}"] for k, share in enumerate(chart.heights)]
        if rows:
            caption = f"Rank histogram of {chart.title}" + (of and f", {field}")
            tables.append(table([chart.x, "share"], rows, caption=caption))
    return [*parts, as_tables(tables)]


def _crps(result: Evaluation, field: str, frame_interval: float | None) -> Chart:
    """Returns the chart of CRPS, with the mean absolute error of single forecasts."""
    metrics_of = result.ensembles[field]
    crps = next(iter(metrics_of.values())).settings.name("crps")
    single = "mae_per_pixel" if crps == "crps_intensity" else crps.replace("crps", "mae")
    values = {
        name: scores[crps if name in metrics_of else single]["per_lead"] for name, scores in result.scores.items()
    }
    return chart_of(score(crps), values, frame_interval)


def _reliability_table(caption: str, given: Mapping[str, np.ndarray]) -> Markup:
    """Returns the table behind a line of a reliability diagram."""
    probabilities = np.linspace(0, 1, len(given["count"]))
    rows = [
        [f"{p:.3g}", "-" if not n else f"{observed:.3f}", f"{n:,}"]
        for p, observed, n in zip(probabilities, given["observed"].tolist(), given["count"].tolist(), strict=True)
    ]
    heads = ["probability", "observed frequency", "pixels"]
    return table(heads, rows, caption=caption)
