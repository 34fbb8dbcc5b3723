"""Maps of a start of an event: `python -m benchmarks.nowcast_pictures --ckpt nowcast --event NAME --start 4 --out PNG`.

Rows are 30 and 60 minutes ahead. Columns are the truth, S-PROG, a member of STEPS, a member, the mean and the median of
the learned ensemble, and its probability of 2 mm/h or more. The members are the first ones. Only what is scored is
drawn: pixels inside the rim at which all forecasts have a value.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.nowcast import add_event_options, chosen
from benchmarks.nowcast_events import EventData, Start
from benchmarks.nowcast_forecasts import Learned, Opponents
from benchmarks.nowcast_sums import TIMES
from convlstm import products
from convlstm.report.map_drawing import Scale, draw_bar, draw_field
from convlstm.report.rain_scale import rain_scale
from convlstm.report.style import INK, SOFT

import matplotlib as mpl
import numpy as np
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure

SHOWN = 2.0
"""The threshold of the probability and of the lines, in mm/h."""
SIDE, GAP, LEFT, BAR, TOP, FOOT = 1.75, 0.06, 0.3, 0.75, 0.55, 0.3
"""Inches: width of a map, gaps, and room at the left, for colour bars, above and below."""


class Probability(Scale):
    """Classes of probability."""

    def bar(self, room: float) -> dict:
        return {"extend": "neither", "ticks": [0.05, 0.2, 0.4, 0.6, 0.8, 1]}


def main() -> None:
    """Draws a start of each event that is chosen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_event_options(parser)
    parser.add_argument("--starts", type=int, default=10, help="starts of the event, as in benchmarks.nowcast")
    parser.add_argument("--start", type=int, default=4, help="the one of them that is drawn, from 0 on")
    parser.add_argument("--out", type=Path, required=True, help="PNG, of a single event")
    options = parser.parse_args()
    events = chosen(options)
    if len(events) != 1:
        raise SystemExit(f"--event must name one event but {len(events)} are chosen.")
    data = EventData(events[0], options.data, options.starts)
    if not 0 <= options.start < len(data):
        raise SystemExit(f"--start must be from 0 to {len(data) - 1} but got {options.start}.")
    start = data[options.start]
    learned = Learned(options.ckpt, options.members)
    with Opponents(options.members, options.python, None) as opponents:
        others = opponents.forecasts(data, start)
    members = learned.members(data, start)
    known = start.known & np.isfinite(others["steps"]).all(axis=0) & np.isfinite(others["sprog"])
    columns = {
        "truth": start.truth,
        "S-PROG": others["sprog"],
        f"STEPS, member 1 of {options.members}": others["steps"][0],
        f"learned, member 1 of {options.members}": members[0],
        "learned, mean": products.mean(members),
        "learned, median": products.median(members),
        f"learned, P({SHOWN:g} mm/h or more)": products.probability(members, SHOWN),
    }
    drawn = {name: np.where(known, field, np.nan)[data.inner] for name, field in columns.items()}
    with mpl.rc_context({"font.family": "DejaVu Sans"}):
        draw(drawn, data, start).savefig(options.out)
    print(f"{options.out} is written.")


def draw(columns: dict[str, np.ndarray], data: EventData, start: Start) -> Figure:
    """Returns the figure of columns (T, H, W) by name: rain, of which the first is the truth, and a probability last.

    Args:
        columns: In mm/h, and a share; NaN where nothing is drawn.
        data: The event.
        start: The start.
    """
    *_, last = columns
    leads = [round(time / data.minutes) - 1 for time in TIMES]
    truth = next(iter(columns.values()))
    rain = rain_scale("nowcast", "mm/h", None, [truth])
    # Another hue than rain's.
    purples = mpl.colormaps["Purples"](np.linspace(0.2, 1, 10))
    colours = ListedColormap(list(purples)).with_extremes(under="#f7f8f9", bad=(0, 0, 0, 0))
    shares = Probability(colours, BoundaryNorm([0.05, *np.arange(1, 11) / 10], 10), "probability", "probability")
    height = SIDE * truth.shape[1] / truth.shape[2]
    size = LEFT + len(columns) * (SIDE + GAP) + 2 * BAR, TOP + len(leads) * (height + GAP) + FOOT
    figure = Figure(figsize=size, dpi=110)

    def place(x: float, y: float, width: float, tall: float) -> tuple[float, float, float, float]:
        return x / size[0], 1 - (y + tall) / size[1], width / size[0], tall / size[1]

    for row, (lead, time) in enumerate(zip(leads, TIMES, strict=True)):
        y = TOP + row * (height + GAP)
        for column, (name, field) in enumerate(columns.items()):
            axes = figure.add_axes(place(LEFT + column * (SIDE + GAP), y, SIDE, height))
            draw_field(axes, field[lead], shares if name == last else rain, SIDE * figure.dpi)
            axes.contour(np.ma.masked_invalid(truth[lead]), [SHOWN], colors="black", linewidths=0.6)
            if row == 0:
                axes.set_title(name, size=8.5, loc="left", pad=3, color=INK)
            if column == 0:
                axes.set_ylabel(f"{time} min", size=9, color=INK)
    bars, tall = LEFT + len(columns) * (SIDE + GAP) + 0.02, len(leads) * (height + GAP) - GAP
    for number, scale in enumerate((rain, shares)):
        draw_bar(figure, figure.add_axes(place(bars + number * BAR, TOP, 0.13, tall)), scale)
    at = str(start.times[-data.leads - 1].astype("datetime64[m]")).replace("T", " ")
    figure.text(LEFT / size[0], 1 - 0.22 / size[1], f"{data.event.name}: forecasts from {at} UTC", size=11, color=INK)
    sides = " x ".join(f"{side * data.pixel_km:.0f}" for side in truth.shape[1:])
    note = (
        f"{sides} km. Lines: {SHOWN:g} mm/h in truth. Hatched: not scored, because a radar or a forecast has no value."
    )
    figure.text(LEFT / size[0], 0.1 / size[1], note, size=8, color=SOFT)
    return figure


if __name__ == "__main__":
    main()
