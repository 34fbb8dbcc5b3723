"""Signals: at any moment, at and inside writes, early and late in an epoch, in a validation; several in a run."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from convlstm.training.checkpoint import CheckpointError
from soak.bench import BATCH, BATCHES, STEPS, VALIDATION, VARIANTS, Bench, Ended, finish, step_of, wait_until_it_trains
from soak.child import Plan
from soak.data import SIGNAL
from soak.faults import Try

import numpy as np

KILL, TERM, INT = signal.SIGKILL, signal.SIGTERM, signal.SIGINT
# A second Ctrl-C of the impatient; a cluster's SIGTERM whose grace is short.
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
MOST = 7
"""Kills in a run, at most."""


def kill(bench: Bench, rng: np.random.Generator, count: int) -> Iterator[Try]:
    """Short runs, killed again and again, then taken to their end: it must be that of the run that nothing killed."""
    while count > 0:
        variant, run = str(rng.choice(list(VARIANTS))), bench.new()
        bench.reference(variant)
        tries, lost = [], ""
        for _ in range(min(count, int(rng.integers(1, MOST + 1)))):
            before = step_of(run)
            ended, kind = _killed(bench, rng, variant, run, before or 0)
            if ended.status == 0:
                break  # it was at its end before the signal came
            lost = _lost_at_once(run, before, ended)
            tries.append((kind, _untidy(ended)))
            if lost:
                break
        lost = lost or bench.lost(variant, run)
        count -= len(tries)
        if lost:
            lost = f"{variant}, {' then '.join(kind for kind, _ in tries)}: {lost} (see '{run}')"
        else:
            bench.drop(run)
        yield from (Try(kind, lost, note) for kind, note in tries)


def _killed(bench: Bench, rng: np.random.Generator, variant: str, run: Path, step: int) -> tuple[Ended, str]:
    """Starts a run, or goes on with it, and kills it once."""
    moments, signals = list(MOMENTS), list(SIGNALS)
    moment = moments[rng.choice(len(moments), p=list(MOMENTS.values()))]
    numbers = signals[rng.choice(len(signals), p=list(SIGNALS.values()))]
    kind = f"{' + '.join(number.name for number in numbers)} {moment}"
    reference = bench.reference(variant)
    accesses = int(rng.integers(1, 1 + reference.accesses // 3))
    pauses = [int(n) for n in np.cumsum(rng.integers(1, 12, len(numbers)))]
    resume = "auto" if step == 0 or rng.random() < 0.5 else str(run)
    if moment == "inside a write":
        plan = Plan(str(run), torn=(accesses, int(rng.integers(0, 4000))))
        return bench.train(variant, run, plan=plan, resume=resume), f"SIGXFSZ {moment}"
    if moment == "at a write":
        plan = Plan(str(run), {accesses + n - pauses[0]: int(s) for n, s in zip(pauses, numbers, strict=True)})
        return bench.train(variant, run, plan=plan, resume=resume), kind
    if moment in ("at any moment", "while it trains"):
        process = bench.start(variant, run, resume=resume)
        if moment == "while it trains":
            wait_until_it_trains(process)
            time.sleep(rng.uniform(0, reference.training / 2))
        else:
            time.sleep(rng.uniform(0, reference.starting + reference.training / 2))
        for number in numbers:
            # As a terminal does it: to what the program has started as well.
            send(process, number)
            time.sleep(rng.uniform(0, 0.03))
        return finish(process), kind
    split, epoch, index = "validation", 0, int(rng.integers(VALIDATION))
    if moment != "in a validation":
        split, early = "train", moment == "early in an epoch"
        epoch = step // BATCHES + int(rng.integers(1, 3) if early else rng.integers(0, 2))
        epoch = min(epoch, (STEPS - 3) // BATCHES)
        index = int(rng.integers(0, 2 * BATCH) if early else rng.integers((BATCHES - 2) * BATCH, BATCHES * BATCH))
    place = f"{split}:{epoch}:{index}:{','.join(str(int(number)) for number in numbers)}"
    return bench.train(variant, run, resume=resume, variables={SIGNAL: place}), kind


def send(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """A signal to a process and what it has started, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _lost_at_once(run: Path, before: int | None, ended: Ended) -> str:
    """What a kill took that was there before it."""
    try:
        step = step_of(run)
    except CheckpointError as error:
        return f"no checkpoint is left: {error}"
    if before is not None and (step is None or step < before):
        return f"step {before} was saved, and step {step} is left"
    allowed = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGXFSZ, 130, 143}
    return "" if ended.status in allowed else f"it ended with status {ended.status}: {ended.tail()}"


def _untidy(ended: Ended) -> str:
    return f"a traceback at a signal: {ended.tail()}" if "Traceback" in ended.err else ""
