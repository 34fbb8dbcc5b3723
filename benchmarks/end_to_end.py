"""Times `train.py`; compared with a bare training step, this shows the cost of data, logging and checkpoints."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.contest import ROOT, WorkerError
from benchmarks.rows import OVERRIDES
from convlstm.runs.metrics_log import MetricsLog

LOGGED = 10


def train(folder: Path, steps: int = 40) -> dict[str, Any]:
    """Trains the default model and returns `seconds` of a step, the mean of every ten steps after the first ten.

    Args:
        folder: Folder of the run.
        steps: Number of steps, a multiple of ten. Default: 40.

    Raises:
        WorkerError: `train.py` failed.
    """
    settings = {
        "output": folder,
        "name": "benchmark",
        "trainer.max_steps": steps,
        "trainer.log_every": LOGGED,
        "trainer.checkpoint_every": 2 * LOGGED,
        "trainer.validate_every": 1000000,
        "trainer.validation_sequences": 16,
    }
    command = [sys.executable, "train.py", *OVERRIDES, *(f"{key}={value}" for key, value in settings.items())]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise WorkerError(f"train.py ended with status {done.returncode}: {done.stderr[-400:].strip()}")
    rows = MetricsLog.read(folder / "benchmark" / "metrics.csv")
    seconds = [float(row["seconds"]) for row in rows]
    return {"seconds": [(b - a) / LOGGED for a, b in itertools.pairwise(seconds)]}
