"""Signals at any moment, at and inside writes, early and late in an epoch, in a validation; several in a run."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from fault_tests.bench import BATCH, BATCHES, STEPS, VALIDATION, Bench, Ended, finish, wait_until_it_trains
from fault_tests.campaign import Strike, campaign
from fault_tests.child import Plan
from fault_tests.data import SIGNAL
from fault_tests.faults import Try

import numpy as np

KILL, TERM, INT = signal.SIGKILL, signal.SIGTERM, signal.SIGINT
# Shares of the tries. Two SIGINT are an impatient user, SIGTERM with SIGKILL a cluster with a short grace period.
SIGNALS = {(KILL,): 0.35, (TERM,): 0.2, (INT,): 0.2, (INT, INT): 0.1, (TERM, KILL): 0.15}
MOMENTS = {
    "at any moment": 0.12,
    "while it trains": 0.2,
    "at a write": 0.28,
    "inside a write": 0.1,
    "early in an epoch": 0.11,
    "late in an epoch": 0.11,
    "in a validation": 0.08,
}
STATUSES = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGXFSZ, 130, 143)


def kill(bench: Bench, rng: np.random.Generator, count: int) -> Iterator[Try]:
    """Yields the results of killing short runs repeatedly; each must end as the undisturbed run did."""
    yield from campaign(bench, rng, count, _strike)


def _strike(bench: Bench, rng: np.random.Generator, variant: str, run: Path, step: int) -> Strike:
    moments, signals = list(MOMENTS), list(SIGNALS)
    moment = moments[rng.choice(len(moments), p=list(MOMENTS.values()))]
    numbers = signals[rng.choice(len(signals), p=list(SIGNALS.values()))]
    resume = "auto" if step == 0 or rng.random() < 0.5 else str(run)
    kind = f"{' + '.join(number.name for number in numbers)} {moment}"
    if moment == "inside a write":
        kind = f"SIGXFSZ {moment}"
        ended = bench.train(variant, run, plan=_torn(bench, rng, variant, run), resume=resume)
    elif moment == "at a write":
        ended = bench.train(variant, run, plan=_planned(bench, rng, variant, run, numbers), resume=resume)
    elif moment in ("at any moment", "while it trains"):
        process = bench.start(variant, run, resume=resume)
        ended = _timed(bench, rng, variant, process, numbers, trains=moment == "while it trains")
    else:
        place = f"{_sequence(rng, step, moment)}:{','.join(str(int(number)) for number in numbers)}"
        ended = bench.train(variant, run, resume=resume, variables={SIGNAL: place})
    # Python itself prints a traceback if the signal comes twice, or before our first line has run.
    return Strike(kind, ended, STATUSES, traceback=len(numbers) == 1 and moment != "at any moment")


def _access(bench: Bench, rng: np.random.Generator, variant: str) -> int:
    return int(rng.integers(1, 1 + bench.reference(variant).accesses // 3))


def _torn(bench: Bench, rng: np.random.Generator, variant: str, run: Path) -> Plan:
    return Plan(str(run), torn=(_access(bench, rng, variant), int(rng.integers(0, 4000))))


def _planned(bench: Bench, rng: np.random.Generator, variant: str, run: Path, numbers: tuple) -> Plan:
    places = _access(bench, rng, variant) + np.cumsum([0, *rng.integers(1, 12, len(numbers) - 1)])
    return Plan(str(run), {int(place): int(number) for place, number in zip(places, numbers, strict=True)})


def _timed(
    bench: Bench,
    rng: np.random.Generator,
    variant: str,
    process: subprocess.Popen[str],
    numbers: tuple[signal.Signals, ...],
    *,
    trains: bool,
) -> Ended:
    reference = bench.reference(variant)
    if trains:
        wait_until_it_trains(process)
    time.sleep(rng.uniform(0, reference.training / 2 + (0 if trains else reference.starting)))
    for number in numbers:
        # Like a terminal, to all processes of the program.
        send(process, number)
        time.sleep(rng.uniform(0, 0.03))
    return finish(process)


def _sequence(rng: np.random.Generator, step: int, moment: str) -> str:
    """Returns a sequence that is loaded at a moment after a step, in the form of `fault_tests.data`."""
    if moment == "in a validation":
        return f"validation:0:{rng.integers(VALIDATION)}"
    early = moment == "early in an epoch"
    epoch = min(step // BATCHES + int(rng.integers(1, 3) if early else rng.integers(0, 2)), (STEPS - 3) // BATCHES)
    index = rng.integers(0, 2 * BATCH) if early else rng.integers((BATCHES - 2) * BATCH, BATCHES * BATCH)
    return f"train:{epoch}:{index}"


def send(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Sends a signal to a process and the processes that it has started, if it still runs."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
