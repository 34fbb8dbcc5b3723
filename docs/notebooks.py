"""Reads and runs the tutorials: Python files of cells, in the "percent" format that Jupytext, VS Code and Spyder open.

A line `# %%` begins a cell of code, `# %% [markdown]` one of text, whose lines are comments. The cells of a file run in
one namespace, in this process. So tests need no kernel, and an error names the file and the line.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

TUTORIALS = Path(__file__).with_name("tutorials")


@dataclass
class Picture:
    """A figure that a cell has drawn: the text of its label, and a PNG file."""

    label: str
    png: bytes


@dataclass
class Cell:
    """A cell of a tutorial.

    Attributes:
        text: Markdown, or Python.
        code: True for Python.
        line: The line of the file that it begins in, from 0.
        printed: What it printed.
        pictures: The figures that it drew.
    """

    text: str
    code: bool
    line: int
    printed: str = ""
    pictures: list[Picture] = field(default_factory=list)


def read(path: Path) -> list[Cell]:
    """Returns the cells of a tutorial.

    Raises:
        ValueError: The file begins with something else than a cell.
    """
    found: list[tuple[bool, int, list[str]]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        if line.startswith("# %%"):
            found.append(("[markdown]" not in line, number + 1, []))
        elif found:
            code, _, lines = found[-1]
            lines.append(line if code else line.removeprefix("#").removeprefix(" "))
        elif line.strip():
            raise ValueError(f"[read] '{path}' must begin with a cell, '# %%' or '# %% [markdown]', but has {line!r}.")
    return [
        Cell("\n".join(lines).strip("\n"), code, begin + (len(lines) - len("\n".join(lines).lstrip("\n").split("\n"))))
        for code, begin, lines in found
    ]


def run(path: Path, folder: Path) -> list[Cell]:
    """Runs a tutorial in a folder, and returns its cells with what they printed and drew.

    What a cell raises, this raises, too.
    """
    cells, names = read(path), {"__name__": "__main__"}
    with _working_folder(folder), _figures() as figures:
        for cell in cells:
            if cell.code:
                printed = io.StringIO()
                with redirect_stdout(printed):
                    exec(compile("\n" * cell.line + cell.text, str(path), "exec"), names)
                cell.printed, cell.pictures = printed.getvalue(), [_picture(figure) for figure in figures()]
    return cells


@contextmanager
def _working_folder(folder: Path) -> Iterator[None]:
    former = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(former)


@contextmanager
def _figures() -> Iterator[Any]:
    """Yields a function that returns the figures since the last call, as a notebook shows them after each cell."""
    from matplotlib import pyplot as plt

    def drawn() -> list[Any]:
        figures = [plt.figure(number) for number in plt.get_fignums()]
        plt.close("all")
        return figures

    former = plt.get_backend()
    plt.switch_backend("agg")
    try:
        with patch.object(plt, "show"):  # it would say that nothing can be shown
            yield drawn
    finally:
        plt.close("all")
        plt.switch_backend(former)


def _picture(figure: Any) -> Picture:
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=80)
    return Picture(figure.get_label(), png.getvalue())
