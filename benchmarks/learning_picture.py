"""Draws what models have learned against the time of training: `python -m benchmarks.learning_picture --help`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from convlstm.report.style import COLOURS, INK, RULE, SOFT

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

RESULTS = Path(__file__).parent / "results" / "hour.json"


def draw(results: dict[str, Any], out: Path) -> None:
    """Draws the curves of the runs, with the scores of forecasts that learn nothing as lines.

    Args:
        results: `runs`, a list of `name`, `minutes` and `mse`; and `without_training`, scores by name.
        out: The PNG.
    """
    figure = Figure(figsize=(8, 4.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    last = max(run["minutes"][-1] for run in results["runs"])
    for name, score in results["without_training"].items():
        axes.axhline(score, color=RULE, linewidth=1, zorder=0)
        axes.text(last, score, name, color=SOFT, ha="right", va="bottom", fontsize=8)
    for colour, run in zip(COLOURS, results["runs"], strict=False):
        axes.plot(run["minutes"], run["mse"], color=colour, linewidth=2, marker="o", markersize=4, label=run["name"])
        axes.annotate(
            f"{run['mse'][-1]:.0f}",
            (run["minutes"][-1], run["mse"][-1]),
            (0, -16 if _curve_above(run, results["runs"]) else 7),
            textcoords="offset points",
            color=colour,
            ha="center",
        )
    axes.set(
        xlabel="minutes of training", ylabel="MSE per frame, validation digits", xlim=(0, last * 1.05), ylim=(0, None)
    )
    axes.xaxis.set_major_locator(MultipleLocator(10))
    axes.tick_params(colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", bbox_to_anchor=(0.02, 0.92), facecolor="white", edgecolor="none", fontsize=9)
    figure.savefig(out)


def _curve_above(run: dict[str, Any], runs: list[dict[str, Any]]) -> bool:
    """Returns True if another curve passes where the number above the end of a run's would be."""
    end, score = run["minutes"][-1], run["mse"][-1]
    others = (np.interp(end, r["minutes"], r["mse"], np.nan, np.nan) for r in runs if r is not run)
    return any(0 < other - score < 25 for other in others)


def main() -> None:
    """Draws the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning_picture", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="the results (benchmarks/results/hour.json)")
    parser.add_argument("--out", type=Path, required=True, help="the PNG")
    given = parser.parse_args()
    draw(json.loads(given.results.read_text(encoding="utf-8")), given.out)


if __name__ == "__main__":
    main()
