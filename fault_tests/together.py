"""Programs that use one run at once: loads of a run that saves at every step, and pairs of evaluations."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import convlstm
from convlstm import checkpoints
from fault_tests.bench import LIMIT, ONE_THREAD, Bench, finish
from fault_tests.child import ROOT
from fault_tests.faults import Try

import numpy as np

VARIANT = "averaged"
TRAINING = ("trainer.checkpoint_every=1", "trainer.max_steps=1000000", "trainer.validate_every=7")


def load(bench: Bench, rng: np.random.Generator, count: int) -> Iterator[Try]:
    """Yields the results of loading a run that saves at every step."""
    run = bench.new()
    process = bench.start(VARIANT, run, *TRAINING)
    try:
        while not (run / checkpoints.FOLDER / "best").exists() and process.poll() is None:
            time.sleep(0.1)
        lost = False
        for _ in range(count):
            name, action = list(ACTIONS.items())[int(rng.integers(len(ACTIONS)))]
            kind, problem = f"{name} while it is saved", "" if process.poll() is None else "the training has ended"
            try:
                action(run)
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
            lost |= bool(problem)
            yield Try(kind, problem)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        ended = finish(process)
    leftovers = [path.name for path in run.rglob("*") if path.suffix in (".tmp", ".part") or ".old" in path.name]
    yield Try("end of that training", f"status {ended.status}, left behind: {leftovers}" if leftovers else "")
    if not lost and not leftovers:
        bench.drop(run)


ACTIONS: dict[str, Callable[[Path], object]] = {
    "load best": convlstm.load,
    "load last": lambda run: checkpoints.load(run / checkpoints.FOLDER / "last"),
    "read state": lambda run: checkpoints.read_state(checkpoints.find(run, prefer=("last", "best"))),
    "verify last": lambda run: checkpoints.verify(run / checkpoints.FOLDER / "last"),
    "Forecaster.load": lambda run: convlstm.Forecaster.load(run, scale=_Unit()),
}
"""Reads of a run, by their name in the table."""


class _Unit:
    """The scale of data in [0, 1]."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        return x

    def inverse(self, y: np.ndarray) -> np.ndarray:
        return y


def evaluate(bench: Bench, rng: np.random.Generator, count: int) -> Iterator[Try]:
    """Yields the results of pairs of evaluations of one run, started at once or shortly one after the other."""
    run = bench.reference("plain").folder
    before = {path for path in run.iterdir() if path.name != "evaluation"}
    line = [sys.executable, "evaluate.py", f"ckpt={run}", "trusted=[fault_tests]"]
    for _ in range(count):
        pair = []
        for _ in range(2):
            pair.append(
                subprocess.Popen(
                    line,
                    cwd=ROOT,
                    env={**os.environ, **ONE_THREAD},
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            time.sleep(float(rng.uniform(0, 0.2)))
        errors = [process.communicate(timeout=LIMIT)[1] for process in pair]
        lost = " | ".join(error for process, error in zip(pair, errors, strict=True) if process.returncode)
        hidden = [path.name for path in (run / "evaluation").rglob(".*")]
        new = {path for path in run.iterdir() if path.name != "evaluation"} - before
        if not lost and (hidden or new):
            lost = f"left behind: {hidden} {new}"
        yield Try("two evaluations of a run at once", lost)
