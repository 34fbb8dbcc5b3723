"""The axes of a chart in the page: positions of values, ticks with their numbers, and titles."""

from __future__ import annotations

import math
from collections.abc import Sequence

from convlstm.report.chart_descriptions import Chart, Histogram
from convlstm.report.page.markup import Markup, element

import numpy as np

WIDE, HIGH = 360, 230
LEFT, RIGHT, TOP, FOOT = 52, 12, 14, 40


class Scale:
    """A mapping from values to positions along an axis, with round ticks.

    Args:
        values: Values that the axis covers; at least one, and positive if the axis is logarithmic.
        start, end: Positions of the ends.
        most: Largest number of ticks, roughly.
        log: True if the axis is logarithmic. Default: False.
        whole: True if the ticks are whole numbers. Default: False.
        tight: True if the axis ends at the lowest and the highest value, not at ticks around them. Default: False.
        ticks: The ticks. Default: round numbers.
    """

    def __init__(
        self,
        values: Sequence[float],
        start: float,
        end: float,
        *,
        most: int,
        log: bool = False,
        whole: bool = False,
        tight: bool = False,
        ticks: Sequence[float] | None = None,
    ):
        low, high = min(values), max(values)
        self.log, self.even, self.start, self.end = log, not log and ticks is None, start, end
        if log:
            rounded = _decades(low, high, most)
            self.low, self.high = math.log10(low), math.log10(high)
        else:
            rounded = [low] if low == high and tight else _steps(*_apart(low, high), most, whole)
            self.low, self.high = (low, high) if tight else (min(rounded[0], low), max(rounded[-1], high))
        if self.high == self.low:
            self.low, self.high = self.low - 0.5, self.high + 0.5
        ends = (10**self.low, 10**self.high) if log else (self.low, self.high)
        room = 1e-9 * abs(ends[1] - ends[0])
        candidates = rounded if ticks is None else list(ticks)
        self.ticks = [tick for tick in candidates if ends[0] - room <= tick <= ends[1] + room]

    def __call__(self, value: float) -> float:
        share = ((math.log10(value) if self.log else value) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def written(self, tick: float) -> str:
        """Returns a tick's number as text. On an even scale it has as many digits as the distance of ticks needs."""
        if abs(tick) < 1e-12:
            return "0"
        if not 1e-4 <= abs(tick) < 1e5:
            return f"{tick:.3g}".replace("e-0", "e-").replace("e+0", "e")
        gap = float(np.min(np.diff(self.ticks))) if self.even and len(self.ticks) > 1 else 1.0
        return (
            f"{tick:.{math.ceil(-math.log10(gap) - 1e-9)}f}" if gap < 1 else f"{tick:.4g}" if gap == 1 else f"{tick:g}"
        )


def _apart(low: float, high: float) -> tuple[float, float]:
    """Returns the ends of a range, moved apart if they are equal, so that there are round numbers around them."""
    if low < high:
        return low, high
    return (low - 0.1 * abs(low), high + 0.1 * abs(high)) if low else (0.0, 1.0)


def _steps(low: float, high: float, most: int, whole: bool) -> list[float]:
    """Returns about `most` multiples of 1, 2 or 5 times a power of ten, from below the low to above the high value."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    if whole:
        step = max(round(step), 1)
    return [k * step for k in range(math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9) + 1)]


def _decades(low: float, high: float, most: int) -> list[float]:
    """Returns the powers of ten between two values, with 2 and 5 times these if there is room."""
    powers = [10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    fine = [factor * power for power in powers for factor in (1, 2, 5)]
    inside = [tick for tick in fine if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
    if inside and len(inside) <= most + 2:
        return inside
    within = [power for power in powers if low <= power <= high] or powers
    return within[:: max(1, math.ceil(len(within) / most))]


def coordinate(value: float) -> str:
    """Returns a coordinate as SVG writes it."""
    return f"{value:.1f}".removesuffix(".0")


def rules(scale: Scale) -> list[Markup]:
    """Returns a thin line across the chart for each tick of the y axis, with its number."""
    return [
        Markup(
            element("path", d=f"M{LEFT} {coordinate(scale(value))}H{WIDE - RIGHT}", class_="rule")
            + element("text", scale.written(value), x=LEFT - 6, y=coordinate(scale(value) + 4), class_="tick end")
        )
        for value in scale.ticks
    ]


def foot(scale: Scale) -> list[Markup]:
    """Returns the numbers below the x axis."""
    return [
        element("text", scale.written(v), x=coordinate(scale(v)), y=HIGH - FOOT + 16, class_="tick mid")
        for v in scale.ticks
    ]


def framed(key: str, parts: Sequence[Markup], chart: Chart | Histogram, words: str) -> Markup:
    """Returns a chart around its parts, with a caption and a description.

    Args:
        key: Start of the ids of the chart; no two charts of a page have the same one.
        parts: The drawing.
        chart: Its titles.
        words: Description of the content, for those who cannot see it.
    """
    title, x, y, note = chart.title, chart.x, chart.y, chart.note
    drawing = element(
        "svg",
        element("title", title, id=f"{key}-title"),
        element("desc", f"{y} against {x}" + (f"; {note}. " if note else ". ") + words, id=f"{key}-desc"),
        parts,
        element("path", d=f"M{LEFT} {HIGH - FOOT}H{WIDE - RIGHT}", class_="axis"),
        element("text", x, x=coordinate((LEFT + WIDE - RIGHT) / 2), y=HIGH - 6, class_="label mid"),
        viewBox=f"0 0 {WIDE} {HIGH}",
        role="img",
        aria_labelledby=f"{key}-title {key}-desc",
        class_="chart",
    )
    caption = element("figcaption", element("b", title), element("span", y + (f"; {note}" if note else "")))
    return element("figure", caption, drawing, class_="plot")


def nothing() -> Markup:
    """Returns the content of a chart without a value."""
    return element("text", "no value", x=WIDE / 2, y=HIGH / 2, class_="tick mid")
