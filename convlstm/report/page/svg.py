"""Charts as SVG inside the page: coloured by its style, and described in words for those who cannot see them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from convlstm.report.chart_descriptions import Bars, Chart, Histogram, Line
from convlstm.report.page import axes
from convlstm.report.page.axes import FOOT, HIGH, LEFT, RIGHT, TOP, WIDE, Scale, coordinate
from convlstm.report.page.markup import Markup, element
from convlstm.report.style import BASELINES, COLOURS, digits, even_steps, spread

# Outlines of the dots around their points. Their shapes differ, so that lines differ in more than their colours.
DOTS = (
    "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0z",
    "m-2.7-2.7h5.4v5.4h-5.4z",
    "m0-3.9l3.9 3.9l-3.9 3.9l-3.9-3.9z",
    "m0-3.8l3.7 6.4h-7.4z",
    "m0 3.8l3.7-6.4h-7.4z",
    "m-1.2-3.6h2.4v2.4h2.4v2.4h-2.4v2.4h-2.4v-2.4h-2.4v-2.4h2.4z",
)
MOST_DOTS = 40
MOST_TICKS = 7


@dataclass(frozen=True)
class Look:
    """The look of a line.

    Attributes:
        style: Its classes in the page's style.
        dot: Index of its dots in `DOTS`; None for a line without dots.
    """

    style: str
    dot: int | None = 0


def looks(names: Sequence[str]) -> dict[str, Look]:
    """Returns the look of each forecaster: baselines always have the same one, others take colours and dots in turn."""
    others = [name for name in names if name not in BASELINES]
    numbers = {name: n for n, name in enumerate(others)}
    # When the colours repeat, the dots differ.
    return {
        name: Look(name)
        if name in BASELINES
        else Look(f"c{(n := numbers[name]) % len(COLOURS)}", (n + n // len(COLOURS)) % len(DOTS))
        for name in names
    }


def plots(key: str, charts: Sequence[Chart | Histogram], look: Mapping[str, Look]) -> Markup:
    """Returns charts beside each other.

    Args:
        key: Start of the ids of the charts, different in each call.
        charts: The charts.
        look: The look of each forecaster.
    """
    drawn = [
        _line_chart(f"{key}{n}", chart, look) if isinstance(chart, Chart) else _bar_chart(f"{key}{n}", chart, look)
        for n, chart in enumerate(charts)
    ]
    return element("div", drawn, class_="plots")


def legend(charts: Iterable[Chart], look: Mapping[str, Look]) -> Markup:
    """Returns the names of all lines of some charts beside pieces of the lines."""

    def piece(look: Look) -> Markup:
        parts = [element("path", d="M1 6H27", class_=f"line {look.style}")]
        parts += [] if look.dot is None else [element("path", d=f"M14 6{DOTS[look.dot]}", class_=f"dot {look.style}")]
        return element("svg", parts, viewBox="0 0 28 12", width=28, height=12, aria_hidden="true", focusable="false")

    lines = {name: _look(name, line, look) for chart in charts for name, line in chart.lines.items()}
    return element("ul", [element("li", piece(one), name) for name, one in lines.items()], class_="legend")


def _look(name: str, line: Line, look: Mapping[str, Look]) -> Look:
    """Returns the look of a line: its forecaster's or its role's, broken or without dots if the line is."""
    full = look[line.like or name] if line.role == "forecast" else Look(line.role, None)
    return Look(full.style + (" broken" if line.dashed else ""), full.dot if line.dots else None)


def _line_chart(key: str, chart: Chart, look: Mapping[str, Look]) -> Markup:
    points = {name: _points(chart, line) for name, line in chart.lines.items()}
    known = [y for pieces in points.values() for piece in pieces for _, y in piece]
    parts: list[Markup] = []
    if chart.empty:
        parts.append(axes.nothing())
    else:
        # An x without a y also takes its space on the axis.
        xs = [float(value) for line in chart.lines.values() for value in line.x if value > 0 or not chart.log_x]
        ends = (WIDE - RIGHT - 6, LEFT + 8) if chart.falling else (LEFT + 8, WIDE - RIGHT - 6)
        ticks = None if chart.ticks is None else [chart.ticks[k] for k in even_steps(len(chart.ticks), MOST_TICKS)]
        scale_x = Scale(xs, *ends, most=MOST_TICKS, whole=chart.whole, tight=True, log=chart.log_x, ticks=ticks)
        ys = [*known, *([] if chart.mark is None else [chart.mark]), *(chart.span or ())]
        ys += [0.0] if chart.from_zero and not chart.log_y else []
        scale_y = Scale(ys, HIGH - FOOT, TOP, most=5, log=chart.log_y)
        parts += [*axes.rules(scale_y), *axes.foot(scale_x)]
        parts += [] if chart.bars is None else _bars_behind(chart.bars, scale_x, look)
        if chart.mark is not None:
            parts.append(element("path", d=f"M{LEFT} {coordinate(scale_y(chart.mark))}H{WIDE - RIGHT}", class_="mark"))
        # The first forecaster is drawn last, on top of the baselines.
        for name, pieces in reversed(points.items()):
            parts += _line_parts(name, pieces, _look(name, chart.lines[name], look), scale_x, scale_y)
    return axes.framed(key, parts, chart, _in_words(points))


def _points(chart: Chart, line: Line) -> list[list[tuple[float, float]]]:
    """Returns the unbroken pieces of a line."""
    least = -math.inf if chart.least is None else chart.least
    pieces: list[list[tuple[float, float]]] = [[]]
    for x, y in zip(line.x, line.y, strict=True):
        missing = y is None or not math.isfinite(y) or y < least
        if missing or (chart.log_y and y <= 0) or (chart.log_x and x <= 0):  # type: ignore[operator]
            pieces.append([])
        else:
            pieces[-1].append((float(x), float(y)))  # type: ignore[arg-type]
    return [piece for piece in pieces if piece]


def _line_parts(name: str, pieces: list[list[tuple[float, float]]], look: Look, x: Scale, y: Scale) -> list[Markup]:
    parts = []
    for piece in pieces:
        path = "L".join(f"{coordinate(x(a))} {coordinate(y(b))}" for a, b in piece)
        parts.append(element("path", d=f"M{path}", class_=f"line {look.style}"))
    if look.dot is not None:
        points = [point for piece in pieces for point in piece]
        # A few of many points are enough to tell lines apart. A piece of one point is visible only as its dot.
        dots = points if len(points) <= MOST_DOTS else [points[k] for k in spread(len(points), 8)]
        dots += [piece[0] for piece in pieces if len(piece) == 1 and piece[0] not in dots]
        for a, b in dots:
            words = element("title", f"{name}, {a:g}: {digits(b)}")
            path = f"M{coordinate(x(a))} {coordinate(y(b))}{DOTS[look.dot]}"
            parts.append(element("path", words, d=path, class_=f"dot {look.style}"))
    return parts


def _bars_behind(bars: Bars, x: Scale, look: Mapping[str, Look]) -> list[Markup]:
    """Returns bars in the lowest quarter of the chart, with logarithmic heights."""
    wide = 0.7 * (x.end - x.start) / max(len(bars.x) - 1, 1)
    highest = math.log10(2 * max(*bars.counts, 1))
    parts = []
    for place, count in zip(bars.x, bars.counts, strict=True):
        if not count:
            continue
        left, right = max(x(place) - wide / 2, LEFT), min(x(place) + wide / 2, WIDE - RIGHT)
        high = math.log10(2 * count) / highest * (HIGH - FOOT - TOP) / 4
        path = f"M{coordinate(left)} {HIGH - FOOT}V{coordinate(HIGH - FOOT - high)}H{coordinate(right)}V{HIGH - FOOT}z"
        parts.append(element("path", d=path, class_=f"bar faint {look[bars.like].style}"))
    return parts


def _bar_chart(key: str, chart: Histogram, look: Mapping[str, Look]) -> Markup:
    heights = chart.heights
    if not heights:
        return axes.framed(key, [axes.nothing()], chart, "no value.")
    step = (WIDE - RIGHT - LEFT) / len(heights)
    scale = Scale([0.0, *heights, chart.mark], HIGH - FOOT, TOP, most=5)
    parts = axes.rules(scale)
    for n, height in enumerate(heights):
        left, right = LEFT + step * (n + 0.08), LEFT + step * (n + 0.92)
        path = f"M{coordinate(left)} {HIGH - FOOT}V{coordinate(scale(height))}H{coordinate(right)}V{HIGH - FOOT}z"
        value = element("title", f"{n}: {digits(height)}")
        parts.append(element("path", value, d=path, class_=f"bar {look[chart.like].style}"))
    for n in spread(len(heights), 12 if len(heights) <= 12 else 6):
        parts.append(element("text", n, x=coordinate(LEFT + step * (n + 0.5)), y=HIGH - FOOT + 16, class_="tick mid"))
    parts.append(element("path", d=f"M{LEFT} {coordinate(scale(chart.mark))}H{WIDE - RIGHT}", class_="mark over"))
    words = f"Below all members {heights[0]:.1%}, above all {heights[-1]:.1%}; flat is {chart.mark:.1%} each."
    return axes.framed(key, parts, chart, words)


def _in_words(points: Mapping[str, list[list[tuple[float, float]]]]) -> str:
    """Returns the first and the last value of each line in words."""
    words = []
    for name, pieces in points.items():
        known = [point for piece in pieces for point in piece]
        if not known:
            words.append(f"{name}: no value.")
        elif len(known) == 1:
            words.append(f"{name}: {digits(known[0][1])} at {known[0][0]:g}.")
        else:
            (first, start), (last, end) = known[0], known[-1]
            words.append(f"{name}: from {digits(start)} at {first:g} to {digits(end)} at {last:g}.")
    return " ".join(words)
