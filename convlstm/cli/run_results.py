"""Checks that results are written only where they are meant to be, and replace only earlier results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from convlstm.backend.own_files import check_own_file
from convlstm.cli.program import fail


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
        try:
            check_own_file(folder / name, texts)
        except FileExistsError:
            fail(f"'{folder / name}' is not from an evaluation, and is left alone. Name another folder: out=PATH.")
