"""A long training, whose memory and open descriptors must not grow."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from convlstm.runs.metrics_log import MetricsLog
from fault_tests.bench import Bench, finish
from fault_tests.faults import Try

import numpy as np

EVERY = 50
"""Steps between two measurements."""

VARIANT, MOST_MIB, MOST_DESCRIPTORS = "averaged", 24.0, 4.0
"""Growth from the second fifth of the training to its last one that counts as flat: caches fill, allocators round."""


def growth(bench: Bench, rng: np.random.Generator, count: int) -> Iterator[Try]:
    """Yields the result of a training of `count` steps, measured every `EVERY` steps on Linux.

    The figures are written to `growth.csv` and `growth.png` in the folder of the bench.
    """
    run = bench.new()
    settings = [f"trainer.max_steps={count}", f"trainer.log_every={EVERY}"]
    points = list[tuple[float, ...]]()
    process = bench.start(VARIANT, run, *settings)
    while process.poll() is None:
        time.sleep(0.02)
        step = _step(run)
        if step and (not points or step > points[-1][0]):
            with suppress(OSError, ValueError):
                points.append((step, *_measured(process.pid)))
    ended = finish(process)
    lost, note = f"it ended with status {ended.status}: {ended.tail()}" if ended.status else "", ""
    if len(points) >= 10:
        note, grown = _grown(np.array(points, float))
        lost = lost or grown
        _draw(bench.folder / "growth", np.array(points, float))
    if not lost:
        bench.drop(run)
    yield Try(f"{count:,} steps", lost, note)


def _step(run: Path) -> int:
    """Returns the last step of a multiple of `EVERY` with a row in the metrics, 0 if there is none."""
    with suppress(OSError, ValueError, KeyError):
        steps = [int(row["step"]) for row in MetricsLog.read(run / "metrics.csv")[-3:]]
        return max((step for step in steps if step % EVERY == 0), default=0)
    return 0


def _measured(pid: int) -> tuple[float, int]:
    """Returns the MiB of a process that are in memory, and its open descriptors."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    memory = next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))
    return memory, len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _grown(points: np.ndarray) -> tuple[str, str]:
    """Returns the means of the second and of the last fifth of the training, and the growth that is too large."""
    size = len(points) // 5
    former, last = points[size : 2 * size].mean(0), points[-size:].mean(0)
    text = f"{former[1]:.1f} to {last[1]:.1f} MiB, {former[2]:.1f} to {last[2]:.1f} descriptors"
    flat = last[1] - former[1] <= MOST_MIB and last[2] - former[2] <= MOST_DESCRIPTORS
    return text, "" if flat else f"it grew: {text}"


def _draw(path: Path, points: np.ndarray) -> None:
    """Draws the curves, and writes the numbers beside them."""
    from matplotlib.figure import Figure

    rows = ["step,memory_mib,descriptors", *(",".join(f"{value:g}" for value in point) for point in points)]
    path.with_suffix(".csv").write_text("\n".join(rows) + "\n")
    figure = Figure(figsize=(7, 4), layout="constrained")
    upper, lower = figure.subplots(2, sharex=True)
    upper.plot(points[:, 0], points[:, 1])
    upper.set(ylabel="memory (MiB)", ylim=(0, None))
    lower.plot(points[:, 0], points[:, 2])
    lower.set(ylabel="descriptors", xlabel="step", ylim=(0, None))
    figure.savefig(path.with_suffix(".png"), dpi=100)
