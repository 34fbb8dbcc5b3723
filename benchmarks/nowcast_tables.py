"""The tables and the chart of `benchmarks.nowcast`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.nowcast_scores import Scores
from benchmarks.nowcast_sums import OCTAVES, SIDES, THRESHOLDS, TIMES
from convlstm.report.style import COLOURS, RULE, SOFT

import numpy as np
from matplotlib.figure import Figure

MEAN = "mean of events"
LABELS = {
    "nowcast median": "median",
    "nowcast mean": "mean",
    "nowcast pmm": "matched mean",
    "nowcast csi": "best for CSI",
    "sprog": "S-PROG",
    "steps mean": "mean of STEPS",
    "extrapolation": "extrapolation",
}
"""The single forecasts, by their names in scores."""
Cells = dict[str, Callable[[Scores], str]]


def markdown(events: Mapping[str, Scores], average: Scores, settings: Mapping[str, Any]) -> str:
    """Returns tables with a row for each event and a last one of their mean."""
    rates = [f"{threshold:g} mm/h" for threshold in THRESHOLDS]
    probabilities: Cells = {
        f"{kind} of {'pixels' if side == 1 else f'{side} x {side} pixels'}": _comparison(f"{score} {side}px", who)
        for kind, score, who in (
            ("CRPS", "crps", "ratio"),
            ("fair CRPS", "crps_fair", "ratio"),
            ("CRPS over fair CRPS", "crps", "ratio to fair"),
        )
        for side in SIDES
    }
    probabilities |= {f"Brier {rate}": _comparison(f"brier {rate}", "ratio") for rate in rates}
    calibration: Cells = {"spread over error": _both("spread over error")}
    for time in TIMES:
        for low, high in OCTAVES:
            calibration[f"power, {low}-{high} km, {time} min"] = _both(f"power of {low} to {high} km at {time} min")
    products: Cells = {
        f"MAE of the {name}": _comparison("mae, best opponent", f"ratio nowcast {name}") for name in ("median", "mean")
    }
    for who in ("nowcast csi", "nowcast pmm", "nowcast mean"):
        for rate in rates:
            cell = _comparison(f"csi {rate}, best opponent", f"difference {who}")
            products[f"CSI at {rate}, {LABELS[who]}"] = cell
    biases: Cells = {label: _values([f"bias {rate}" for rate in rates], who) for who, label in LABELS.items()}
    names = ["mae", *(f"csi {rate}" for rate in rates)]
    values: Cells = {label: _values(names, who) for who, label in LABELS.items()}
    steps = "pysteps' STEPS" if settings["steps"] == "pysteps" else "this project's STEPS"
    opening = (
        f"{settings['nowcast']} beside {steps}, {settings['members']} members. In brackets: 95 % intervals from blocks "
        "of starts. *: the interval leaves out equality.\n"
    )
    return "\n".join(
        [
            opening,
            "Ratios to STEPS, below 1 is better:\n",
            _table(events, average, probabilities),
            "Spread over error, and power of members over that of the truth, 1 is best; those of STEPS follow:\n",
            _table(events, average, calibration),
            "Products beside the best of S-PROG, the mean of STEPS and extrapolation: ratios of MAE, below 1 is "
            "better, and differences of CSI, above 0 is better:\n",
            _table(events, average, products),
            f"Frequency bias at {', '.join(rates)}:\n",
            _table(events, average, biases),
            f"MAE in mm/h, and CSI at {', '.join(rates)}:\n",
            _table(events, average, values),
        ]
    )


def _table(events: Mapping[str, Scores], average: Scores, cells: Cells) -> str:
    header = ["event", "starts", "million pixels", "hours", *cells]
    rows = [header, ["---"] * len(header)]
    for name, scores in {**events, MEAN: average}.items():
        pixels = scores.pixels["crps 1px"] / 1e6
        rows.append(
            [name, str(scores.starts), f"{pixels:.2f}", f"{scores.hours:.1f}", *(c(scores) for c in cells.values())]
        )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def _comparison(name: str, who: str) -> Callable[[Scores], str]:
    form = "+.3f" if who.startswith("difference") else ".3f"

    def cell(scores: Scores) -> str:
        one = scores.record_of(name, who)
        if one["value"] is None:
            return "-"
        interval = "" if one["low"] is None else f" ({one['low']:{form}} to {one['high']:{form}})"
        return f"{one['value']:{form}}{'*' if one['star'] else ''}{interval}"

    return cell


def _both(name: str) -> Callable[[Scores], str]:
    def cell(scores: Scores) -> str:
        one = scores.record_of(name, "nowcast")
        interval = "" if one["low"] is None else f" ({one['low']:.2f} to {one['high']:.2f})"
        return f"{scores.values[name]['nowcast'][0]:.2f}{interval}, STEPS {scores.values[name]['steps'][0]:.2f}"

    return cell


def _values(names: list[str], who: str) -> Callable[[Scores], str]:
    return lambda scores: ", ".join(f"{scores.values[name][who][0]:.3f}" for name in names)


def chart(events: Mapping[str, Scores], average: Scores) -> Figure:
    """Draws the ratio of CRPS to that of STEPS by lead time, a panel for each event and one for the mean."""
    panels = {**events, MEAN: average} if len(events) > 1 else dict(events)
    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.1 * columns, 2.5 * rows + 0.6), dpi=100, layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, columns, sharex=True, sharey=True)).ravel()
    for panel, (name, scores) in zip(axes, panels.items(), strict=False):
        panel.axhline(1, color=SOFT, linewidth=0.8)
        for side, colour in ((1, COLOURS[0]), (16, COLOURS[1])):
            minutes, entries = by_lead(scores, side)
            values, low, high = (np.array([one[key] for one in entries], float) for key in ("value", "low", "high"))
            label = "pixels" if side == 1 else f"means over {side} x {side} pixels"
            panel.fill_between(minutes, low, high, color=colour, alpha=0.18, linewidth=0)
            panel.plot(minutes, values, color=colour, label=label, linewidth=1.6)
        panel.set_title(f"{name} ({scores.starts} starts)", fontsize=9, loc="left")
        panel.grid(color=RULE, linewidth=0.4)
        panel.tick_params(labelsize=8)
    for panel in axes[len(panels) :]:
        panel.set_axis_off()
    axes[0].legend(fontsize=8, frameon=False)
    figure.supxlabel("lead time (min)", fontsize=9)
    figure.supylabel("CRPS over that of STEPS, with 95 % interval", fontsize=9)
    return figure


def by_lead(scores: Scores, side: int) -> tuple[list[float], list[dict[str, Any]]]:
    """Returns lead times in minutes, and the ratios of CRPS of squares of pixels with their intervals."""
    prefix = f"crps {side}px at "
    names = [name for name in scores.values if name.startswith(prefix)]
    return [float(name[len(prefix) : -4]) for name in names], [scores.record_of(name, "ratio") for name in names]
