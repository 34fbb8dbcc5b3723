"""Charts of ensembles: the reliability of their probabilities, the ranks of the truth, and spread beside error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convlstm.evaluation.lead_times import lead_times
from convlstm.metrics import EnsembleMetrics, Scores, score
from convlstm.metrics.table import at, plain_field, spelled, unit_in_words
from convlstm.report.chart_descriptions import Bars, Chart, Histogram, Line, check_positive
from convlstm.report.matplotlib_charts import draw
from convlstm.report.score_charts import lead_chart

import numpy as np
from matplotlib.figure import Figure

Tables = Mapping[str, Mapping[str, np.ndarray]]

FEWEST = 10
"""Probabilities that were given less often are left out, since their frequency says little."""


def reliability_diagram(path: str | Path | None, tables: Mapping[str, Tables], *, title: str | None = None) -> Figure:
    """Draws the frequency of an event against its probability, a panel for each threshold, as a PNG.

    Each ensemble has a line. On the diagonal the probabilities are right; the level line is the frequency of the event
    over all pixels. Bars show how often the first ensemble gave each probability, on a scale of powers of ten. A
    probability that was given fewer than ten times has no point.

    Args:
        path: The file; None only returns the figure.
        tables: Return values of `EnsembleMetrics.reliability`, by ensemble. Thresholds that one of them lacks are left
            out.
        title: Heading of the picture. Default: none.

    Raises:
        ValueError: There is no ensemble, or no threshold that all of them have.
    """
    _check_any("reliability_diagram", tables)
    charts = reliability_charts(tables)
    if not charts:
        raise ValueError("[reliability_diagram] there is no threshold that all ensembles have.")
    return draw(path, list(charts.values()), title)


def reliability_charts(tables: Mapping[str, Tables]) -> dict[str, Chart]:
    """Returns a reliability diagram for each threshold ("@2mmh") that all ensembles have."""
    first, *others = tables.values()
    charts = {}
    for event, table in first.items():
        if not all(event in other for other in others):
            continue
        lines = {"reliable": Line([0, 1], [0, 1], role="guide", dashed=True)}
        for name, tables_of_one in tables.items():
            often = tables_of_one[event]["count"] >= FEWEST
            lines[name] = Line(*(tables_of_one[event][key][often].tolist() for key in ("probability", "observed")))
        count = table["count"]
        if count.sum():
            share = float(np.nansum(table["observed"] * count) / count.sum())
            lines["overall frequency"] = Line([0, 1], [share, share], role="guide")
        bars = Bars(np.linspace(0, 1, len(count)).tolist(), count.tolist(), next(iter(tables)))
        words: dict[str, Any] = {"x": "forecast probability", "y": "observed frequency"}
        words |= {"title": f"Event: {spelled(event[1:])} or more", "note": "the diagonal is best"}
        charts[event] = Chart(**words, lines=lines, span=(0.0, 1.0), bars=bars)
    return charts


def rank_histogram(
    path: str | Path | None,
    histograms: Mapping[str, np.ndarray],
    *,
    ranked_from: str | None = None,
    title: str | None = None,
) -> Figure:
    """Draws how often the truth had each rank among the members, a panel for each ensemble, as a PNG.

    A flat histogram is best. If it is high at both ends, the ensemble is overconfident. If it is high in the middle,
    the ensemble is not confident enough. If it slopes, the ensemble is biased.

    Args:
        path: The file; None only returns the figure.
        histograms: Return values of `EnsembleMetrics.rank_histogram`, by ensemble.
        ranked_from: Lowest value that counted, as text with its unit, for the axis. Default: all counted.
        title: Heading of the picture. Default: none.

    Raises:
        ValueError: There is no ensemble.
    """
    _check_any("rank_histogram", histograms)
    return draw(path, [rank_chart(name, counts, ranked_from) for name, counts in histograms.items()], title)


def rank_chart(name: str, counts: np.ndarray, ranked_from: str | None) -> Histogram:
    """Returns the rank histogram of an ensemble, or of one of its fields."""
    y = "share of the pixels" + ("" if ranked_from is None else f" with {ranked_from} or more")
    shares = (counts / counts.sum()).tolist() if counts.sum() else []
    return Histogram(name, "members below the truth", y, shares, name, "flat is best", 1 / len(counts))


def ranked_from(metrics: EnsembleMetrics) -> str | None:
    """Returns the lowest value that counts in a rank histogram, as text with its unit, or None if all values count."""
    least, units = metrics.settings.rank_from, metrics.settings.units
    return None if least is None else spelled(at(least, units)[1:])


def spread_skill(
    path: str | Path | None,
    scores: Mapping[str, Scores],
    *,
    title: str | None = None,
    frame_interval: float | None = None,
    field: str = "",
) -> Figure:
    """Draws the spread of each ensemble beside the error of its mean, and their ratio, against lead time, as a PNG.

    The spread is multiplied by sqrt((M + 1) / M), for M members, so that it should equal the error.

    Args:
        path: The file; None only returns the figure.
        scores: Return values of `EnsembleMetrics.compute`, by ensemble.
        title: Heading of the picture. Default: none.
        frame_interval: Minutes between two frames. Default: unknown, the axis counts frames.
        field: Name of the field whose scores are drawn, in its own units. Default: none, those of rain or frames.

    Raises:
        ValueError: There is no ensemble, or `frame_interval` is not positive.
    """
    _check_any("spread_skill", scores)
    check_positive("spread_skill", "frame_interval", frame_interval)
    return draw(path, spread_charts(scores, frame_interval, field), title)


def spread_charts(scores: Mapping[str, Scores], frame_interval: float | None, field: str = "") -> list[Chart]:
    """Returns the charts of spread and error, and of their ratio, by lead time; of a field in its units if named."""
    error = _name_of("rmse_of_mean", scores, field)
    ratio_name = _name_of("spread_skill", scores, field)
    lines = {}
    for name, values in scores.items():
        errors, ratios = values[error]["per_lead"], values[ratio_name]["per_lead"]
        leads, unit = lead_times(len(errors), frame_interval)
        prefix = "" if len(scores) == 1 else f"{name}, "
        lines[f"{prefix}error"] = Line(leads, errors, name)
        spread = [ratio * value for ratio, value in zip(ratios, errors, strict=True)]
        lines[f"{prefix}spread"] = Line(leads, spread, name, dashed=True)
    y = f"RMSE of the mean; dashed: spread ({unit_in_words(score(error).unit)})"
    look: dict[str, Any] = {"note": "equal is best", "from_zero": True, "ticks": leads}
    errors_and_spread = Chart("Error and spread" + (field and f" of {field}"), f"lead time ({unit})", y, lines, **look)
    return [errors_and_spread, lead_chart(scores, ratio_name, frame_interval)]


def _name_of(kind: str, scores: Mapping[str, Scores], field: str) -> str:
    """Returns the name of a score of an ensemble, with its units, among the scores of the first one."""
    wanted = f"field_{kind}" if field else kind
    entries = ((name, score(name)) for name in next(iter(scores.values())))
    return next(name for name, entry in entries if entry.kind == wanted and entry.field == plain_field(field))


def _check_any(owner: str, given: Mapping) -> None:
    if not given:
        raise ValueError(f"[{owner}] there must be at least one ensemble but got none.")
