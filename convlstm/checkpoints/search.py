"""Which checkpoint a path means, and which one is taken where the newest is damaged."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

from convlstm.checkpoints.verification import FILES, CheckpointError, verify

FOLDER = "checkpoints"


def run_of(folder: Path) -> Path:
    """The folder of a checkpoint's run; the checkpoint's own where it lies in none."""
    return folder.parent.parent if folder.parent.name == FOLDER else folder


def before(folder: Path, age: int = 1) -> Path:
    """Where a checkpoint is kept when `age` newer ones have been written: `last.previous`, `last.previous.2`, ..."""
    return folder.with_name(f"{folder.name}.previous" + (f".{age}" if age > 1 else ""))


def ages(folder: Path) -> Iterator[Path]:
    """A checkpoint and those kept from before it, the newest first."""
    yield folder
    for age in count(1):
        # Between the renames of a save one of them is on its way.
        if not before(folder, age).exists() and not before(folder, age + 1).exists():
            return
        yield before(folder, age)


def find(path: str | Path, prefer: Sequence[str] = ("best", "last")) -> Path:
    """The checkpoint folder that a path means.

    A checkpoint that is named itself is the one that is meant, whatever its state. Of a run the first sound one is:
    where the preferred one is damaged, the one before it, with a warning that names both.

    Args:
        path: A checkpoint's folder, a run's folder, or the `checkpoints` folder in it.
        prefer: Which checkpoint of a run to take, the first that exists.

    Raises:
        CheckpointError: There is none, or the one that is named is incomplete, or all of the run's are damaged.
    """
    path = Path(path).expanduser()
    if not path.exists() and not before(path).exists():
        raise CheckpointError(f"'{path}' does not exist. Give a run's folder or a checkpoint's folder.")
    # Between the renames of `save` the checkpoint before is the one that exists.
    place = path if path.exists() else before(path)
    if _begun(place):
        missing = [name for name in FILES if not os.path.lexists(place / name)]
        if missing:
            raise CheckpointError(
                f"the checkpoint '{place}' is incomplete, without {', '.join(missing)}. Use another one."
            )
        return place
    problems: dict[Path, str] = {}
    for base in (path / FOLDER, path):
        for candidate in (c for name in prefer for c in ages(base / name) if _begun(c)):
            try:
                _inside(candidate, path)
                verify(candidate)
            except CheckpointError as error:
                problems[candidate] = str(error)
                continue
            if problems:
                warnings.warn(
                    " ".join(problems.values()).replace(" Use another checkpoint.", "").replace(" Use another one.", "")
                    + f" So '{candidate}' is used instead of '{next(iter(problems))}'.",
                    stacklevel=2,
                )
            return candidate
    if problems:
        first, *others = problems.values()
        more = f" Nor is there another one: {' '.join(others)}" if others else ""
        raise CheckpointError(first + more)
    raise CheckpointError(
        f"'{path}' holds no checkpoint: neither {', '.join(FILES)} nor a folder {FOLDER}/{' or '.join(prefer)}. Give a "
        "run's folder or a checkpoint's folder."
    )


def _inside(folder: Path, run: Path) -> None:
    """CheckpointError where a run's checkpoint is a link to somewhere else."""
    if not folder.resolve().is_relative_to(run.resolve()):
        raise CheckpointError(
            f"'{folder}' leads out of '{run}', to '{folder.resolve()}', so it was not read. If that "
            "is the one you mean, name it itself."
        )


def _begun(folder: Path) -> bool:
    return any(os.path.lexists(folder / name) for name in FILES[:3])
