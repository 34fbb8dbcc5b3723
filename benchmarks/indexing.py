"""Times what training does up to its first batch, beside an earlier checkout: `python -m benchmarks.indexing`.

For each event, a new process imports `train.py`'s modules, builds the data set of `data=radar_echo` (all of it for
training, without a stored index), and waits for the first batch. The two checkouts take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.machine import ROOT, describe
from benchmarks.report import write

# What both sides run: the command `convlstm train` up to its first batch, without the model. CPU seconds are those of
# the process alone, without its children.
CODE = """
import json, sys, time, types
import convlstm.cli.__main__ as command

def main():
    import convlstm.cli.train
    now = time.clock_gettime(time.CLOCK_MONOTONIC), time.process_time()
    import hydra
    from convlstm.cli.configuration import CONFIGS
    overrides = ["data=radar_echo", "data.split=[1,0,0]", "data.progress=false", sys.argv[1]]
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = hydra.compose("train", overrides)
    data = hydra.utils.instantiate(config.data, _convert_="all")
    batch = next(data.stream("train", config.trainer.batch_size))
    total = float(batch["inputs"].astype("float64").sum() + batch["targets"].astype("float64").sum())
    print(json.dumps([*now, time.clock_gettime(time.CLOCK_MONOTONIC), data.size("train"), total]))

sys.modules["first_batch"] = types.ModuleType("first_batch")
sys.modules["first_batch"].main = main
command.COMMANDS["train"] = ("first_batch", "")
sys.argv = ["convlstm", "train", f"data.archive={sys.argv[1]}"]
command.main()
"""
# Name and unit of each figure of a run.
FIGURES = ("wall", "wall after imports", "cpu", "cpu after imports")


def run(folder: Path, event: Path) -> dict[str, float]:
    """Returns the figures of one run in a new process, in seconds, and the size of the data and the sum of the batch.

    `wall` ends with the first batch. `cpu` is that of the process and its children up to their end.
    """
    with tempfile.TemporaryDirectory() as data:
        settings = {"PYTHONPATH": str(folder), "CONVLSTM_DATA": data, "PYTHONWARNINGS": "ignore"}
        before, start = cpu_of_children(), time.clock_gettime(time.CLOCK_MONOTONIC)
        done = subprocess.run(
            [sys.executable, "-c", CODE, str(event)],
            env=os.environ | settings,
            cwd=data,
            capture_output=True,
            text=True,
        )
        cpu = cpu_of_children() - before
    if done.returncode != 0:
        sys.exit(f"benchmarks: {event} with {folder}:\n{done.stderr[-2000:]}")
    imported, cpu_imported, end, size, total = json.loads(done.stdout.splitlines()[-1])
    values = (end - start, end - imported, cpu, cpu - cpu_imported)
    return dict(zip(FIGURES, values, strict=True)) | {"sequences": size, "sum": total}


def cpu_of_children() -> float:
    """Returns the CPU seconds of the child processes that have ended, and of their children."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure(event: Path, before: Path, runs: int) -> dict[str, Any]:
    """Returns the figures of both sides, which take turns after one run each that is not counted."""
    sides: dict[str, list[dict[str, float]]] = {"before": [], "now": []}
    for number in range(runs + 1):
        for side, folder in (("before", before), ("now", ROOT)):
            figures = run(folder, event)
            if number:
                sides[side].append(figures)
    return sides


def table(event: str, sides: dict[str, list[dict[str, float]]]) -> str:
    """Returns the rows of an event: median and range of both sides, and the ratio of the medians."""
    rows = []
    for figure in FIGURES:
        values = {side: [run[figure] for run in of_side] for side, of_side in sides.items()}
        cells = [f"{median(v):.2f} ({min(v):.2f}-{max(v):.2f})" for v in values.values()]
        ratio = median(values["now"]) / median(values["before"])
        rows.append(f"| {event} | {figure} | {' | '.join(cells)} | {ratio:.2f} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.indexing", description=__doc__)
    parser.add_argument("events", nargs="+", type=Path, metavar="EVENT", help="folder or file of radar data")
    parser.add_argument("--before", type=Path, required=True, help="checkout of an earlier commit")
    parser.add_argument("--runs", type=int, default=9, help="timed runs of each side (default: 9)")
    parser.add_argument("--out", type=Path, default=Path("runs/indexing.json"), help="(default: runs/indexing.json)")
    options = parser.parse_args()
    record: dict[str, Any] = {"machine": describe(), "before": str(options.before), "events": {}}
    print("| event | seconds | before (min-max) | now (min-max) | ratio |\n|---|---|---|---|---|")
    for event in options.events:
        sides = measure(event.resolve(), options.before.resolve(), options.runs)
        record["events"][event.name] = sides
        print(table(event.name, sides), flush=True)
        write(record, options.out)
    print(f"Written: {options.out}")


if __name__ == "__main__":
    main()
