"""Replacement of an earlier forecast. No other file is ever replaced."""

from __future__ import annotations

import errno
from contextlib import suppress
from pathlib import Path

from convlstm.backend.files import remove, temporary_of
from convlstm.writers.formats import Format


def check_replaceable(path: Path, format: Format) -> None:
    """Raises FileExistsError if a path or its companion's is taken by something other than an earlier forecast.

    Args:
        path: Path of a forecast to be written.
        format: Its format.
    """
    companion = path.with_suffix(format.companion) if format.companion else path
    if not (path.exists() or companion.exists()) or _is_replaceable(path, format):
        return
    if path.is_dir():
        kind = "a folder with other things in it"
    elif path.exists():
        kind = "a file that is not a forecast of this program"
    else:
        path, kind = companion, "a file that is not a forecast's, and the forecast's description needs its name"
    raise FileExistsError(errno.EEXIST, f"there is {kind}; it is left alone", str(path))


def move_into_place(part: Path, path: Path) -> None:
    """Moves a file or a folder to its final path. If that fails, the earlier file or folder stays there."""
    if not (path.is_dir() and part.is_dir()):
        part.replace(path)
        return
    former = temporary_of(path, "old")
    with suppress(FileNotFoundError):  # another process has just moved it
        path.rename(former)
    try:
        part.rename(path)
    except OSError:
        with suppress(OSError):
            former.rename(path)
        raise
    remove(former)


def _is_replaceable(path: Path, format: Format) -> bool:
    """Returns True if a file or a folder is a forecast of this project, or an empty file."""
    try:
        return (path.is_file() and path.stat().st_size == 0) or format.is_forecast(path)
    except (OSError, ValueError, RuntimeError):
        return False
