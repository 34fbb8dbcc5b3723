"""A laptop that sleeps: the program stops for a while and continues."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

from fault_tests.bench import VARIANTS, Bench, finish, shortened, wait_until_it_trains
from fault_tests.equality import differences
from fault_tests.faults import Try
from fault_tests.kills import send

import numpy as np

NAPS = 3


def sleep(bench: Bench, rng: np.random.Generator, count: int) -> Iterator[Try]:
    """Yields the results of runs that are stopped for a while several times, which must not affect them."""
    for _ in range(count):
        variant, run = str(rng.choice(list(VARIANTS))), bench.new()
        reference = bench.reference(variant)
        process = bench.start(variant, run)
        wait_until_it_trains(process)
        for _ in range(NAPS):
            time.sleep(rng.uniform(0, reference.training / NAPS))
            send(process, signal.SIGSTOP)
            time.sleep(rng.uniform(0, 1))
            send(process, signal.SIGCONT)
        ended = finish(process)
        lost = differences(run, reference.folder) if ended.status == 0 else [f"status {ended.status}: {ended.tail()}"]
        if not lost:
            bench.drop(run)
        yield Try("SIGSTOP, then SIGCONT", shortened(lost))
