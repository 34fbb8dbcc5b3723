"""A figure that is laid out in inches, for rows of frames that keep their shape."""

from __future__ import annotations

import textwrap
from typing import Any

from convlstm.report.style import DPI, INK, SOFT

from matplotlib.axes import Axes
from matplotlib.figure import Figure


class Sheet:
    """A figure whose parts are placed in inches from the top left corner.

    Args:
        wide, high: Size of the figure in inches.
    """

    def __init__(self, wide: float, high: float):
        self.wide, self.high = wide, high
        self.figure = Figure(figsize=(wide, high), dpi=DPI, facecolor="white")

    def axes(self, x: float, y: float, wide: float, high: float) -> Axes:
        """Returns new axes of a size, with their top left corner at (x, y)."""
        return self.figure.add_axes((x / self.wide, 1 - (y + high) / self.high, wide / self.wide, high / self.high))

    def write(self, x: float, y: float, text: str, **how: Any) -> None:
        """Writes small text below a point."""
        self.figure.text(x / self.wide, 1 - y / self.high, text, **{"size": 9, "color": SOFT, "va": "top", **how})

    def title(self, x: float, text: str | None) -> None:
        """Writes the heading of the figure, if `text` is not empty."""
        if text:
            self.write(x, 0.14, text, size=14, weight="bold", color=INK)

    def label(self, x: float, middle: float, name: str, notes: list[str], width: int) -> None:
        """Writes the name of a row, in lines of at most `width` letters, and notes below it, to the left of a point."""
        lines = [line.replace("_ ", "_") for line in textwrap.wrap(name.replace("_", "_ "), width)]
        y = middle - (0.185 * len(lines) + 0.16 * len(notes)) / 2
        self.write(x, y, "\n".join(lines), size=11, color=INK, ha="right")
        for k, note in enumerate(notes):
            self.write(x, y + 0.185 * len(lines) + 0.02 + 0.16 * k, note, ha="right")
