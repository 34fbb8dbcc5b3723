"""Descriptions of charts. `matplotlib_charts.py` draws them as pictures and `page/svg.py` draws them in the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        x, y: Its points. The line is broken where y is None or not finite.
        like: The forecaster that it belongs to, whose colour it has. Default: the line's own name.
        role: "truth" and "guide" are lines that belong to no forecaster. Default: "forecast".
        dashed: True if the line is dashed. Default: False.
        dots: True if the points are marked. Default: True.
    """

    x: Sequence[float]
    y: Sequence[float | None]
    like: str = ""
    role: Literal["forecast", "truth", "guide"] = "forecast"
    dashed: bool = False
    dots: bool = True


@dataclass(frozen=True)
class Bars:
    """Small bars in a chart of lines that show how often each x occurred, on a scale of powers of ten.

    Attributes:
        x: Positions of the bars on the x axis.
        counts: The number of pixels of each bar.
        like: The forecaster that the bars belong to, whose colour they have.
    """

    x: Sequence[float]
    counts: Sequence[int]
    like: str


@dataclass(frozen=True)
class Chart:
    """A chart of lines.

    Attributes:
        title: Title of the chart.
        x, y: Titles of the axes, with the units.
        lines: The lines by name.
        note: Text that says which values are better. Default: nothing.
        choose: Returns the best of the values at one x. Default: no value is marked.
        from_zero: True if the y axis starts at 0. Default: False.
        mark: The best value, which gets a line across. Default: none.
        log_x, log_y: True if the axis is logarithmic; values of 0 or less are left out. Default: False.
        falling: True if x falls from left to right. Default: False.
        whole: True if x takes only whole numbers. Default: False.
        ticks: The values of x that may have a number. Default: round numbers.
        span: Range that the y axis covers at least. Default: that of the lines.
        least: Lowest y that is drawn. Default: all are.
        bars: Bars beside the lines. Default: none.
    """

    title: str
    x: str
    y: str
    lines: Mapping[str, Line]
    note: str = ""
    choose: Callable[[Iterable[float]], float] | None = None
    from_zero: bool = False
    mark: float | None = None
    log_x: bool = False
    log_y: bool = False
    falling: bool = False
    whole: bool = False
    ticks: Sequence[float] | None = None
    span: tuple[float, float] | None = None
    least: float | None = None
    bars: Bars | None = None

    @property
    def forecasters(self) -> dict[str, Line]:
        """The lines that belong to forecasters, by name."""
        return {name: line for name, line in self.lines.items() if line.role == "forecast"}

    @property
    def empty(self) -> bool:
        """True if no forecaster has a value."""
        return not any(v is not None and math.isfinite(v) for line in self.forecasters.values() for v in line.y)


@dataclass(frozen=True)
class Histogram:
    """A rank histogram.

    Attributes:
        title: Title of the chart.
        x, y: Titles of the axes, with the units.
        heights: The share of each rank 0, 1, 2, ...; empty if no pixel was ranked.
        like: The ensemble that the histogram belongs to, whose colour it has.
        note: Text that says which shape is best.
        mark: The share of each rank in a flat histogram, which gets a line across.
    """

    title: str
    x: str
    y: str
    heights: Sequence[float]
    like: str
    note: str
    mark: float


def check_positive(owner: str, name: str, value: float | None) -> None:
    """Raises ValueError if an argument is neither positive nor None."""
    if value is not None and not (math.isfinite(value) and value > 0):
        raise ValueError(f"[{owner}] '{name}' must be positive or None but got {value}.")


def check_count(owner: str, name: str, value: int) -> None:
    """Raises ValueError if an argument is below 1."""
    if value < 1:
        raise ValueError(f"[{owner}] '{name}' must be at least 1 but got {value}.")
