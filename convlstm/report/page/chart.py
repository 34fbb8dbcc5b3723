"""Line charts as SVG inside a page: coloured by its style, read out by their title and description."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from convlstm.report.page.markup import Markup, element
from convlstm.report.style import BASELINES, COLOURS, digits

import numpy as np

WIDE, HIGH = 360, 230
LEFT, RIGHT, TOP, FOOT = 48, 12, 14, 40


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        x, y: Its points; those whose y is not finite are left out, and the line is broken there.
        style: Its class in the page's style: see `styles`.
    """

    x: Sequence[float]
    y: Sequence[float | None]
    style: str


def styles(names: Sequence[str]) -> dict[str, str]:
    """The class of each forecaster's line: a baseline's own, else the next colour."""
    others = [name for name in names if name not in BASELINES]
    return {name: name if name in BASELINES else f"c{others.index(name) % len(COLOURS)}" for name in names}


def legend(names: Sequence[str]) -> Markup:
    """Names beside pieces of their lines."""

    def piece(style: str) -> Markup:
        line = element("path", d="M1 6H27", class_=f"line {style}")
        return element("svg", line, viewBox="0 0 28 12", width=28, height=12, aria_hidden="true", focusable="false")

    return element("ul", [element("li", piece(style), name) for name, style in styles(names).items()], class_="legend")


def line_chart(
    key: str,
    lines: Mapping[str, Line],
    *,
    title: str,
    x: str,
    y: str,
    note: str = "",
    from_zero: bool = False,
    mark: float | None = None,
    log: bool = False,
    whole: bool = False,
) -> Markup:
    """A chart of lines, with a description that says where each begins and ends.

    Args:
        key: Starts the ids of the chart; no two charts of a page have the same one.
        lines: By name.
        title: What it shows.
        x, y: What the axes say, with the units.
        note: Which way is better. Default: nothing.
        from_zero: Whether the y axis begins at 0. Default: False.
        mark: A value that gets a line across. Default: none.
        log: Whether the y axis is logarithmic; what is not positive is left out then. Default: False.
        whole: Whether the values of x are whole numbers. Default: False.
    """
    points = {name: _points(line, log) for name, line in lines.items()}
    known = [point for runs in points.values() for run in runs for point in run]
    parts: list[Markup] = []
    if known:
        scale_x = _Scale([p[0] for p in known], LEFT + 8, WIDE - RIGHT - 6, most=7, whole=whole, tight=True)
        ys = [p[1] for p in known] + ([] if mark is None else [mark]) + ([0.0] if from_zero and not log else [])
        scale_y = _Scale(ys, HIGH - FOOT, TOP, most=5, log=log)
        parts += [_rule(scale_y(value), _written(value, scale_y.ticks)) for value in scale_y.ticks]
        for value in scale_x.ticks:
            place = {"x": _at(scale_x(value)), "y": HIGH - FOOT + 16}
            parts.append(element("text", _written(value, scale_x.ticks), **place, class_="tick mid"))
        if mark is not None:
            parts.append(element("path", d=f"M{LEFT} {_at(scale_y(mark))}H{WIDE - RIGHT}", class_="mark"))
        for name, runs in points.items():
            parts += _drawn(name, runs, lines[name].style, scale_x, scale_y)
    else:
        parts.append(element("text", "no value", x=WIDE / 2, y=HIGH / 2, class_="tick mid"))
    parts.append(element("path", d=f"M{LEFT} {HIGH - FOOT}H{WIDE - RIGHT}", class_="axis"))
    parts.append(element("text", x, x=(LEFT + WIDE - RIGHT) / 2, y=HIGH - 6, class_="label mid"))
    drawing = element(
        "svg",
        element("title", title, id=f"{key}-title"),
        element("desc", _told(lines, points, x, y, note), id=f"{key}-desc"),
        parts,
        viewBox=f"0 0 {WIDE} {HIGH}",
        role="img",
        aria_labelledby=f"{key}-title {key}-desc",
        class_="chart",
    )
    words = element("figcaption", element("b", title), element("span", y + (f"; {note}" if note else "")))
    return element("figure", words, drawing, class_="plot")


