"""Forecasts as animations in the page: the truth beside all forecasts, moved by one slider."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

from convlstm.evaluation.ranking import critical_success, squared_error
from convlstm.evaluation.scoring import Evaluation, Example
from convlstm.report.page.frames import Album, factor, frame_png, rain_png, shrunk
from convlstm.report.page.markup import Markup, data, element
from convlstm.report.rain_drawing import RainScale, clock, rain_scale, stamps
from convlstm.report.style import digits

import numpy as np

MOST_PIXELS = 384
"""Largest side of a frame."""

BUDGET = 13_500_000
"""Largest number of letters of all pictures together, so that the page has at most 15 MB."""

WIDE = 3
"""Ratio of width to height above which frames are placed below each other."""


@dataclass(frozen=True)
class Field:
    """The physical field that frames stand for.

    Attributes:
        data: A `convlstm.evaluation.scoring.RainField`, which turns frames into physical values, with two more
            attributes: `frame_interval`, in minutes, and the method `times(split, index)`.
        split: Split of the sequences.
        threshold: Threshold of the score of a frame.
    """

    data: Any
    split: str
    threshold: float

    def times(self, index: int, count: int) -> np.ndarray | None:
        """Returns the times of the first frames of a sequence; None if they are unknown."""
        times = self.data.times(self.split, index)
        return None if times is None else times[:count]


@dataclass
class Film:
    """A sequence as an animation.

    Attributes:
        index: Index of the sequence.
        kind: 'best', 'worst' or 'chosen'.
        panels: (T_in + horizon, H, W, C) by name, the inputs followed by the truth or by a forecast; physical values
            if the frames have any.
        labels: A label for each frame.
        scores: Scores of each lead time and, last, of the whole sequence, by forecaster.
        first: Index of the first lead time.
    """

    index: int
    kind: str
    panels: dict[str, np.ndarray]
    labels: list[str]
    scores: dict[str, list[float]] = field(default_factory=dict)
    first: int = 0


def selected(result: Evaluation) -> list[tuple[str, Example]]:
    """Returns the sequences to show, each once, with their kind: the best, the worst, the chosen ones."""
    ranked = [("best", case.example) for case in result.best] + [("worst", case.example) for case in result.worst]
    indices = {example.index for _, example in ranked}
    return ranked + [("chosen", example) for example in result.examples if example.index not in indices]


def film_of(kind: str, example: Example, rain: Field | None) -> Film:
    """Returns the animation of a sequence, without the forecast of zeros, which shows nothing."""
    physical = np.asarray if rain is None else rain.data.physical
    inputs, truth = physical(example.inputs), example.truth
    forecasts = {name: physical(frames) for name, frames in example.forecasts.items() if name != "zeros"}
    panels = {
        name: np.where(np.isfinite(frames), frames, np.nan)
        for name, frames in (
            (name, np.concatenate([inputs, frames])) for name, frames in {"truth": truth, **forecasts}.items()
        )
    }

    def score(frames: np.ndarray, true: np.ndarray) -> float:
        return squared_error(frames, true) if rain is None else critical_success(frames, true, rain.threshold)

    count = len(inputs) + len(truth)
    interval = None if rain is None else rain.data.frame_interval
    times = None if rain is None else clock("write_page", rain.times(example.index, count), count)
    leads = stamps(None, len(inputs), range(count), interval)
    labels = [
        ", ".join(
            ["input" if t < len(inputs) else "forecast", *leads[t]]
            + ([] if times is None else [f"{times[t].replace('T', ' ')} UTC"])
        )
        for t in range(count)
    ]
    scores = {
        name: [*(score(frames[t], truth[t]) for t in range(len(truth))), score(frames, truth)]
        for name, frames in forecasts.items()
    }
    return Film(example.index, kind, panels, labels, scores, len(inputs))


@dataclass
class Films:
    """All films of a page and their pictures.

    Attributes:
        films: The films in the order of the page.
        metric: Title of their scores.
        scale: The classes of a physical field; None for frames in [0, 1].
        album: The pictures.
        indices: For each film, by panel, the index in the album of each frame's picture.
        sizes: For each film, width and height of its pictures.
        times: Factor by which the largest frames are shrunk.
    """

    films: list[Film]
    metric: str
    scale: RainScale | None
    album: Album
    indices: list[dict[str, list[int]]]
    sizes: list[tuple[int, int]]
    times: int


def drawn_films(films: Sequence[Film], metric: str, units: str | None, *, budget: int = BUDGET) -> Films:
    """Returns films with their pictures, which are shrunk until they have at most `budget` letters together."""
    scale = None
    if units is not None and films:
        scale = rain_scale("write_page", units, None, [frames for film in films for frames in film.panels.values()])
    most = MOST_PIXELS
    while True:
        result = _drawn(films, metric, scale, most)
        if result.album.size <= budget or most <= 16:
            return result
        most = max(16, int(0.9 * most * math.sqrt(budget / result.album.size)))


def _drawn(films: Sequence[Film], metric: str, scale: RainScale | None, most: int) -> Films:
    """Returns films with their pictures, which are shrunk until no side has more than `most` pixels."""
    album, indices, sizes, largest = Album(), [], [], 1
    png = frame_png if scale is None else partial(rain_png, scale=scale)
    for film in films:
        times = factor([frames.shape[1:3] for frames in film.panels.values()], most)
        largest = max(largest, times)
        of_panels = {}
        for name, frames in film.panels.items():
            small = shrunk(frames, times)
            of_panels[name] = [album.index_of(frame, png) for frame in small]
        indices.append(of_panels)
        sizes.append((small.shape[2], small.shape[1]))
    return Films(list(films), metric, scale, album, indices, sizes, largest)


def film_section(films: Films, n: int) -> Markup:
    """Returns the n-th film as a part of the page."""
    film, indices, (width, height) = films.films[n], films.indices[n], films.sizes[n]
    key = f"film{n}"
    at = film.first
    panels = []
    for name in film.panels:
        picture = element(
            "img",
            src=source(films.album.pictures[indices[name][at]]),
            width=width,
            height=height,
            alt=f"{name}, sequence {film.index}: {film.labels[at]}",
            decoding="async",
        )
        score = _score(films.metric, film.scores[name][0]) if name in film.scores else None
        caption = [element("b", name), element("span", score, class_="score")]
        panels.append(element("figure", element("figcaption", caption), picture, class_="panel"))
    slider = element(
        "input",
        type="range",
        id=f"{key}-lead",
        min=0,
        max=len(film.labels) - 1,
        step=1,
        value=at,
        autocomplete="off",
        aria_label=f"lead time of sequence {film.index}",
        aria_valuetext=film.labels[at],
    )
    controls = element(
        "div",
        element("button", "Play", type="button", aria_label=f"Play sequence {film.index}"),
        slider,
        element("output", film.labels[at], for_=f"{key}-lead", aria_live="off"),
        class_="controls",
        hidden=True,
    )
    whole = [f"{name} {digits(scores[-1])}" for name, scores in film.scores.items() if math.isfinite(scores[-1])]
    content = {
        "first": film.first,
        "labels": film.labels,
        "panels": [{"name": name, "frames": indices[name]} for name in film.panels],
        "scores": [
            [_score(films.metric, score) for score in film.scores[name][:-1]] if name in film.scores else None
            for name in film.panels
        ],
    }
    return element(
        "article",
        element("h3", f"Sequence {film.index} ", element("span", film.kind, class_="tag"), id=f"{key}-name"),
        element("p", f"{films.metric}: " + ", ".join(whole), class_="note") if whole else None,
        controls,
        element("div", panels, class_="panels wide" if width > WIDE * height else "panels"),
        data(content, class_="film-data"),
        class_="film ahead",
        id=key,
        aria_labelledby=f"{key}-name",
        data_sequence=film.index,
    )


def source(picture: str) -> str:
    """Returns the address of a picture of an album."""
    return f"data:image/png;base64,{picture}"


def colour_key(films: Films) -> Markup | None:
    """Returns the key to the colours; None if no colour needs one."""
    missing = any(np.isnan(frames).any() for film in films.films for frames in film.panels.values())
    if films.scale is None:
        return element("p", element("span", class_="swatch sand"), "missing", class_="key") if missing else None
    levels = films.scale.levels
    names = [f"below {levels[0]:g}", *(f"{low:g}\u2013{high:g}" for low, high in pairwise(levels))]
    items = [*names, f"{levels[-1]:g} or more"]
    entries = [element("li", element("span", class_=f"swatch r{k}"), name) for k, name in enumerate(items)]
    if missing:
        entries.append(element("li", element("span", class_="swatch hatched"), "missing"))
    return element("div", element("span", films.scale.label), element("ul", entries), class_="key")


def _score(metric: str, value: float) -> str:
    return f"{metric} {digits(value)}" if math.isfinite(value) else f"{metric} \u2013"


def pictures(films: Films) -> Markup:
    """Returns all pictures, for the page's script."""
    return data(films.album.pictures, id="pictures")
