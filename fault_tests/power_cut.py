"""The machine loses its power: what was not flushed to the disk is gone.

File systems that keep a journal keep what was renamed, made and removed in its order, and may lose the content of files
that were not flushed: these are found as they were, empty, or full of zeros.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

from fault_tests.bench import Bench
from fault_tests.campaign import Strike, campaign
from fault_tests.child import Plan
from fault_tests.faults import Try

import numpy as np

Flushed = set[tuple[int, int, int]]


def power_cut(bench: Bench, rng: np.random.Generator, count: int) -> Iterator[Try]:
    """Runs that are killed at an access and lose all that they have not flushed."""
    yield from campaign(bench, rng, count, _strike)


def _strike(bench: Bench, rng: np.random.Generator, variant: str, run: Path, step: int) -> Strike:
    log, place = bench.folder / "flushed.log", int(rng.integers(1, 1 + bench.reference(variant).accesses // 3))
    safe = {_known(path) for path in run.rglob("*") if path.is_file()}
    ended = bench.train(variant, run, plan=Plan(str(run), {place: int(signal.SIGKILL)}, log=str(log)))
    lines = [line.split() for line in log.read_text().splitlines() if line.startswith("flushed ")]
    lose(run, safe | {(int(inode), int(size), int(time)) for _, inode, size, time in lines}, rng)
    return Strike("power cut at a write", ended, (-signal.SIGKILL,))


def lose(run: Path, flushed: Flushed, rng: np.random.Generator) -> None:
    """Takes from the files of a run what is not on the disk.

    Args:
        run: The run's folder.
        flushed: What is: inode, bytes and time of the last change of every file that was flushed.
        rng: Decides what becomes of the rest.
    """
    for path in sorted(path for path in run.rglob("*") if path.is_file()):
        inode, size, _ = _known(path)
        if _known(path) in flushed:
            continue
        kept = max((bytes_ for number, bytes_, _ in flushed if number == inode and bytes_ < size), default=0)
        if (fate := rng.integers(3)) > 0:
            os.truncate(path, kept)
        if fate > 1:
            os.truncate(path, size)  # zeros from where it was cut


def _known(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns
