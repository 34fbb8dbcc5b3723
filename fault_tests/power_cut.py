"""A loss of power: content that was not flushed to the disk is gone.

File systems with a journal preserve renames, creations and removals in their order, but may lose the content of files
that were not flushed. Such a file then has its former content, is empty, or holds zeros.
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
    """Yields the results of runs that are killed at an access and lose everything that was not flushed."""
    yield from campaign(bench, rng, count, _strike)


def _strike(bench: Bench, rng: np.random.Generator, variant: str, run: Path, step: int) -> Strike:
    log, access = bench.folder / "flushed.log", int(rng.integers(1, 1 + bench.reference(variant).accesses // 3))
    safe = {_version(path) for path in run.rglob("*") if path.is_file()}
    ended = bench.train(variant, run, plan=Plan(str(run), {access: int(signal.SIGKILL)}, log=str(log)))
    lines = [line.split() for line in log.read_text().splitlines() if line.startswith("flushed ")]
    lose(run, safe | {(int(inode), int(size), int(time)) for _, inode, size, time in lines}, rng)
    return Strike("power cut at a write", ended, (-signal.SIGKILL,))


def lose(run: Path, flushed: Flushed, rng: np.random.Generator) -> None:
    """Removes the content of a run's files that is not on the disk.

    Args:
        run: The run's folder.
        flushed: Inode, bytes and time of the last change of every file that was flushed.
        rng: Generator that decides the fate of all other files.
    """
    for path in sorted(path for path in run.rglob("*") if path.is_file()):
        inode, size, _ = _version(path)
        if _version(path) in flushed:
            continue
        length = max((bytes_ for number, bytes_, _ in flushed if number == inode and bytes_ < size), default=0)
        if (fate := rng.integers(3)) > 0:
            os.truncate(path, length)
        if fate > 1:
            os.truncate(path, size)  # zeros from there on


def _version(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns
