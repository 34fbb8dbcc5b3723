"""Files that a program may replace: its own, recognised by texts near their beginning."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

_HEAD = 4096  # bytes of the beginning


def check_own_file(path: Path, marks: Sequence[str]) -> None:
    """Raises FileExistsError if a path is taken by a file that has none of the marks, unless that file is empty.

    Args:
        path: Path of a file to be written.
        marks: Texts, one of which is near the beginning of each file of this kind.
    """
    if path.exists() and not _is_marked(path, marks):
        raise FileExistsError(errno.EEXIST, "it is not from an evaluation, and is left alone", str(path))


def _is_marked(path: Path, marks: Sequence[str]) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(_HEAD)
    return not head or any(mark.encode() in head for mark in marks)
