"""Short runs that meet several faults each and are then taken to their end."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from convlstm.checkpoints import CheckpointError
from fault_tests.bench import VARIANTS, Bench, Ended, step_of
from fault_tests.faults import Try

import numpy as np

MOST = 6
"""Largest number of strikes in a run."""


@dataclass(frozen=True)
class Strike:
    """A fault that a run has met.

    Attributes:
        kind: Kind of the fault, a row of the table.
        ended: The end of the run.
        allowed: Exit statuses that are correct after this fault.
        says: Texts of which the run must print one; () if it need not print any.
        traceback: True if a traceback counts as a loss, False if it is only a note.
    """

    kind: str
    ended: Ended
    allowed: Collection[int]
    says: tuple[str, ...] = ()
    traceback: bool = True


Striker = Callable[[Bench, np.random.Generator, str, Path, int], Strike]
"""`striker(bench, rng, variant, run, step)` starts a run, or resumes it from that step, and strikes it once."""


def campaign(bench: Bench, rng: np.random.Generator, count: int, strike: Striker) -> Iterator[Try]:
    """Yields the results of `count` strikes on runs, each of which must end as the run without strikes did."""
    while count > 0:
        variant, run, tries, lost = str(rng.choice(list(VARIANTS))), bench.new(), [], ""
        bench.reference(variant)
        for _ in range(min(count, int(rng.integers(1, MOST + 1)))):
            before = step_of(run)
            struck = strike(bench, rng, variant, run, before or 0)
            if struck.ended.status == 0:
                break  # it ended before the strike
            lost = lost_at_once(run, before, struck)
            tries.append(Try(struck.kind, note=untidy(struck.ended)))
            if lost:
                break
        lost = lost or bench.lost(variant, run)
        count -= len(tries)
        if lost:
            lost = f"{variant}, {' then '.join(one.kind for one in tries)}: {lost} (see '{run}')"
        else:
            bench.drop(run)
        yield from (Try(one.kind, lost, one.note) for one in tries)


def lost_at_once(run: Path, before: int | None, struck: Strike) -> str:
    """Returns the checkpoint that a strike destroyed, or the fault in the run's end; "" for neither."""
    ended = struck.ended
    try:
        step = step_of(run)
    except CheckpointError as error:
        return f"no checkpoint is left: {error}"
    if before is not None and (step is None or step < before):
        return f"step {before} was saved, and step {step} is left"
    if ended.status not in struck.allowed:
        return f"it ended with status {ended.status}: {ended.tail()}"
    if struck.traceback and untidy(ended):
        return untidy(ended)
    if struck.says and not any(word in ended.out + ended.err for word in struck.says):
        return f"it did not print {' or '.join(struck.says)}: {ended.tail()}"
    return ""


def untidy(ended: Ended) -> str:
    """Returns a description of the traceback that a run printed, or ""."""
    return f"a traceback: {ended.tail()}" if "Traceback" in ended.err else ""
