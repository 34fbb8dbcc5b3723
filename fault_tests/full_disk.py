"""A full disk: a small one of its own if this process may mount it, otherwise a limit on the size of each file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fault_tests.bench import BATCH, BATCHES, STEPS, VARIANTS, Bench, finish, shortened, step_of, wait_until_it_trains
from fault_tests.campaign import Strike, lost_at_once
from fault_tests.child import Plan
from fault_tests.data import SIGNAL
from fault_tests.equality import differences
from fault_tests.faults import Try

import numpy as np

SIZE = 8 << 20  # bytes of the small disk
FULL = ("No space left on device", "File too large")
NAMESPACE = "FAULT_NAMESPACE"
BALLAST = "ballast"


def can_mount() -> bool:
    """Returns True if this process may mount a disk."""
    return sys.platform == "linux" and os.geteuid() == 0 and shutil.which("mount") is not None


def in_namespace() -> None:
    """Restarts this program in a namespace in which it may mount disks for itself, if the system allows one."""
    inside = ["unshare", "--user", "--map-root-user", "--mount"]
    if sys.platform != "linux" or can_mount() or NAMESPACE in os.environ or shutil.which("unshare") is None:
        return
    if subprocess.run([*inside, "true"], capture_output=True).returncode == 0:
        os.environ[NAMESPACE] = "1"
        os.execvp("unshare", [*inside, sys.executable, "-m", "fault_tests", *sys.argv[1:]])


@contextmanager
def small_disk(place: Path, size: int = SIZE) -> Iterator[None]:
    """Mounts a disk of `size` bytes at a folder."""
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path, room: int) -> None:
    """Fills a disk up to `room` free bytes."""
    with (disk / BALLAST).open("wb") as file:
        size = max(0, shutil.disk_usage(disk).free - room)
        file.write(bytes(size))


def full_disk(bench: Bench, rng: np.random.Generator, count: int) -> Iterator[Try]:
    """Yields the results of runs that meet a full disk, at the start or later, and resume once there is room."""
    kinds = ("file size", "stop", "warn", "relief", "start") if can_mount() else ("file size",)
    for number in range(count):
        kind, variant = kinds[number % len(kinds)], str(rng.choice(list(VARIANTS)))
        bench.reference(variant)
        run = bench.new()
        if kind == "file size":
            yield _tried(bench, run, "no file may grow", _limited(bench, rng, variant, run))
            continue
        with small_disk(run.parent):
            lost = _filled(bench, rng, variant, run, kind)
            if lost:
                shutil.copytree(run.parent, run.parent.with_name(f"{run.parent.name}-kept"))
        name = {"stop": "stops", "warn": "warns", "relief": "warns, and there is room again", "start": "from the start"}
        yield _tried(bench, run, f"full disk, {name[kind]}", lost)


def _tried(bench: Bench, run: Path, kind: str, lost: str) -> Try:
    if not lost:
        bench.drop(run)
    return Try(kind, f"{lost} (see '{run}')" if lost else "")


def _limited(bench: Bench, rng: np.random.Generator, variant: str, run: Path) -> str:
    """Limits the size of files from a random access on, so that writes fail as on a full disk."""
    access = int(rng.integers(1, 1 + bench.reference(variant).accesses // 2))
    ended = bench.train(variant, run, plan=Plan(str(run), torn=(access, int(rng.integers(0, 4000))), fatal=False))
    return lost_at_once(run, None, Strike("", ended, (1,), FULL)) or bench.lost(variant, run)


def _filled(bench: Bench, rng: np.random.Generator, variant: str, run: Path, kind: str) -> str:
    disk, checkpoint, before = run.parent, 0, None
    if kind != "start":
        epoch = int(rng.integers(1, STEPS // BATCHES - 1))
        bench.train(variant, run, variables={SIGNAL: f"train:{epoch}:{BATCH}:15"})
        before = step_of(run)
        checkpoint = sum(path.stat().st_size for path in (run / "checkpoints" / "last").iterdir())
    fill(disk, int(rng.integers(0, 1 + 2 * checkpoint)) if checkpoint else 0)
    choice = f"trainer.on_full_disk={'stop' if kind in ('stop', 'start') else 'warn'}"
    if kind == "relief":
        return _relieved(bench, rng, variant, run, choice)
    ended = bench.train(variant, run, choice)
    if ended.status == 0:
        (disk / BALLAST).unlink()
        return shortened(differences(run, bench.reference(variant).folder))  # there was enough room
    lost = lost_at_once(run, before, Strike("", ended, (1,), FULL))
    if not lost and kind == "warn" and "training continues" not in ended.err:
        lost = f"it did not continue: {ended.tail()}"
    (disk / BALLAST).unlink()
    return lost or bench.lost(variant, run)


def _relieved(bench: Bench, rng: np.random.Generator, variant: str, run: Path, choice: str) -> str:
    """Makes room while the run continues with a warning; it must then end as the undisturbed one."""
    process = bench.start(variant, run, choice)
    wait_until_it_trains(process)
    wait = float(rng.uniform(0, bench.reference(variant).training / 2))
    timer = threading.Timer(wait, (run.parent / BALLAST).unlink)
    timer.start()
    ended = finish(process)
    timer.join()
    if ended.status != 0:
        lost = lost_at_once(run, None, Strike("", ended, (1,), FULL))
        return lost or bench.lost(variant, run)
    return shortened(differences(run, bench.reference(variant).folder))
