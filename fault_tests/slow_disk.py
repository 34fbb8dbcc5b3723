"""A slow disk, on which a kill meets half-written files."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

from fault_tests.bench import Bench, finish, wait_until_it_trains
from fault_tests.campaign import Strike, campaign
from fault_tests.child import Plan
from fault_tests.faults import Try
from fault_tests.kills import STATUSES, send

import numpy as np

DELAY = 0.05  # longest delay of an access, in seconds
WAIT = 6.0  # seconds of training within which a run is killed


def slow_disk(bench: Bench, rng: np.random.Generator, count: int) -> Iterator[Try]:
    """Yields the results of killing runs on a slow disk while they train."""
    yield from campaign(bench, rng, count, _strike)


def _strike(bench: Bench, rng: np.random.Generator, variant: str, run: Path, step: int) -> Strike:
    number = signal.Signals(int(rng.choice([signal.SIGKILL, signal.SIGTERM])))
    plan = Plan(str(run), delay=DELAY * float(rng.random()), seed=int(rng.integers(1 << 30)))
    process = bench.start(variant, run, plan=plan)
    wait_until_it_trains(process)
    time.sleep(rng.uniform(0, WAIT))
    send(process, number)
    return Strike(f"{number.name} on a slow disk", finish(process), STATUSES)
