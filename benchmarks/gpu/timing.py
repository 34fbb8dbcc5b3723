"""The second part: steps and forecasts beside PyTorch on the same device, in float32 and bfloat16."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import benchmarks.rows
from benchmarks.contest import PAUSE, WARM_UP, Worker, WorkerError
from benchmarks.gpu.budget import Budget
from benchmarks.gpu.devices import torch_device
from benchmarks.rows import Row
from benchmarks.workload import Workload

import numpy as np

PRECISIONS = ("float32", "bfloat16")
# Rows that are timed with torch.compile first: it takes minutes for some.
COMPILED_FIRST = ("convlstm-128-5x5", "default", "convlstm-s forecast", "layer forward")
JOB_SECONDS, COMPILE_SECONDS = 150.0, 300.0
# A job is not begun with less time than this.
LEAST_SECONDS = 40.0
# Rounds go on beyond those asked for until both sides together have run this long, which short runs need.
LEAST_TIMED, MOST_ROUNDS = 2.0, 30
# Largest difference of outputs and losses, relative to the largest value. Both libraries round factors of products on
# some GPUs (TF32), and bfloat16 has three digits.
TOLERANCES = {"float32": 2e-2, "bfloat16": 2e-1}
TINY: dict[str, Any] = {"hidden_channels": [4, 4], "kernel_size": 3, "links": 3}
TINY_SIMVP: dict[str, Any] = {"frames": 2, "hidden_channels": 8, "translator_channels": 32, "blocks": 3}


@dataclass(frozen=True)
class Job:
    """A row with a size and a precision.

    Attributes:
        row: The row.
        factor: Number by which its batch is larger.
        precision: 'float32' or 'bfloat16'.
        compiled: True beside torch.compile, False beside PyTorch as it is.
    """

    row: Row
    factor: int
    precision: str
    compiled: bool = False

    @property
    def key(self) -> str:
        """Name of the job in the record."""
        return f"{self.eager}{', torch.compile' if self.compiled else ''}"

    @property
    def eager(self) -> str:
        """Name of the same job beside PyTorch as it is."""
        return f"{self.row.name}, N={self.workload.sequences}, {self.precision}"

    @property
    def workload(self) -> Workload:
        """The work, with the larger batch."""
        N, *rest = self.row.workload.inputs
        return replace(self.row.workload, inputs=(N * self.factor, *rest), one_thread=False)


def rows(wanted: str | None, tiny: bool) -> list[Row]:
    """Returns the rows of `python -m benchmarks` that a GPU computes: all of those, or some by name.

    Raises:
        ValueError: There is no such row.
    """
    fit = [row for row in benchmarks.rows.select(wanted) if not row.end_to_end and row.workload.kind != "generate"]
    if not fit:
        raise ValueError(f"--rows must name a row that a GPU computes but got {wanted!r}.")
    return [replace(row, workload=shrunk(row.workload)) for row in fit] if tiny else fit


def shrunk(workload: Workload) -> Workload:
    """Returns the same work in a size for tests."""
    wanted = TINY_SIMVP if workload.model == "SimVP" else TINY
    given = {name for name, value in workload.arguments.items() if value is not None}
    arguments = workload.arguments | {name: value for name, value in wanted.items() if name in given}
    channels = workload.inputs[-1]
    if workload.model == "ConvLSTM":
        channels, arguments = 4, arguments | {"in_channels": 4, "out_channels": 4}
    horizon = min(workload.horizon, 2)
    return replace(workload, arguments=arguments, inputs=(2, 2, 8, 8, channels), horizon=horizon)


def jobs(rows: list[Row], factor: int, precisions: list[str], compiles: bool) -> list[Job]:
    """Returns the jobs, the more important ones first, since the time may be over before the last one."""
    sizes = dict.fromkeys((1, factor))
    pairs = [(N, p) for N, p in ((1, "float32"), (factor, "bfloat16"), (factor, "float32"), (1, "bfloat16"))]
    wanted = [(N, p) for N, p in dict.fromkeys(pairs) if N in sizes and p in precisions]
    eager = [[Job(row, N, p) for row in rows] for N, p in wanted]
    if not compiles:
        return [*chain(*eager)]
    compiled = [[replace(job, compiled=True) for job in group] for group in eager]
    # Of the first size and precision some, then the rest.
    first = [job for group in compiled[:1] for job in group if job.row.name in COMPILED_FIRST]
    later = [job for group in compiled for job in group if job not in first]
    return [*chain(*eager[:2]), *first, *chain(*eager[2:]), *later]


class Sides:
    """The two workers. They serve job after job, unless the memory is that of the process, and are renewed if one ends.

    Args:
        device: 'gpu' or 'cpu'.
        torch: PyTorch's name of the device; None without PyTorch.
    """

    def __init__(self, device: str, torch: str | None):
        self.options = {"ours": {"device": device}} | ({"pytorch": {"device": torch}} if torch else {})
        self._stays = device == "gpu"
        self._stack = ExitStack()
        self._workers: dict[str, Worker] = {}

    def duel(
        self, job: Job, runs: int, folder: Path, best: dict[str, Any], seconds: Callable[[], float]
    ) -> dict[str, Any]:
        """Returns the figures of a job.

        Args:
            job: The job.
            runs: Least number of timed runs of each side.
            folder: Folder for files.
            best: PyTorch's best options, if they are known from another job.
            seconds: Function that returns the seconds that are left for it.

        Raises:
            WorkerError: A side failed, or took too long.
        """
        problem = folder / "problem.npz"
        problem.unlink(missing_ok=True)
        build = {"workload": job.workload.as_json(), "problem": str(problem)}
        result: dict[str, Any] = {
            "row": job.row.name,
            "sequences": job.workload.sequences,
            "precision": job.precision,
            "compiled": job.compiled,
        }
        options = {side: given | {"precision": job.precision} for side, given in self.options.items()}
        for side in options:
            if side not in self._workers:
                self._workers[side] = Worker(side)
                self._stack.callback(self._workers[side].close)
        for side, worker in self._workers.items():
            worker.ask("build", seconds(), **build, options=options[side])
            if not job.compiled:
                worker.ask("check", seconds(), out=str(folder / f"{side}.npz"))
        if "pytorch" in options:
            worker = self._workers["pytorch"]
            if not job.compiled:
                best = {k: v for k, v in worker.ask("probe", seconds())["value"].items() if k != "probed_seconds"}
            result["options"] = best
            worker.ask("build", seconds(), **build, options=options["pytorch"] | best | {"compile": job.compiled})
            if not job.compiled:
                result["difference"] = outputs_differ(folder / "ours.npz", folder / "pytorch.npz")
                result["agrees"] = result["difference"] <= TOLERANCES[job.precision]
        times: dict[str, list[float]] = {side: [] for side in self._workers}
        for n in range(-WARM_UP, MOST_ROUNDS):
            if n >= runs and sum(map(sum, times.values())) >= LEAST_TIMED:
                break
            for side, worker in self._workers.items():
                if n == 0:
                    worker.ask("reset_peak")
                run = worker.ask("run", seconds())
                if n >= 0:
                    times[side].append(run["seconds"])
                if not self._stays:
                    time.sleep(PAUSE)
        for side, name in (("ours", "ours"), ("pytorch", "other")):
            if side in self._workers:
                worker = self._workers[side]
                result[name] = {"seconds": times[side], "device_bytes": worker.ask("device_bytes")["value"]}
                result[name] |= worker.ask("memory")
        if not self._stays:
            self.close()
        return result

    def close(self) -> None:
        """Ends the workers."""
        self._workers.clear()
        self._stack.close()


def outputs_differ(ours: Path, other: Path) -> float:
    """Returns the largest difference of forecasts, outputs and losses, relative to their largest value.

    Gradients are compared with the CPU's, by `benchmarks.gpu.correctness`.
    """
    worst = 0.0
    with np.load(ours) as a, np.load(other) as b:
        for name in b.files:
            if not name.startswith("gradient"):
                gap = float(np.max(np.abs(a[name] - b[name])) / max(float(np.max(np.abs(b[name]))), 1e-30))
                worst = gap if not gap <= worst else worst  # also for NaN
    return worst


def run(
    results: dict[str, Any], device: str, todo: list[Job], runs: int, folder: Path, budget: Budget, say: Callable
) -> None:
    """Adds the jobs that the results lack, until the time is over."""
    torch = torch_device(device)
    if torch is None:
        say("PyTorch is not installed, or has not this device: the own side is timed alone.")
        todo = [job for job in todo if not job.compiled]
    sides = Sides(device, torch)
    try:
        for job in todo:
            if job.key in results:
                continue
            most = COMPILE_SECONDS if job.compiled else JOB_SECONDS
            end = time.monotonic() + most
            if budget.over() or budget.command_left() < min(most, LEAST_SECONDS):
                return
            try:
                if job.compiled and "options" not in results.get(job.eager, {}):
                    raise WorkerError("not timed, since PyTorch failed without torch.compile.")
                best = results.get(job.eager, {}).get("options", {})
                results[job.key] = sides.duel(job, runs, folder, best, partial(_left, end, budget))
            except WorkerError as error:
                sides.close()
                if budget.command_left() <= 1.0:
                    return  # it may need just a little more than this command had left
                failed = {"row": job.row.name, "sequences": job.workload.sequences, "precision": job.precision}
                results[job.key] = failed | {"compiled": job.compiled, "failed": str(error)}
            budget.save()
    finally:
        sides.close()


def _left(end: float, budget: Budget) -> float:
    """Returns the seconds until `end`, or to the end of this command if that is sooner."""
    return max(1.0, min(end - time.monotonic(), budget.command_left()))
