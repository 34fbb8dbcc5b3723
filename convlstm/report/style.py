"""The common look of pictures and pages: colours, line styles, choice of frames, and the text of numbers."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

DPI = 100
# Colours of text, of notes and of thin lines; of missing pixels; of forecasters; and of baselines, with line styles.
INK, SOFT, RULE = "#222222", "#767676", "#bbbbbb"
MISSING = "#e3c9a0"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
BASELINES = {
    "persistence": ("#767676", "--"),
    "climatology": ("#9a7fb8", ":"),
    "extrapolation": ("#8a6d3b", "-."),
    "sprog": ("#6b8e23", "-."),
    "steps": ("#4b6a9b", "-."),
    "zeros": ("#a6a6a6", ":"),
}


def line_styles(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Returns the colour and the line style of each forecaster; baselines always have the same ones."""
    colours = iter(COLOURS * (len(list(names)) // len(COLOURS) + 1))
    return {name: BASELINES[name] if name in BASELINES else (next(colours), "-") for name in names}


def spread(count: int, most: int) -> list[int]:
    """Returns at most `most` of `count` indices, evenly spread, with the first and the last among them."""
    return sorted({round(t) for t in np.linspace(0, count - 1, min(count, most)).tolist()})


def even_steps(count: int, most: int) -> list[int]:
    """Returns at most `most` of `count` indices at equal steps up to the last one.

    If no step gives at least half of `most` indices, they are spread evenly as by `spread`.
    """
    step = next((t for t in range(1, count + 1) if count % t == 0 and most / 2 <= count // t <= most), None)
    return spread(count, most) if step is None else list(range(step - 1, count, step))


def digits(value: float) -> str:
    """Returns a number with four digits, or as a whole number from 1000 on."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:#.4g}".rstrip(".")
