"""Checks that results are written only where they are meant to be, and replace only earlier results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from convlstm.cli.program import fail

_HEAD = 4096  # bytes of the beginning


def check_no_links(folder: Path) -> None:
    """Ends the program if a link in a run's folder would lead results to another place."""
    for path in (folder, *(folder.iterdir() if folder.is_dir() else ())):
        if path.is_symlink():
            fail(f"'{path}' is a link to another place. Name the folder of the results: out=PATH.")


def check_own_results(folder: Path, marks: Mapping[str, Sequence[str]]) -> None:
    """Ends the program if it would replace a file that it has not written.

    Args:
        folder: Folder of the results.
        marks: By name of a file, texts near its beginning by which it is recognised.
    """
    for name, texts in marks.items():
        path = folder / name
        if path.exists() and not _is_marked(path, texts):
            fail(f"'{path}' is not from an evaluation, and is left alone. Name another folder: out=PATH.")


def _is_marked(path: Path, texts: Sequence[str]) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(_HEAD)
    return not head or any(text.encode() in head for text in texts)
