"""Damaged files: cut, emptied, with flipped bits or zeros, missing, of another checkpoint, or too long."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from convlstm.checkpoints import FOLDER
from fault_tests.bench import BATCH, Bench, Ended
from fault_tests.campaign import untidy
from fault_tests.data import SIGNAL
from fault_tests.faults import Try

import numpy as np

Damage = Callable[[Path, np.random.Generator], None]
VARIANT = "plain"
LAST, BEFORE = f"{FOLDER}/last", f"{FOLDER}/last.previous"


def _cut(path: Path, rng: np.random.Generator) -> None:
    os.truncate(path, int(rng.integers(1, path.stat().st_size)))


def _emptied(path: Path, rng: np.random.Generator) -> None:
    os.truncate(path, 0)


def _flipped(path: Path, rng: np.random.Generator) -> None:
    content = bytearray(path.read_bytes())
    content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)


def _zeroed(path: Path, rng: np.random.Generator) -> None:
    content = bytearray(path.read_bytes())
    start = int(rng.integers(len(content)))
    content[start : start + 512] = bytes(len(content[start : start + 512]))
    path.write_bytes(content)


def _missing(path: Path, rng: np.random.Generator) -> None:
    path.unlink()


def _longer(path: Path, rng: np.random.Generator) -> None:
    with path.open("ab") as file:
        file.write(rng.bytes(int(rng.integers(1, 600))))


def _foreign(path: Path, rng: np.random.Generator) -> None:
    shutil.copyfile(path.parent.with_name("last.previous") / path.name, path)


def _folder(path: Path, rng: np.random.Generator) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Damage] = {
    "cut": _cut,
    "emptied": _emptied,
    "with a bit flipped": _flipped,
    "with a block of zeros": _zeroed,
    "missing": _missing,
    "longer than it was": _longer,
    "of another checkpoint": _foreign,
    "a folder": _folder,
}


def damage(bench: Bench, rng: np.random.Generator, count: int) -> Iterator[Try]:
    """Damages copies of a killed run; each must resume from an intact checkpoint or explain why it cannot.

    Of five tries, three damage a file of the newest checkpoint, one a file of each checkpoint, and one the end of the
    metrics or the run's configuration, as a crash of the machine does.
    """
    base = _base(bench)
    for number in range(count):
        run, kind = bench.new(), ("last", "last", "last", "all", "run")[number % 5]
        shutil.copytree(base, run, symlinks=True)
        name, lost = {"last": _last, "all": _all, "run": _run}[kind](bench, rng, run)
        if lost:
            lost += f" (see '{run}')"
        else:
            bench.drop(run)
        yield Try(name, lost)


def _base(bench: Bench) -> Path:
    """Returns a run that was killed at the beginning of an epoch, after several checkpoints."""
    run = bench.new()
    ended = bench.train(VARIANT, run, variables={SIGNAL: f"train:3:{2 * BATCH}:9"})
    if ended.status != -9 or not (run / BEFORE).is_dir():
        raise RuntimeError(f"[damage] the run to be damaged ended with status {ended.status}: {ended.tail()}")
    return run


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _last(bench: Bench, rng: np.random.Generator, run: Path) -> tuple[str, str]:
    """Damages a file of the newest checkpoint, which is refused by name; the run resumes from the one before."""
    file, what = str(rng.choice(_files(run / LAST))), str(rng.choice(list(DAMAGES)))
    if what == "of another checkpoint" and _same(run, file):
        what = "cut"
    DAMAGES[what](run / LAST / file, rng)
    name = f"a file of 'last' {what}"
    if rng.random() < 0.3 and (wrong := _refused(bench, run, str(run / LAST))):
        return name, f"{what} {file}, by name: {wrong}"
    ended = bench.train(VARIANT, run)
    if ended.status != 0:
        return name, f"{what} {file}: it does not resume (status {ended.status}): {ended.tail()}"
    missing = [place for place in (LAST, BEFORE) if f"{run / place}'" not in ended.err]
    if missing or "warning" not in ended.err:
        return name, f"{what} {file}: no warning that names {' and '.join(missing)}: {ended.err.strip()}"
    return name, bench.lost(VARIANT, run)


def _same(run: Path, file: str) -> bool:
    return (run / LAST / file).read_bytes() == (run / BEFORE / file).read_bytes()


def _all(bench: Bench, rng: np.random.Generator, run: Path) -> tuple[str, str]:
    """Damages a file of each checkpoint. Resuming must fail and touch nothing; with intact files the run resumes."""
    copy = run.with_name("kept")
    shutil.copytree(run, copy, symlinks=True)
    for folder in sorted((run / FOLDER).iterdir()):
        change = DAMAGES[str(rng.choice(["cut", "with a bit flipped", "missing"]))]
        change(folder / str(rng.choice(_files(folder))), rng)
    name = "a file of each checkpoint"
    if wrong := _refused(bench, run, "auto"):
        return name, f"{name}: {wrong}"
    shutil.rmtree(run)
    copy.rename(run)
    return name, bench.lost(VARIANT, run)


def _run(bench: Bench, rng: np.random.Generator, run: Path) -> tuple[str, str]:
    """Damages the end of the metrics, as a crash does, or empties the configuration."""
    what = str(rng.choice(["a torn row", "zeros", "noise", "config.yaml", "metrics.jsonl"]))
    if what in ("config.yaml", "metrics.jsonl"):
        os.truncate(run / what, 0)
        name = f"{what} emptied"
    else:
        for file in ("metrics.csv", "metrics.jsonl"):
            if (run / file).exists():
                with (run / file).open("ab") as metrics:
                    metrics.write({"a torn row": b"57,3,0.2", "zeros": bytes(200), "noise": rng.bytes(200)}[what])
        name = f"{what} at the end of the metrics"
    return name, bench.lost(VARIANT, run)


def _refused(bench: Bench, run: Path, resume: str) -> str:
    """Returns the fault in how train.py refused to resume, which must change nothing; "" for none."""
    before = _content(run)
    ended: Ended = bench.train(VARIANT, run, resume=resume)
    if ended.status != 1 or untidy(ended):
        return f"status {ended.status}: {ended.tail()}"
    if str(run / FOLDER) not in ended.err:
        return f"it did not name a file: {ended.tail()}"
    return "" if _content(run) == before else "it changed the run's files"


def _content(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()}
