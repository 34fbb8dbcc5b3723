"""Times training and forecasting, and the same in PyTorch on this CPU: `python -m benchmarks --help`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.contest import WARM_UP, WorkerError, agree, alternate, peak_memory, recomputing
from benchmarks.end_to_end import train
from benchmarks.machine import describe, warn_without_torch
from benchmarks.profile import profile
from benchmarks.report import heading, table, write
from benchmarks.rows import Row, rows, select

from tqdm import tqdm


class Progress:
    """A progress bar over all rows, weighted by their time."""

    def __init__(self, todo: list[Row]):
        layout = "{desc} {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left"
        self._bar = tqdm(total=sum(row.seconds for row in todo), bar_format=layout, disable=None)
        self._end, self._row = 0.0, todo[0]

    def start(self, row: Row) -> None:
        """Begins a row."""
        self._row = row
        self._end += row.seconds
        self._bar.set_description_str(row.name)

    def advance(self, share: float) -> None:
        """Adds a share of the row."""
        self._to(self._bar.n + share * self._row.seconds)

    def finish(self) -> None:
        """Completes the row."""
        self._to(self._end)

    def close(self) -> None:
        """Closes the bar."""
        self._bar.close()

    def _to(self, value: float) -> None:
        self._bar.n = min(value, self._end)
        self._bar.refresh()


def measure(row: Row, options: argparse.Namespace, folder: Path, progress: Progress) -> dict[str, Any]:
    """Returns the figures of a row.

    Raises:
        WorkerError: The two sides do not compute the same, or one of them failed.
    """
    workload, threads, problem = row.workload, options.threads, folder / "problem.npz"
    problem.unlink(missing_ok=True)
    result: dict[str, Any] = {
        "name": row.name,
        "other_side": row.other,
        "workload": workload.as_json(),
        "sequences": workload.sequences,
    }
    if row.end_to_end:
        halves = []
        for half in range(2):
            [timed] = alternate([("ours", workload, {})], [problem], options.runs, threads, lambda: None)
            halves.append(timed)
            progress.advance(0.2)
            if half == 0:
                result["ours"] = train(folder / "run")
                progress.advance(0.6)
        return result | {"other": halves[0] | {"seconds": halves[0]["seconds"] + halves[1]["seconds"]}}

    generates = workload.kind == "generate"
    sides = ("our generator", "plain generator") if generates else ("ours", "pytorch")
    result["difference"], best = agree(workload, sides, problem, row.tolerance, threads)
    result["options"] = best
    progress.advance(0.25)
    contestants: list[tuple[str, Any, dict]] = [(sides[0], workload, {}), (sides[1], workload, best)]
    if options.compile and not generates:
        contestants.append((sides[1], workload, {**best, "compile": True}))
    share = 0.7 / (WARM_UP + options.runs)
    results = alternate(
        contestants, [problem] * 3, options.runs, threads, lambda: progress.advance(share), optional=(2,)
    )
    result |= dict(zip(("ours", "other", "compiled"), results, strict=False))
    if row.recompute:
        result["recomputing"] = peak_memory("ours", recomputing(workload), problem, {}, threads)
    return result


def arguments() -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", metavar="NAME,NAME", help=f"some of {', '.join(row.name for row in rows())}")
    parser.add_argument("--runs", type=int, default=7, help="timed runs of each side (default: 7)")
    parser.add_argument("--out", type=Path, default=Path("runs/bench.json"), help="(default: runs/bench.json)")
    parser.add_argument("--threads", type=int, help="threads of each side (default: its own choice)")
    parser.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, default=True, help="also time torch.compile"
    )
    options = parser.parse_args()
    if options.runs < 1 or (options.threads is not None and options.threads < 1):
        parser.error(f"--runs and --threads must be at least 1 but got {options.runs} and {options.threads}.")
    return options


def main() -> None:
    options = arguments()
    try:
        todo = select(options.rows)
    except ValueError as error:
        sys.exit(f"benchmarks: {error}")
    warn_without_torch()
    record: dict[str, Any] = {
        "machine": describe(),
        "profile": profile(options.threads),
        "options": vars(options) | {"out": str(options.out)},
        "rows": [],
    }
    print(heading(record), flush=True)
    progress = Progress(todo)
    for row in todo:
        progress.start(row)
        with tempfile.TemporaryDirectory() as folder:
            try:
                result = measure(row, options, Path(folder), progress)
            except WorkerError as error:
                result = {"name": row.name, "failed": str(error)}
        record["rows"].append(result)
        write(record, options.out)
        progress.finish()
    progress.close()
    print(f"\n{table(record['rows'])}\n\nWritten: {options.out}")
    if any("failed" in result for result in record["rows"]):
        sys.exit(1)


if __name__ == "__main__":
    main()
