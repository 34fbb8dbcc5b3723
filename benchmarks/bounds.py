"""Our rows beside their bound: `python -m benchmarks.bounds [--rows NAME,NAME] [--runs N] [--threads N]`.

The bound of a row is the time of its multiplications alone, after Winograd's transforms, at the machine's own rate of
products of large matrices: the larger one of MLX's and PyTorch's, as `python -m benchmarks.profile` measures them. The
kernels count their multiplications. Transforms, gates, the optimizer and everything else come on top.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.contest import WARM_UP, WorkerError, working
from benchmarks.machine import describe
from benchmarks.profile import profile
from benchmarks.rows import Row, select


def measure(row: Row, runs: int, threads: int | None, gflops: float) -> tuple[float, float, float]:
    """Returns a row's seconds, the 1e9 multiplications of a run, and its bound in seconds.

    Args:
        row: The row.
        runs: Number of timed runs, of which the median counts.
        threads: Threads, or None for our own choice.
        gflops: Rate of products in 1e9 operations per second, two for each multiplication.
    """
    with tempfile.TemporaryDirectory() as folder, working("ours", threads) as worker:
        worker.ask("build", workload=row.workload.as_json(), problem=str(Path(folder, "problem.npz")), options={})
        seconds, counts = [], []
        for n in range(WARM_UP + runs):
            before = worker.ask("multiplications")["value"]
            taken = worker.ask("run")["seconds"]
            if n >= WARM_UP:
                seconds.append(taken)
                counts.append(worker.ask("multiplications")["value"] - before)
    count = statistics.median(counts) / 1e9
    return statistics.median(seconds), count, 2 * count / gflops


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", metavar="NAME,NAME", help="rows of `python -m benchmarks`; default: all")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    try:
        rows = [row for row in select(options.rows) if row.workload.kind != "generate" and not row.end_to_end]
    except ValueError as error:
        sys.exit(f"benchmarks.bounds: {error}")
    machine = profile(options.threads)
    gflops = max(machine["mlx_gemm_gflops"], machine.get("pytorch_gemm_gflops", 0))
    facts = describe()
    print(f"{facts['cpu']}, {facts['instructions']}, {facts['cores']} cores; commit {facts['commit']}")
    print(f"Products of matrices: {gflops:.0f} GFLOP/s\n")
    print("| row | seconds | 10^9 multiplications | bound, s | bound / seconds |\n|---|---|---|---|---|")
    for row in rows:
        try:
            seconds, count, bound = measure(row, options.runs, options.threads, gflops)
        except WorkerError as error:
            sys.exit(f"benchmarks.bounds: {row.name}: {error}")
        print(f"| {row.name} | {seconds:.3g} | {count:.3g} | {bound:.3g} | {bound / seconds:.2f} |", flush=True)


if __name__ == "__main__":
    main()
