"""Search for the checkpoint that a path refers to, with earlier checkpoints in place of damaged ones."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

from convlstm.arguments import check_path
from convlstm.checkpoints.hub import PREFIX, fetch, hub_name, in_cache, is_name
from convlstm.checkpoints.hub_cache import repository_of
from convlstm.checkpoints.replaced import again_if_replaced
from convlstm.checkpoints.verification import FILES, CheckpointError, verify

FOLDER = "checkpoints"
NOWCAST = "nowcast"
"""The name of the model that comes with the package, in place of a path."""


def packaged() -> Path:
    """Returns the folder of the checkpoint that comes with the package, `nowcast` beside this one."""
    return Path(__file__).parent.parent / NOWCAST


def run_of(folder: Path) -> Path:
    """Returns the folder of a checkpoint's run, or the checkpoint's own folder if it lies in no run."""
    return folder.parent.parent if folder.parent.name == FOLDER else folder


def results_of(folder: Path) -> Path:
    """Returns the folder for what is made with a checkpoint: its run's, or one in `runs`.

    For the package's that is `runs/packaged_nowcast`, for one of the hub `runs/OWNER--NAME`.
    """
    if folder == packaged():
        return Path("runs") / f"packaged_{NOWCAST}"
    if (repository := repository_of(folder)) is not None:
        return Path("runs") / repository.partition("@")[0].replace("/", "--")
    return run_of(folder)


def name_of(folder: Path) -> str:
    """Returns a checkpoint's name for records: "nowcast", "hf://owner/name@commit", or its path."""
    if folder == packaged():
        return NOWCAST
    repository = repository_of(folder)
    return str(folder) if repository is None else f"{PREFIX}{repository}"


def previous(folder: Path, age: int = 1) -> Path:
    """Returns a checkpoint's path after `age` newer ones were written: `last.previous`, `last.previous.2`, ..."""
    return folder.with_name(f"{folder.name}.previous" + (f".{age}" if age > 1 else ""))


def history(folder: Path) -> Iterator[Path]:
    """Yields a checkpoint and the earlier ones that were kept, the newest first."""
    yield folder
    for age in count(1):
        # One may be missing for a moment, between the renames of a save.
        if not previous(folder, age).exists() and not previous(folder, age + 1).exists():
            return
        yield previous(folder, age)


def find(path: str | Path, prefer: Sequence[str] = ("best", "last")) -> Path:
    """Returns the checkpoint folder that a path refers to.

    The path of a checkpoint refers to that checkpoint, which must be complete but is not verified. The path of a run
    refers to its first checkpoint that is not damaged: if the preferred one is damaged, an earlier one is taken, with a
    warning that names both.

    The text "nowcast" is the name of the model that comes with the package, always: a folder of this name is
    "./nowcast", and if there is one, a warning says so.

    A text "owner/name", "owner/name@revision" or "hf://owner/name@revision" is a repository of the hub, see
    `convlstm.checkpoints.hub`. A folder of the name here is taken instead, unless there is "hf://"; if the hub's cache
    has that repository, a warning says so.

    Args:
        path: A checkpoint's folder, a run's folder, the `checkpoints` folder in a run, "nowcast", or a name on the hub.
        prefer: Names of the checkpoints of a run, the preferred one first. Default: best, then last.

    Raises:
        ValueError: It is no path.
        CheckpointError: There is no checkpoint, the named one is incomplete, or all of the run's are damaged.
    """
    if isinstance(path, str) and path == NOWCAST:
        if Path(NOWCAST).exists():
            warnings.warn(
                f"'{NOWCAST}' is the model that comes with the package, not the folder of this name here, which is "
                f"'./{NOWCAST}'.",
                stacklevel=3,
            )
        return _find(packaged(), prefer)
    if (name := hub_name(path)) is not None:
        return _find(fetch(name), prefer)
    folder = check_path("find", "path", path).expanduser()
    if isinstance(path, str) and folder.exists() and in_cache(path):
        warnings.warn(f"'{path}' is the folder here; that of the hub is '{PREFIX}{path}'.", stacklevel=3)
    return _find(folder, prefer)


@again_if_replaced
def _find(path: Path, prefer: Sequence[str]) -> Path:
    if not path.exists() and not previous(path).exists():
        hub = f" On the hub it would be {PREFIX}{path}." if is_name(str(path)) else ""
        raise CheckpointError(f"'{path}' does not exist. Give a run's folder or a checkpoint's folder.{hub}")
    # Between the renames of `save` only the previous checkpoint exists.
    folder = path if path.exists() else previous(path)
    if _begun(folder):
        _check_complete(folder)
        return folder
    problems: dict[Path, str] = {}
    for base in (path / FOLDER, path):
        for candidate in (c for name in prefer for c in history(base / name) if _begun(c)):
            try:
                _check_inside(candidate, path)
                verify(candidate)
            except CheckpointError as error:
                problems[candidate] = str(error)
                continue
            if problems:
                warnings.warn(
                    " ".join(problems.values()).replace(" Use another checkpoint.", "").replace(" Use another one.", "")
                    + f" So '{candidate}' is used instead of '{next(iter(problems))}'.",
                    stacklevel=4,
                )
            return candidate
    if problems:
        first, *others = problems.values()
        raise CheckpointError(first + (f" There is no other one: {' '.join(others)}" if others else ""))
    raise CheckpointError(
        f"'{path}' holds no checkpoint: neither {', '.join(FILES)} nor a folder {FOLDER}/{' or '.join(prefer)}. Give a "
        "run's folder or a checkpoint's folder."
    )


@again_if_replaced
def _check_complete(folder: Path) -> None:
    missing = [name for name in FILES if not os.path.lexists(folder / name)]
    if missing:
        raise CheckpointError(
            f"the checkpoint '{folder}' is incomplete, without {', '.join(missing)}. Use another one."
        )


def _check_inside(folder: Path, run: Path) -> None:
    """Raises CheckpointError if a run's checkpoint is a link that leads out of the run."""
    if not folder.resolve().is_relative_to(run.resolve()):
        raise CheckpointError(
            f"'{folder}' leads out of '{run}', to '{folder.resolve()}', so it was not read. If you want that "
            "checkpoint, give its own path."
        )


def _begun(folder: Path) -> bool:
    """Returns True if a folder has at least one file of a checkpoint. Every run has a `config.yaml`."""
    return any(os.path.lexists(folder / name) for name in FILES[:3])
