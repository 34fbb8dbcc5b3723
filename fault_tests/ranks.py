"""One of two ranks is killed: the other ends with a message, and the run resumes with two ranks or with one."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

from fault_tests.bench import BATCH, BATCHES, STEPS, Bench, shortened, step_of
from fault_tests.campaign import Strike, lost_at_once
from fault_tests.data import SIGNAL, TIME
from fault_tests.equality import differences, steps
from fault_tests.faults import Try

import numpy as np

RANKS, VARIANT = 2, "plain"
GRACE = 60.0
"""Seconds within which the other rank must end."""

SAYS = "ended without a message"


def rank(bench: Bench, rng: np.random.Generator, count: int) -> Iterator[Try]:
    """Kills the rank whose share of a batch holds a random sequence, and yields the results.

    With two ranks again, the run must end as the undisturbed one with two ranks, to the last bit. With one rank dropout
    draws other numbers; the run must then have all its rows.
    """
    reference = bench.new()
    ended = bench.train(VARIANT, reference, ranks=RANKS)
    if step_of(reference) != STEPS:
        raise RuntimeError(f"[rank] the undisturbed run of {RANKS} ranks failed: {ended.tail()}")
    for number in range(count):
        run, then = bench.new(), RANKS if number % 2 == 0 else 1
        lost = _killed(bench, rng, run) or _resumed(bench, run, reference, then)
        if lost:
            lost += f" (see '{run}')"
        else:
            bench.drop(run)
        yield Try(f"SIGKILL to one of {RANKS}, then {then}", lost)


def _killed(bench: Bench, rng: np.random.Generator, run: Path) -> str:
    place = f"train:{rng.integers(1, STEPS // BATCHES)}:{rng.integers(BATCHES * BATCH)}:{int(signal.SIGKILL)}"
    stamp = bench.folder / "killed"
    stamp.unlink(missing_ok=True)
    ended = bench.train(VARIANT, run, ranks=RANKS, variables={SIGNAL: place, TIME: str(stamp)})
    # mlx.launch always ends with status 0.
    if lost := lost_at_once(run, None, Strike("", ended, (0,), (SAYS,))):
        return lost
    seconds = time.time() - stamp.stat().st_mtime
    return "" if seconds < GRACE else f"the other rank ended {seconds:.0f} seconds later"


def _resumed(bench: Bench, run: Path, reference: Path, ranks: int) -> str:
    ended = bench.train(VARIANT, run, ranks=ranks)
    if step_of(run) != STEPS:
        return f"it does not resume with {ranks} rank(s) (status {ended.status}): {ended.tail()}"
    if ranks == RANKS:
        return shortened(differences(run, reference))
    return "" if steps(run) == steps(reference) else f"rows are missing: it has those of steps {', '.join(steps(run))}"
