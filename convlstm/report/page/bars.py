"""Bar charts as SVG inside a page."""

from __future__ import annotations

import math
from collections.abc import Sequence

from convlstm.report.page import axes
from convlstm.report.page.axes import FOOT, HIGH, LEFT, RIGHT, TOP, WIDE, Scale, at
from convlstm.report.page.markup import Markup, element
from convlstm.report.style import digits, spread


def bar_chart(
    key: str,
    values: Sequence[float],
    *,
    title: str,
    x: str,
    y: str,
    told: str,
    style: str,
    note: str = "",
    mark: float | None = None,
) -> Markup:
    """A bar for each value, at 0, 1, 2, ...

    Args:
        key: Starts the ids of the chart; no two charts of a page have the same one.
        values: How high they are, none of them negative. There is no chart but its words where one is not finite.
        title: What it shows.
        x, y: What the axes say, with the units.
        told: What is to be seen, for those who cannot see it.
        style: The classes of the bars in the page's style.
        note: What is best. Default: nothing.
        mark: A value that gets a line across. Default: none.
    """
    parts: list[Markup] = []
    if len(values) and all(map(math.isfinite, values)):
        step = (WIDE - RIGHT - LEFT) / len(values)
        scale_y = Scale([0.0, *values, *([] if mark is None else [mark])], HIGH - FOOT, TOP, most=5)
        parts += axes.rules(scale_y)
        for n, value in enumerate(values):
            left, right = LEFT + step * (n + 0.08), LEFT + step * (n + 0.92)
            path = f"M{at(left)} {HIGH - FOOT}V{at(scale_y(value))}H{at(right)}V{HIGH - FOOT}z"
            parts.append(element("path", element("title", f"{n}: {digits(value)}"), d=path, class_=f"bar {style}"))
        for n in spread(len(values), 12 if len(values) <= 12 else 6):
            place = at(LEFT + step * (n + 0.5))
            parts.append(element("text", n, x=place, y=HIGH - FOOT + 16, class_="tick mid"))
        if mark is not None:
            parts.append(element("path", d=f"M{LEFT} {at(scale_y(mark))}H{WIDE - RIGHT}", class_="mark over"))
    else:
        parts.append(axes.nothing())
    return axes.framed(key, parts, title=title, x=x, y=y, note=note, told=told)
