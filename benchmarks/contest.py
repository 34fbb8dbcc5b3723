"""A contest of workers: they must agree, are warmed up, and are timed in turn, one run at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.workload import Workload

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
WARM_UP = 2
# OpenMP's threads keep spinning for up to 0.2 s after their work and would slow the other side's next run.
PAUSE = 0.25


class WorkerError(RuntimeError):
    """A worker could not fulfil a request."""


class Worker:
    """A worker process.

    Args:
        side: A key of `benchmarks.worker.SIDES`.
        threads: Threads of its BLAS and OpenMP. Default: None, those of the environment.
        environment: Further variables of its environment. Default: none.
    """

    def __init__(self, side: str, threads: int | None = None, environment: Mapping[str, str] | None = None):
        self.side = side
        environment = dict(os.environ) | dict(environment or {})
        if threads is not None:
            names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
            environment |= dict.fromkeys(names, str(threads))
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed in close)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", side],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=ROOT,
            env=environment,
        )

    def ask(self, do: str, limit: float = 1800.0, **values: Any) -> dict[str, Any]:
        """Returns the answer to a request.

        Raises:
            WorkerError: The request failed, or took longer than `limit` seconds.
        """
        timer = threading.Timer(limit, self._process.kill)
        timer.start()
        try:
            print(json.dumps({"do": do, **values}), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()  # type: ignore[union-attr]
        except BrokenPipeError:
            line = ""
        late = not timer.is_alive()
        timer.cancel()
        if not line:
            reason = f"took longer than {limit:.0f} s" if late else f"ended with status {self._process.wait()}"
            raise WorkerError(f"the worker '{self.side}' {reason} at '{do}'. Last output: {self._last_output()}")
        reply = json.loads(line)
        if "error" in reply:
            raise WorkerError(reply["error"])
        return reply

    def close(self) -> None:
        """Ends the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()

    def _last_output(self) -> str:
        self._log.seek(0)
        return self._log.read()[-400:].strip() or "none"


@contextmanager
def working(side: str, threads: int | None = None) -> Iterator[Worker]:
    """Starts a worker that ends with the `with` block."""
    worker = Worker(side, threads)
    try:
        yield worker
    finally:
        worker.close()


def difference(ours: Path, other: Path) -> float:
    """Returns the largest difference between the arrays of two .npz files, relative to each array's largest value.

    Raises:
        WorkerError: The names or shapes of the arrays differ.
    """
    worst = 0.0
    with np.load(ours) as a, np.load(other) as b:
        if set(a.files) != set(b.files):
            raise WorkerError(f"the two sides computed different things: {sorted(set(a.files) ^ set(b.files))}.")
        for name in a.files:
            if a[name].shape != b[name].shape:
                raise WorkerError(f"the shapes of '{name}' differ: {a[name].shape} and {b[name].shape}.")
            gap = float(np.max(np.abs(a[name] - b[name])) / max(float(np.max(np.abs(b[name]))), 1e-30))
            if not gap <= worst:  # also true for NaN
                worst = gap
    return worst


def agree(
    workload: Workload, sides: tuple[str, str], problem: Path, tolerance: float, threads: int | None
) -> tuple[float, dict[str, Any]]:
    """Lets the first side create the problem, both sides compute it once, and the second one find its best options.

    They run in separate processes, whose memory does not count.

    Returns:
        The largest relative difference, and the second side's options.

    Raises:
        WorkerError: The difference is larger than `tolerance`.
    """
    files = [problem.with_name(f"{side}.npz".replace(" ", "_")) for side in sides]
    options: dict[str, Any] = {}
    for side, file in zip(sides, files, strict=True):
        with working(side, threads) as worker:
            worker.ask("build", workload=workload.as_json(), problem=str(problem), options={"threads": threads})
            worker.ask("check", out=str(file))
            if side == "pytorch":
                options = worker.ask("probe")["value"]
    gap = difference(files[0], files[1])
    for file in files:
        file.unlink()
    if not gap <= tolerance:
        raise WorkerError(
            f"the two sides differ by {gap:.2g} of the largest value, more than {tolerance:.0e}: they do not compute "
            "the same, so they were not timed."
        )
    return gap, options


def alternate(
    workloads: list[tuple[str, Workload, dict[str, Any]]],
    problems: list[Path],
    runs: int,
    threads: int | None,
    progress: Callable[[], object],
    optional: tuple[int, ...] = (),
) -> list[dict[str, Any]]:
    """Times workers in turn, one run each, `runs` times, after a warm-up.

    Args:
        workloads: (side, workload, options) of each worker.
        problems: Each worker's file of weights and data.
        runs: Number of timed runs of each worker.
        threads: Threads of each worker, as in `Worker`.
        progress: Function to call after each round, including those of the warm-up.
        optional: Indices of workers that may fail. Default: none.

    Returns:
        For each worker `seconds`, `first_loss`, `peak_bytes` and `own_bytes`, or the error as `failed`.
    """
    results: list[dict[str, Any]] = [{"seconds": []} for _ in workloads]
    with ExitStack() as stack:
        workers = [stack.enter_context(working(side, threads)) for side, _, _ in workloads]
        for round_number in range(-WARM_UP, runs):
            for n, worker in enumerate(workers):
                result = results[n]
                if "failed" in result:
                    continue
                try:
                    if round_number == -WARM_UP:
                        _, workload, options = workloads[n]
                        options = {**options, "threads": threads}
                        worker.ask("build", workload=workload.as_json(), problem=str(problems[n]), options=options)
                    run = worker.ask("run")
                except WorkerError as error:
                    if n not in optional:
                        raise
                    results[n] = {"failed": str(error)}
                    continue
                result.setdefault("first_loss", run["loss"])
                if round_number >= 0:
                    result["seconds"].append(run["seconds"])
                time.sleep(PAUSE)
            progress()
        for worker, result in zip(workers, results, strict=True):
            if "failed" not in result:
                result |= worker.ask("memory")
    return results


def peak_memory(
    side: str, workload: Workload, problem: Path, options: dict[str, Any], threads: int | None, runs: int = 2
) -> dict[str, Any]:
    """Returns `peak_bytes` and `own_bytes` of a new process after a few runs, or the error as `failed`."""
    try:
        with working(side, threads) as worker:
            options = {**options, "threads": threads}
            worker.ask("build", workload=workload.as_json(), problem=str(problem), options=options)
            for _ in range(runs):
                worker.ask("run")
            return worker.ask("memory")
    except WorkerError as error:
        return {"failed": str(error)}


def recomputing(workload: Workload) -> Workload:
    """Returns the same workload with activations that the backward pass computes anew."""
    return Workload.from_json(workload.as_json() | {"arguments": workload.arguments | {"recompute": True}})
