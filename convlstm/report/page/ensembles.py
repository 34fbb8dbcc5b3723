"""What a page says of ensembles: how far off, how sure and how right their probabilities are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from convlstm.evaluation.scoring import Evaluation
from convlstm.metrics import EnsembleMetrics, score
from convlstm.metrics.table import unit_in_words
from convlstm.report.ensemble import FEW, at_least
from convlstm.report.page.bars import bar_chart
from convlstm.report.page.chart import GUIDE, Bars, Line, Look, legend, line_chart, looks
from convlstm.report.page.markup import Markup, element, table
from convlstm.report.page.scores import axis_of_leads, by_lead_table

import numpy as np


def ensembles(result: Evaluation, frame_interval: float | None) -> list[Markup]:
    """Errors and spread by lead time, reliability and rank histograms, with their numbers as tables.

    Args:
        result: What `evaluate` returned; nothing is said where it has no `ensembles`.
        frame_interval: Minutes between two frames; None where they are counted.
    """
    every = result.ensembles
    if not every:
        return []
    look = looks(list(result.scores))
    sizes = {name: metrics.settings.members for name, metrics in every.items()}
    told = ", ".join(f"{name}: {count} members" for name, count in sizes.items())
    parts, tables = [element("p", told, class_="note")], []
    for made, numbers in (
        _errors(result, look, frame_interval),
        _reliability(every, look),
        _ranks(every, look),
    ):
        parts += made
        tables += numbers
    return [*parts, element("details", element("summary", "The same as tables"), tables)]


def _errors(
    result: Evaluation, look: Mapping[str, Look], frame_interval: float | None
) -> tuple[list[Markup], list[Markup]]:
    """CRPS beside what it is of a single forecast, spread beside the error of the mean, and their ratio."""
    names = list(result.ensembles)
    leads, axis, _ = axis_of_leads(result, frame_interval)
    kinds = list(result.ensembles[names[0]].compute())
    crps, error = (next(kind for kind in kinds if kind.startswith(start)) for start in ("crps_", "rmse_of_mean_"))
    unit = unit_in_words(score(crps).unit)
    how: dict[str, Any] = {"x": axis, "from_zero": True, "whole": frame_interval is None}

    def known(name: str, metric: str) -> list[float]:
        return result.scores[name][metric]["per_lead"]

    # Of one forecast the CRPS is the mean absolute error.
    single = "mae_per_pixel" if crps == "crps_intensity" else crps.replace("crps", "mae")
    shown = {name: known(name, crps if name in names else single) for name in result.scores}
    lines = {name: Line(leads, values, look[name]) for name, values in shown.items()}
    note = "lower is better; of a single forecast its mean absolute error"
    charts = [line_chart("crps", lines, title="CRPS", y=score(crps).axis, note=note, **how)]
    tables = [by_lead_table(f"CRPS by {axis}; {note}", shown, leads, min)]

    pairs: dict[str, Line] = {}
    for name in names:
        errors = known(name, error)
        # As the spread should equal the error: times sqrt((M + 1) / M).
        wide = [ratio * value for ratio, value in zip(known(name, "spread_skill"), errors, strict=True)]
        prefix = "" if len(names) == 1 else f"{name}, "
        for word, values, style in (("error of the mean", errors, ""), ("spread", wide, " broken")):
            pairs[prefix + word] = Line(leads, values, Look(look[name].style + style, look[name].dot))
    words = f"RMSE of the mean; dashed: spread ({unit})"
    charts.append(line_chart("spread", pairs, title="Error and spread", y=words, note="equal is best", **how))
    numbers = {name: line.y for name, line in pairs.items()}
    tables.append(by_lead_table(f"Error and spread ({unit}) by {axis}; equal is best", numbers, leads, None))

    ratio_words = score("spread_skill")
    ratios = {name: known(name, "spread_skill") for name in names}
    lines = {name: Line(leads, values, look[name]) for name, values in ratios.items()}
    note = f"{ratio_words.note}, below it is too sure"
    how |= {"title": "Spread-skill ratio", "y": ratio_words.axis, "note": note, "mark": 1.0}
    charts.append(line_chart("ratio", lines, **how))
    tables.append(by_lead_table(f"Spread-skill ratio by {axis}; {note}", ratios, leads, ratio_words.choose))
    return [element("h3", "Error and spread"), legend(look), element("div", charts, class_="plots")], tables


def _reliability(every: Mapping[str, EnsembleMetrics], look: Mapping[str, Look]) -> tuple[list[Markup], list[Markup]]:
    """A chart for each threshold that all have: how often an event came, against its probability."""
    known = {name: metrics.reliability() for name, metrics in every.items()}
    first, *others = known.values()
    thresholds = [at for at in first if all(at in other for other in others)]
    if not thresholds:
        return [], []
    charts: list[Markup] = []
    tables: list[Markup] = []
    for at in thresholds:
        lines = {"reliable": Line([0, 1], [0, 1], GUIDE)}
        for name, found in known.items():
            p, observed, count = (found[at][key] for key in ("probability", "observed", "count"))
            enough = count >= FEW
            lines[name] = Line(p[enough].tolist(), observed[enough].tolist(), look[name])
        name = next(iter(known))
        title = f"Event: {at_least(at)}"
        charts.append(
            line_chart(
                f"reliability{len(charts)}", lines, title=title, x="forecast probability", y="observed frequency",
                note="on the dotted line is best", span=(0.0, 1.0), bars=_given(first[at], look[name]),
            )
        )  # fmt: skip
        tables += [_given_table(f"{title}, {name}", found[at]) for name, found in known.items()]
    told = "How often an event came when it was given a probability. The bars say how often each one was given"
    told += "" if len(known) == 1 else f" by {next(iter(known))}"
    told += f", on a scale of powers of ten; those given fewer than {FEW} times have no point."
    head = element("h3", "Reliability")
    shown = {"reliable": GUIDE} | {name: look[name] for name in known}
    return [head, element("p", told, class_="note"), legend(shown), element("div", charts, class_="plots")], tables


def _given(found: Mapping[str, np.ndarray], look: Look) -> Bars:
    count = found["count"].tolist()
    highest = math.log10(2 * max(*count, 1))
    share = [math.log10(2 * n) / highest if n else 0.0 for n in count]
    return Bars(np.linspace(0, 1, len(count)).tolist(), share, look.style)


def _given_table(caption: str, found: Mapping[str, np.ndarray]) -> Markup:
    rows = [
        [f"{p:.3g}", "-" if not n else f"{observed:.3f}", f"{n:,}"]
        for p, observed, n in zip(
            np.linspace(0, 1, len(found["count"])), found["observed"].tolist(), found["count"].tolist(), strict=True
        )
    ]
    heads = ["probability", "observed frequency", "pixels"]
    return table(heads, rows, caption=caption)


def _ranks(every: Mapping[str, EnsembleMetrics], look: Mapping[str, Look]) -> tuple[list[Markup], list[Markup]]:
    """A histogram for each: the place of the truth among the members."""
    charts: list[Markup] = []
    tables: list[Markup] = []
    for n, (name, metrics) in enumerate(every.items()):
        counts, least = metrics.rank_histogram(), metrics.settings.rank_from
        total, flat = float(counts.sum()), 1 / len(counts)
        shares = (counts / total).tolist() if total else []
        unit = metrics.settings.units
        where = "" if least is None else f" with {least:g}{'' if unit in ('raw', 'intensity') else f' {unit}'} or more"
        told = "no value." if not total else (
            f"Below all members {shares[0]:.1%}, above all {shares[-1]:.1%}; flat would be {flat:.1%} at each place."
        )  # fmt: skip
        how: dict[str, Any] = {"x": "members below the truth", "y": f"share of the pixels{where}", "mark": flat}
        how |= {"note": "flat is best", "told": told, "style": look[name].style}
        charts.append(bar_chart(f"ranks{n}", shares, title=name, **how))
        if shares:
            rows = [[f"{k}", f"{share:.2%}"] for k, share in enumerate(shares)]
            tables.append(table(["members below the truth", "share"], rows, caption=f"Rank histogram of {name}"))
    told = "Where the truth lies among the members. High at both ends: too sure; high in the middle: not sure enough; "
    told += "higher at one end: biased. The dotted line is flat."
    head = element("h3", "Rank histogram")
    return [head, element("p", told, class_="note"), element("div", charts, class_="plots")], tables
