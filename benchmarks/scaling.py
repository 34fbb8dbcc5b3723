"""Times training steps of growing batch, length and number of pixels: `python -m benchmarks.scaling`."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.contest import WARM_UP, alternate, working
from benchmarks.machine import describe
from benchmarks.report import write
from benchmarks.rows import first
from benchmarks.workload import Workload

import numpy as np
from tqdm import tqdm

TIMES = (1, 2, 3, 4)
BATCH, LENGTH, SIDE = 2, 5, 16


def workloads() -> dict[str, list[Workload]]:
    """Returns the first row's step, one to four times as large in one respect."""
    return {
        "batch": [first(n * BATCH, LENGTH, SIDE, SIDE) for n in TIMES],
        "length": [first(BATCH, n * LENGTH, SIDE, SIDE) for n in TIMES],
        "pixels": [first(BATCH, LENGTH, n * SIDE, SIDE) for n in TIMES],
    }


def fit(sizes: tuple[int, ...], seconds: list[float]) -> tuple[float, float, float]:
    """Returns a and b of the least-squares line a + b x, and the largest relative distance of a point from it."""
    x, y = np.array(sizes, float), np.array(seconds)
    b, a = np.polyfit(x, y, 1)
    return float(a), float(b), float(np.max(np.abs(y - (a + b * x)) / (a + b * x)))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--runs", type=int, default=7, help="timed runs of each size (default: 7)")
    parser.add_argument("--threads", type=int, help="threads of the BLAS (default: its own choice)")
    parser.add_argument("--side", choices=("ours", "pytorch"), default="ours", help="(default: ours)")
    parser.add_argument("--out", type=Path, default=Path("runs/scaling.json"), help="(default: runs/scaling.json)")
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
    write(record, options.out)
    base = f"{BATCH} sequences of {LENGTH} + {LENGTH} frames, {SIDE}x{SIDE}"
    print("\n".join([*lines, "", f"1x: {base}. Medians of {options.runs}. Written: {options.out}"]))


def make_problems(sizes: list[Workload], problems: list[Path]) -> None:
    """Lets our side write the weights and the data."""
    for workload, problem in zip(sizes, problems, strict=True):
        with working("ours") as worker:
            worker.ask("build", workload=workload.as_json(), problem=str(problem), options={})


if __name__ == "__main__":
    main()
