"""Forecasts as animations in the page: the truth beside all forecasts, moved by one slider."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

from convlstm.evaluation.ranking import critical_success, squared_error
from convlstm.evaluation.scoring import Example
from convlstm.metrics import score as score_of
from convlstm.metrics.table import at
from convlstm.report.field_scale import in_units
from convlstm.report.map_drawing import Scale, clock, in_words, stamps
from convlstm.report.page.frames import Album, factor, frame_png, map_png, ramp_png, shrunk
from convlstm.report.page.markup import Markup, data, element
from convlstm.report.rain_scale import RainScale, rain_scale
from convlstm.report.shown_sequences import Shown, field_scales, shown, times_of
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
    """The physical fields that frames stand for.

    Attributes:
        data: A `RainField` or a `FieldData` of `convlstm.evaluation.physical_data`, with two more attributes:
            `frame_interval`, in minutes, and the method `times(split, index)`.
        split: Split of the sequences.
        threshold: Threshold of the score of a frame of rain; None for other fields, which have errors. Default: None.
    """

    data: Any
    split: str
    threshold: float | None = None


@dataclass
class Film:
    """A sequence as an animation.

    Attributes:
        shown: The sequence and its field.
        kind: 'best', 'worst' or 'chosen'.
        panels: (T_in + horizon, H, W, C) by name, the inputs followed by the truth or by a forecast; physical values
            if the frames have any.
        labels: A label for each frame.
        metric: Title of the scores.
        scores: Scores of each lead time and, last, of the whole sequence, by forecaster.
        first: Index of the first lead time.
    """

    shown: Shown
    kind: str
    panels: dict[str, np.ndarray]
    labels: list[str]
    metric: str
    scores: dict[str, list[float]] = field(default_factory=dict)
    first: int = 0

    @property
    def title(self) -> str:
        """Text that names the film: "sequence 3", or "sequence 3, sst" for a field."""
        name = self.shown.name
        return f"sequence {self.shown.index}" + (f", {name}" if name else "")


def films_of(kind: str, example: Example, physical: Field | None) -> list[Film]:
    """Returns the animations of a sequence, one for each field."""
    data: Any = None if physical is None else physical.data
    threshold = None if physical is None else physical.threshold
    count = len(example.inputs) + len(example.truth)
    times = None
    if physical is not None:
        times = clock("write_page", times_of(data, physical.split, example.index, count), count)
    interval = None if data is None else data.frame_interval
    leads = stamps(None, len(example.inputs), range(count), interval)
    labels = [
        ", ".join(
            ["input" if t < len(example.inputs) else "forecast", *leads[t]]
            + ([] if times is None else [in_words(times[t])])
        )
        for t in range(count)
    ]

    def score(frames: np.ndarray, true: np.ndarray) -> float:
        if threshold is not None:
            return critical_success(frames, true, threshold)
        return squared_error(frames, true) if physical is None else math.sqrt(squared_error(frames, true))

    films = []
    for one in shown(example, data):
        panels = {
            name: np.concatenate([one.inputs, frames]) for name, frames in {"truth": one.truth, **one.forecasts}.items()
        }
        panels = {name: np.where(np.isfinite(frames), frames, np.nan) for name, frames in panels.items()}
        scores = {
            name: [*(score(frames[t], one.truth[t]) for t in range(len(frames))), score(frames, one.truth)]
            for name, frames in one.forecasts.items()
        }
        metric = score_of("mse_per_pixel").title
        if threshold is not None:
            metric = score_of(f"csi{at(threshold, data.units)}").title
        elif one.field is not None:
            metric = "RMSE"
        films.append(Film(one, kind, panels, labels, metric, scores, len(one.inputs)))
    return films


@dataclass
class Films:
    """All films of a page and their pictures.

    Attributes:
        films: The films in the order of the page.
        scales: The colours by name of the field, "" for rain; empty for frames in [0, 1].
        album: The pictures.
        indices: For each film, by panel, the index in the album of each frame's picture.
        sizes: For each film, width and height of its pictures.
        times: Factor by which the largest frames are shrunk.
    """

    films: list[Film]
    scales: dict[str, Scale]
    album: Album
    indices: list[dict[str, list[int]]]
    sizes: list[tuple[int, int]]
    times: int


def scales_of(films: Sequence[Film], units: str | None) -> dict[str, Scale]:
    """Returns the colours of the fields by their names; those of rain have the name "".

    Args:
        films: The films, which have common colours.
        units: Units of rain; None for other fields and for frames in [0, 1].
    """
    if units is not None:
        panels = [frames for film in films for frames in film.panels.values()]
        return {"": rain_scale("write_page", units, None, panels)} if films else {}
    return field_scales(film.shown for film in films if film.shown.field is not None)


def drawn_films(films: Sequence[Film], scales: Mapping[str, Scale], *, budget: int = BUDGET) -> Films:
    """Returns films with their pictures, which are shrunk until they have at most `budget` letters together.

    Args:
        films: The films.
        scales: The colours by the name of the field; frames without any are drawn as they are.
        budget: The number of letters. Default: `BUDGET`.
    """
    most = MOST_PIXELS
    while True:
        result = _drawn(films, scales, most)
        if result.album.size <= budget or most <= 16:
            return result
        most = max(16, int(0.9 * most * math.sqrt(budget / result.album.size)))


def _drawn(films: Sequence[Film], scales: Mapping[str, Scale], most: int) -> Films:
    """Returns films with their pictures, which are shrunk until no side has more than `most` pixels."""
    album, indices, sizes, largest = Album(), [], [], 1
    for film in films:
        name_of_field, scale = film.shown.name, scales.get(film.shown.name)
        png = frame_png if scale is None else partial(map_png, scale=scale)
        times = factor([frames.shape[1:3] for frames in film.panels.values()], most)
        largest = max(largest, times)
        of_panels = {}
        for name, frames in film.panels.items():
            small = shrunk(frames, times)
            of_panels[name] = [album.index_of(frame, png, name_of_field) for frame in small]
        indices.append(of_panels)
        sizes.append((small.shape[2], small.shape[1]))
    return Films(list(films), dict(scales), album, indices, sizes, largest)


def film_section(films: Films, n: int) -> Markup:
    """Returns the n-th film as a part of the page."""
    film, indices, (width, height) = films.films[n], films.indices[n], films.sizes[n]
    key, title = f"film{n}", film.title
    at = film.first
    panels = []
    for name in film.panels:
        picture = element(
            "img",
            src=source(films.album.pictures[indices[name][at]]),
            width=width,
            height=height,
            alt=f"{name}, {title}: {film.labels[at]}",
            decoding="async",
        )
        score = _score(film, film.scores[name][0]) if name in film.scores else None
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
        aria_label=f"lead time of {title}",
        aria_valuetext=film.labels[at],
    )
    controls = element(
        "div",
        element("button", "Play", type="button", aria_label=f"Play {title}"),
        slider,
        element("output", film.labels[at], for_=f"{key}-lead", aria_live="off"),
        class_="controls",
        hidden=True,
    )
    whole = [f"{name} {_number(film, scores[-1])}" for name, scores in film.scores.items() if math.isfinite(scores[-1])]
    content = {
        "first": film.first,
        "labels": film.labels,
        "panels": [{"name": name, "frames": indices[name]} for name in film.panels],
        "scores": [
            [_score(film, score) for score in film.scores[name][:-1]] if name in film.scores else None
            for name in film.panels
        ],
    }
    return element(
        "article",
        element("h3", f"S{title[1:]} ", element("span", film.kind, class_="tag"), id=f"{key}-name"),
        element("p", f"{film.metric}: " + ", ".join(whole), class_="note") if whole else None,
        controls,
        element("div", panels, class_="panels wide" if width > WIDE * height else "panels"),
        data(content, class_="film-data"),
        class_="film ahead",
        id=key,
        aria_labelledby=f"{key}-name",
        data_sequence=title.removeprefix("sequence "),
    )


def source(picture: str) -> str:
    """Returns the address of a picture of an album."""
    return f"data:image/png;base64,{picture}"


def colour_keys(films: Films) -> list[Markup]:
    """Returns the keys to the colours, one for each field; none if no colour needs one."""
    missing = any(np.isnan(frames).any() for film in films.films for frames in film.panels.values())
    if not films.scales:
        return [element("p", element("span", class_="swatch sand"), "missing", class_="key")] if missing else []
    return [
        element("div", element("span", scale.label), element("ul", _entries(scale, missing)), class_="key")
        for scale in films.scales.values()
    ]


def _entries(scale: Scale, missing: bool) -> list[Markup]:
    """Returns the entries of a key: the classes of rain, or the colours from the lowest to the highest value."""
    if isinstance(scale, RainScale):
        levels = scale.levels
        names = [f"below {levels[0]:g}", *(f"{low:g}\u2013{high:g}" for low, high in pairwise(levels))]
        items = [*names, f"{levels[-1]:g} or more"]
        entries = [element("li", element("span", class_=f"swatch r{k}"), name) for k, name in enumerate(items)]
    else:
        low, high = (f"{end:.4g}" for end in (scale.norm.vmin or 0.0, scale.norm.vmax or 0.0))
        ramp = base64.b64encode(ramp_png(scale)).decode("ascii")
        picture = element("img", src=source(ramp), alt=f"colours from {low} to {high}", class_="ramp")
        entries = [element("li", low, picture, high)]
    if missing:
        entries.append(element("li", element("span", class_="swatch hatched"), "missing"))
    return entries


def _number(film: Film, value: float) -> str:
    return digits(value) if film.shown.field is None else in_units(digits(value), film.shown.field)


def _score(film: Film, value: float) -> str:
    return f"{film.metric} {_number(film, value) if math.isfinite(value) else chr(0x2013)}"


def pictures(films: Films) -> Markup:
    """Returns all pictures, for the page's script."""
    return data(films.album.pictures, id="pictures")
