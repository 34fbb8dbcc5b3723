"""Reading of a checkpoint that a training may replace meanwhile."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
# Seconds that reading is tried for while a checkpoint is replaced again and again, and while it is missing between the
# renames of a save.
REPLACED, MISSING = 30.0, 1.0


class CheckpointError(ValueError):
    """A checkpoint is missing, incomplete or damaged, or does not fit the model."""


def again_if_replaced(
    read: Callable[Concatenate[Path, Arguments], Result],
) -> Callable[Concatenate[Path, Arguments], Result]:
    """Makes a function that reads a checkpoint's folder read it again if the folder was replaced meanwhile.

    So its result comes from one checkpoint, and a training that saves is no reason for a CheckpointError.
    """

    @functools.wraps(read)
    def reading(folder: Path, /, *arguments: Arguments.args, **keywords: Arguments.kwargs) -> Result:
        begin = time.monotonic()
        while True:
            before = _identity(folder)
            patience = begin + (MISSING if before is None else REPLACED)
            try:
                result = read(folder, *arguments, **keywords)
            except (CheckpointError, FileNotFoundError):
                if _is_stable(folder, before) or time.monotonic() > patience:
                    raise
            else:
                if _is_stable(folder, before) or time.monotonic() > patience:
                    return result
            time.sleep(random.uniform(0, 0.01))  # a later moment between two saves

    return reading


def _is_stable(folder: Path, before: tuple[int, ...] | None) -> bool:
    """Returns True if a folder is the one that it was, or was missing while no save renames one to it."""
    if before is None:
        return _identity(folder) is None and _identity(folder.with_name(f"{folder.name}.tmp")) is None
    return _identity(folder) == before


def _identity(folder: Path) -> tuple[int, ...] | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns
