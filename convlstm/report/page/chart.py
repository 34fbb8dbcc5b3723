"""Line charts as SVG inside a page: coloured by its style, read out by their title and description."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from convlstm.report.page import axes
from convlstm.report.page.axes import FOOT, HIGH, LEFT, RIGHT, TOP, WIDE, Scale, at
from convlstm.report.page.markup import Markup, element
from convlstm.report.style import BASELINES, COLOURS, digits, spread

# The outlines of the points around their places: lines differ in more than their colours.
DOTS = (
    "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0z",
    "m-2.7-2.7h5.4v5.4h-5.4z",
    "m0-3.9l3.9 3.9l-3.9 3.9l-3.9-3.9z",
    "m0-3.8l3.7 6.4h-7.4z",
    "m0 3.8l3.7-6.4h-7.4z",
    "m-1.2-3.6h2.4v2.4h2.4v2.4h-2.4v2.4h-2.4v-2.4h-2.4v-2.4h2.4z",
)
MOST_DOTS = 40


@dataclass(frozen=True)
class Look:
    """How a line looks.

    Attributes:
        style: Its classes in the page's style.
        dot: Which of the `DOTS` its points are; None for a line without points.
    """

    style: str
    dot: int | None = 0


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        x, y: Its points; those whose y is not finite are left out, and the line is broken there.
        look: How it looks.
    """

    x: Sequence[float]
    y: Sequence[float | None]
    look: Look


@dataclass(frozen=True)
class Bars:
    """Bars behind the lines of a chart, over its lowest quarter.

    Attributes:
        x: Their places, evenly apart and on the x axis.
        share: How high they are, from 0 to 1.
        style: Their classes in the page's style.
    """

    x: Sequence[float]
    share: Sequence[float]
    style: str


TRUTH = Look("truth", None)
GUIDE = Look("guide", None)


def looks(names: Sequence[str]) -> dict[str, Look]:
    """How each forecaster's line looks: a baseline has a colour and dashes of its own, else both go on in turn."""
    others = [name for name in names if name not in BASELINES]
    places = {name: n for n, name in enumerate(others)}
    # After as many as there are colours, the same colours have other points.
    return {
        name: Look(name)
        if name in BASELINES
        else Look(f"c{(n := places[name]) % len(COLOURS)}", (n + n // len(COLOURS)) % len(DOTS))
        for name in names
    }


def legend(lines: Mapping[str, Look]) -> Markup:
    """Names beside pieces of their lines."""

    def piece(look: Look) -> Markup:
        parts = [element("path", d="M1 6H27", class_=f"line {look.style}")]
        parts += [] if look.dot is None else [element("path", d=f"M14 6{DOTS[look.dot]}", class_=f"dot {look.style}")]
        return element("svg", parts, viewBox="0 0 28 12", width=28, height=12, aria_hidden="true", focusable="false")

    return element("ul", [element("li", piece(look), name) for name, look in lines.items()], class_="legend")


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
    log_x: bool = False,
    falling: bool = False,
    whole: bool = False,
    ticks: Sequence[float] | None = None,
    span: tuple[float, float] | None = None,
    bars: Bars | None = None,
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
        log_x: The same of the x axis. Default: False.
        falling: Whether x falls from left to right. Default: False.
        whole: Whether the values of x are whole numbers. Default: False.
        ticks: Those of the x axis. Default: round numbers.
        span: Values that the y axis reaches at least. Default: those of the lines.
        bars: What stands behind the lines. Default: nothing.
    """
    points = {name: _points(line, log, log_x) for name, line in lines.items()}
    known = [y for pieces in points.values() for piece in pieces for _, y in piece]
    parts: list[Markup] = []
    if known:
        # Where a line has no value, there is a place for it all the same.
        xs = [float(value) for line in lines.values() for value in line.x if value > 0 or not log_x]
        ends = (WIDE - RIGHT - 6, LEFT + 8) if falling else (LEFT + 8, WIDE - RIGHT - 6)
        scale_x = Scale(xs, *ends, most=7, whole=whole, tight=True, log=log_x, ticks=ticks)
        ys = [*known, *([] if mark is None else [mark]), *([0.0] if from_zero and not log else []), *(span or ())]
        scale_y = Scale(ys, HIGH - FOOT, TOP, most=5, log=log)
        parts += [*axes.rules(scale_y), *axes.foot(scale_x)]
        parts += [] if bars is None else _behind(bars, scale_x)
        if mark is not None:
            parts.append(element("path", d=f"M{LEFT} {at(scale_y(mark))}H{WIDE - RIGHT}", class_="mark"))
        # The first one on top: baselines come last.
        for name, pieces in reversed(points.items()):
            parts += _drawn(name, pieces, lines[name].look, scale_x, scale_y)
    else:
        parts.append(axes.nothing())
    return axes.framed(key, parts, title=title, x=x, y=y, note=note, told=_told(lines, points))


def _points(line: Line, log: bool, log_x: bool) -> list[list[tuple[float, float]]]:
    """The unbroken pieces of a line."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for x, y in zip(line.x, line.y, strict=True):
        if y is None or not math.isfinite(y) or (log and y <= 0) or (log_x and x <= 0):
            pieces.append([])
        else:
            pieces[-1].append((float(x), float(y)))
    return [piece for piece in pieces if piece]


def _drawn(name: str, pieces: list[list[tuple[float, float]]], look: Look, x: Scale, y: Scale) -> list[Markup]:
    parts = []
    for piece in pieces:
        path = "L".join(f"{at(x(a))} {at(y(b))}" for a, b in piece)
        parts.append(element("path", d=f"M{path}", class_=f"line {look.style}"))
    if look.dot is not None:
        every = [point for piece in pieces for point in piece]
        # Of many points a few are enough to tell the lines apart; a piece of one point is seen by its dot alone.
        chosen = every if len(every) <= MOST_DOTS else [every[k] for k in spread(len(every), 8)]
        chosen += [piece[0] for piece in pieces if len(piece) == 1 and piece[0] not in chosen]
        for a, b in chosen:
            told = element("title", f"{name}, {a:g}: {digits(b)}")
            place = f"M{at(x(a))} {at(y(b))}{DOTS[look.dot]}"
            parts.append(element("path", told, d=place, class_=f"dot {look.style}"))
    return parts


def _behind(bars: Bars, x: Scale) -> list[Markup]:
    wide = 0.7 * (x.end - x.start) / max(len(bars.x) - 1, 1)
    parts = []
    for place, share in zip(bars.x, bars.share, strict=True):
        if not share:
            continue
        left, right = max(x(place) - wide / 2, LEFT), min(x(place) + wide / 2, WIDE - RIGHT)
        high = share * (HIGH - FOOT - TOP) / 4
        path = f"M{at(left)} {HIGH - FOOT}V{at(HIGH - FOOT - high)}H{at(right)}V{HIGH - FOOT}z"
        parts.append(element("path", d=path, class_=f"bar faint {bars.style}"))
    return parts


def _told(lines: Mapping[str, Line], points: Mapping[str, list]) -> str:
    told = []
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
