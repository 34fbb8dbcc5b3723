"""Measures the peak memory of a training step for several lengths of the sequences: `python -m benchmarks.memory`."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.contest import peak_memory, recomputing
from benchmarks.machine import describe, warn_without_torch
from benchmarks.report import write
from benchmarks.rows import first

from tqdm import tqdm

LENGTHS = (5, 10, 20, 40)
SIDES = ("ours", "ours, recomputing", "PyTorch")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--threads", type=int, help="threads of each side (default: its own choice)")
    parser.add_argument("--out", type=Path, default=Path("runs/memory.json"), help="(default: runs/memory.json)")
    options = parser.parse_args()
    warn_without_torch()
    record: dict[str, Any] = {"machine": describe(), "lengths": {}}
    lines = ["| frames in + out | " + " | ".join(SIDES) + " |", "|" + "---|" * (len(SIDES) + 1)]
    notes: dict[str, str] = {}
    with tqdm(total=sum(LENGTHS) * len(SIDES), disable=None, bar_format="{l_bar}{bar}| {remaining} left") as bar:
        for length in LENGTHS:
            results: dict[str, dict[str, Any]] = {}
            workload = first(length=length)
            with tempfile.TemporaryDirectory() as folder:
                problem = Path(folder) / "problem.npz"
                for side in SIDES:
                    name = "pytorch" if side == "PyTorch" else "ours"
                    work = recomputing(workload) if side == "ours, recomputing" else workload
                    results[side] = peak_memory(name, work, problem, {}, options.threads)
                    notes |= {side: results[side]["failed"]} if "failed" in results[side] else {}
                    bar.update(length)
            record["lengths"][length] = results
            cells = [f"{r['peak_bytes'] / 1e6:.0f} MB" if "peak_bytes" in r else "-" for r in results.values()]
            lines.append(f"| {length} + {length} | " + " | ".join(cells) + " |")
    write(record, options.out)
    N, _, H, W, C = workload.inputs
    print("\n".join([*lines, "", f"The first row's model, N={N}, {H}x{W}x{C}; peak of the whole process."]))
    print("\n".join([*(f"{side}: {note[:300]}" for side, note in notes.items()), f"Written: {options.out}"]))


if __name__ == "__main__":
    main()
