"""How the time of a training step grows with batch, length and pixels: `python -m benchmarks.scaling`."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.contest import WARM_UP, alternate
from benchmarks.machine import describe
from benchmarks.rows import first
from benchmarks.workload import Workload

import numpy as np
from tqdm import tqdm

TIMES = (1, 2, 3, 4)
BATCH, LENGTH, SIDE = 2, 5, 16


def workloads() -> dict[str, list[Workload]]:
    """The first row's step, one to four times as large in one way."""
    return {
        "batch": [first(n * BATCH, LENGTH, SIDE, SIDE) for n in TIMES],
        "length": [first(BATCH, n * LENGTH, SIDE, SIDE) for n in TIMES],
        "pixels": [first(BATCH, LENGTH, n * SIDE, SIDE) for n in TIMES],
    }


def fit(sizes: tuple[int, ...], seconds: list[float]) -> tuple[float, float, float]:
    """Least squares a + b x: a, b, and the largest distance of a point from the line, relative to the line."""
    x, y = np.array(sizes, float), np.array(seconds)
    b, a = np.polyfit(x, y, 1)
    return float(a), float(b), float(np.max(np.abs(y - (a + b * x)) / (a + b * x)))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--runs", type=int, default=7, help="timed runs of each size (default: 7)")
    parser.add_argument("--threads", type=int, help="of the BLAS; default: as it chooses")
    parser.add_argument("--side", choices=("ours", "pytorch"), default="ours", help="default: ours")
    parser.add_argument("--out", type=Path, default=Path("runs/scaling.json"), help="default: runs/scaling.json")
    options = parser.parse_args()
    record: dict[str, Any] = {"machine": describe(), "side": options.side, "growth": {}}
    lines = [
        "| grows | " + " | ".join(f"{n}x" for n in TIMES) + " | line | largest deviation |",
        "|" + "---|" * (len(TIMES) + 3),
    ]
    with tqdm(total=3 * (WARM_UP + options.runs), disable=None) as bar, tempfile.TemporaryDirectory() as folder:
        for what, sizes in workloads().items():
            bar.set_description(what)
            problems = [Path(folder) / f"{what}_{n}.npz" for n in TIMES]
            if options.side == "pytorch":
                make_problems(sizes, problems)
            contestants: list[tuple[str, Workload, dict]] = [(options.side, workload, {}) for workload in sizes]
            timed = alternate(contestants, problems, options.runs, options.threads, bar.update)
            medians = [median(result["seconds"]) for result in timed]
            a, b, deviation = fit(TIMES, medians)
            record["growth"][what] = {"points": timed, "intercept": a, "slope": b, "largest_deviation": deviation}
            cells = [what, *(f"{m:.3g} s" for m in medians), f"{a:.3g} + {b:.3g} x", f"{deviation:.1%}"]
            lines.append("| " + " | ".join(cells) + " |")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    base = f"{BATCH} sequences of {LENGTH} + {LENGTH} frames, {SIDE}x{SIDE}"
    print("\n".join([*lines, "", f"1x: {base}. Medians of {options.runs}. Written: {options.out}"]))


def make_problems(sizes: list[Workload], problems: list[Path]) -> None:
    """Has our side write the weights and the data."""
    from benchmarks.contest import working

    for workload, problem in zip(sizes, problems, strict=True):
        with working("ours") as worker:
            worker.ask("build", workload=workload.as_json(), problem=str(problem), options={})


if __name__ == "__main__":
    main()