class _Scale:
    """From values to places, with round ticks."""

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
    ):
        low, high = min(values), max(values)
        self.log, self.start, self.end = log, start, end
        if log:
            powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            self.ticks = [10.0**power for power in powers[:: max(1, math.ceil(len(powers) / most))]]
            self.low, self.high = math.log10(low), math.log10(high)
        else:
            self.ticks = _steps(low, high, most, whole)
            self.low, self.high = (low, high) if tight else (min(self.ticks[0], low), max(self.ticks[-1], high))
        if self.high == self.low:
            self.low, self.high = self.low - 0.5, self.high + 0.5
        ends = (10**self.low, 10**self.high) if log else (self.low, self.high)
        room = 1e-9 * abs(ends[1] - ends[0])
        self.ticks = [tick for tick in self.ticks if ends[0] - room <= tick <= ends[1] + room]

    def __call__(self, value: float) -> float:
        share = ((math.log10(value) if self.log else value) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def _steps(low: float, high: float, most: int, whole: bool) -> list[float]:
    """At most about `most` multiples of 1, 2 or 5 times a power of ten, from below the low to above the high value."""
    if high == low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    if whole:
        step = max(round(step), 1)
    return [k * step for k in range(math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9) + 1)]


def _points(line: Line, log: bool) -> list[list[tuple[float, float]]]:
    """The unbroken pieces of a line."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for x, y in zip(line.x, line.y, strict=True):
        if y is None or not math.isfinite(y) or (log and y <= 0):
            pieces.append([])
        else:
            pieces[-1].append((float(x), float(y)))
    return [piece for piece in pieces if piece]


def _drawn(name: str, pieces: list[list[tuple[float, float]]], style: str, x: _Scale, y: _Scale) -> list[Markup]:
    parts = []
    for piece in pieces:
        path = "L".join(f"{_at(x(a))} {_at(y(b))}" for a, b in piece)
        parts.append(element("path", d=f"M{path}", class_=f"line {style}"))
    count = sum(map(len, pieces))
    if count <= 40:
        parts += [
            element(
                "circle", element("title", f"{name}, {a:g}: {digits(b)}"), cx=_at(x(a)), cy=_at(y(b)), r=3, class_=style
            )
            for piece in pieces
            for a, b in piece
        ]
    return parts


def _rule(y: float, words: str) -> Markup:
    line = element("path", d=f"M{LEFT} {_at(y)}H{WIDE - RIGHT}", class_="rule")
    return Markup(line + element("text", words, x=LEFT - 6, y=_at(y + 4), class_="tick end"))


def _at(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _written(value: float, ticks: Sequence[float]) -> str:
    """A tick's number, with as many digits as tell it from the others."""
    if abs(value) < 1e-12:
        return "0"
    if not 1e-4 <= abs(value) < 1e5:
        return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e")
    gap = float(np.min(np.diff(ticks))) if len(ticks) > 1 else abs(value)
    return f"{value:.{max(0, -math.floor(math.log10(gap) + 1e-9))}f}" if gap < 1 else f"{value:g}"


def _told(lines: Mapping[str, Line], points: Mapping[str, list], x: str, y: str, note: str) -> str:
    told = [f"{y} against {x}" + (f"; {note}." if note else ".")]
    for name in lines:
        known = [point for piece in points[name] for point in piece]
        if not known:
            told.append(f"{name}: no value.")
        elif len(known) == 1:
            told.append(f"{name}: {digits(known[0][1])} at {known[0][0]:g}.")
        else:
            (first, start), (last, end) = known[0], known[-1]
            told.append(f"{name}: from {digits(start)} at {first:g} to {digits(end)} at {last:g}.")
    return " ".join(told)
