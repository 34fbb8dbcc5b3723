"""A forecast as one page of HTML: an animated map with coast and borders, which needs no network and no other file."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import convlstm
from convlstm.report.coast import SOURCE as COAST
from convlstm.report.coast import GridLine, MapLines, NoMapError
from convlstm.report.map_drawing import HATCH, MISSING
from convlstm.report.page.document import STYLE, document
from convlstm.report.page.markup import Markup, data, element, table
from convlstm.writers.forecast import Forecast
from convlstm.writers.forecast_page.layers import MEMBER, PageLayer, layers_of
from convlstm.writers.forecast_page.packing import packed
from convlstm.writers.html import GENERATOR
from convlstm.writers.layer_kinds import CHANCE, FORECAST, QUANTILE, SPREAD
from convlstm.writers.map_lines import lines_of

import numpy as np

HERE = Path(__file__).parent
LARGEST = 7_500_000
"""Bytes of all frames of a page, in base64."""
# Layers that have what the others leave, in this order, and the share that those before them may take.
_LAST = {QUANTILE: 1, MEMBER: 2}
_SHARE = 0.65
# Sides of the squares of pixels that are tried one after another.
_SIDES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
# Pixels of lines are written in tenths.
_TENTHS = 10


def page(forecast: Forecast) -> str:
    """Returns a forecast as a page of HTML.

    Raises:
        ValueError: The frames are in colour, or too many for a page.
    """
    layers = layers_of(forecast)
    try:
        lines, missing_lines = lines_of(forecast), ""
    except NoMapError as error:
        lines, missing_lines = None, str(error)
        if forecast.place is not None:
            warnings.warn(f"[write] the map has no coast: {error}.", stacklevel=2)
    palettes = {id(layer.palette): layer.palette for layer in layers}
    order = list(palettes)
    H, W = forecast.values.shape[1:3]
    frames = _within(LARGEST, layers)
    content = {
        "shape": [H, W],
        "times": _times(forecast),
        "past": _past(forecast),
        "issued": None if forecast.issued is None else f"{forecast.issued.astype('datetime64[s]')}Z",
        "step": forecast.step,
        "palettes": [palettes[key].described() for key in order],
        "layers": [
            {
                "title": layer.title,
                "kind": layer.kind,
                "field": layer.field,
                "palette": order.index(id(layer.palette)),
                "share": layer.share,
                "side": side,
                "frames": pictures,
            }
            for layer, (side, pictures) in zip(layers, frames, strict=True)
        ],
        "lines": None if lines is None else _lines(lines),
    }
    return _html(forecast, layers, content, missing_lines)


def _within(largest: int, layers: Sequence[PageLayer]) -> list[tuple[int, list[str]]]:
    """Returns the side of the squares that are averaged, and the frames, of each layer.

    There are groups of layers: most, then quantiles, then members. Those of a group have the same side, the smallest
    one with which they fit into `_SHARE` of what is left, or into all of it if they are the last ones.
    """
    results: dict[int, tuple[int, list[str]]] = {}
    left, side = float(largest), 1
    groups = [[n for n, layer in enumerate(layers) if _LAST.get(layer.kind, 0) == order] for order in range(3)]
    groups = [group for group in groups if group]
    for group in groups:
        room = left if group is groups[-1] else _SHARE * left
        while True:
            results |= {n: (side, packed(layers[n].values, layers[n].palette, side)) for n in group}
            size = sum(len(picture) for n in group for picture in results[n][1])
            if size <= room:
                left -= size
                break
            if side == _SIDES[-1]:
                raise ValueError(
                    f"[write] the page would have more than {largest / 1e6:g} MB. Forecast fewer frames (horizon) or a "
                    "part of them (crop), or leave members out of the products."
                )
            # Compressed frames shrink more slowly than their pixels.
            wanted = side * math.sqrt(size / room)
            side = next((one for one in _SIDES if one > side and one >= wanted * 0.9), _SIDES[-1])
    return [results[n] for n in range(len(layers))]


def _past(forecast: Forecast) -> int:
    """Returns the number of observed frames."""
    observed = forecast.inputs if forecast.observed is None else forecast.observed
    return 0 if observed is None else len(observed)


def _times(forecast: Forecast) -> list[dict[str, Any]]:
    """Returns the lead time in minutes and the time of each frame; None if they are unknown."""
    past = _past(forecast)
    leads, times = forecast.leads, forecast.times
    written = []
    for n in range(-past + 1, len(forecast.values) + 1):
        if n > 0:
            lead = None if leads is None else float(leads[n - 1])
            time = None if times is None else times[n - 1]
        else:
            lead = None if forecast.step is None else n * forecast.step
            known = forecast.issued is not None and lead is not None
            time = forecast.issued + np.timedelta64(round(lead * 60), "s") if known else None  # type: ignore
        written.append({"lead": lead, "time": None if time is None else f"{time.astype('datetime64[s]')}Z"})
    return written


def _lines(lines: MapLines) -> dict[str, Any]:
    """Returns the lines of the map in tenths of pixels, and its longitudes and latitudes."""

    def whole(parts: Sequence[np.ndarray]) -> list[list[int]]:
        return [np.round(part * _TENTHS).astype(int).ravel().tolist() for part in parts]

    def described(line: GridLine) -> dict[str, Any]:
        at = [round(line.at[0], 1), round(line.at[1], 1)]
        return {"label": line.label, "meridian": line.is_meridian, "at": at, "parts": whole(line.parts)}

    degrees = np.where(np.isfinite(lines.degrees), lines.degrees.round(4), np.nan)
    return {
        "coast": whole(lines.coast),
        "borders": whole(lines.borders),
        "grid": [described(line) for line in lines.grid],
        "km": lines.pixel_km,
        "degrees": [[None if np.isnan(value) else float(value) for value in part.ravel()] for part in degrees],
    }


def _html(forecast: Forecast, layers: Sequence[PageLayer], content: dict[str, Any], missing_lines: str) -> str:
    name = next(layer.palette.label for layer in layers if layer.kind == FORECAST)
    name = re.sub(r" \(.*\)$", "", name)  # the unit is beside the colours
    title = f"Forecast of {name}" if len({layer.field for layer in layers}) == 1 else "Forecast"
    style = STYLE.read_text(encoding="utf-8") + (HERE / "page.css").read_text(encoding="utf-8")
    style = style.replace("HATCH", HATCH).replace("MISSING", MISSING)
    scripts = [(HERE / name).read_text(encoding="utf-8") for name in ("map.js", "series.js", "page.js")]
    body = [
        element(
            "header",
            element("h1", title),
            element("p", id="age", class_="note"),
            element("p", id="warning", role="alert", hidden=True),
            element("noscript", element("p", "This page needs JavaScript, which is switched off.")),
        ),
        element("main", _controls(layers), _map(), _place()),
        element("footer", _about(forecast, missing_lines)),
        data(content, id="content"),
    ]
    return document(title, body, generator=GENERATOR, style=style, scripts=scripts)


def _controls(layers: Sequence[PageLayer]) -> Markup:
    """Returns the choice of the layer, the button and the slider."""
    options = []
    for kind in (FORECAST, CHANCE, SPREAD, QUANTILE, MEMBER):
        of_kind = [element("option", layer.title, value=n) for n, layer in enumerate(layers) if layer.kind == kind]
        if of_kind:
            options.append(element("optgroup", of_kind, label=kind))
    return element(
        "div",
        element("label", "Layer", for_="layer"),
        element("select", options, id="layer"),
        element("button", "Play", id="play", type="button"),
        element("input", id="time", type="range", min=0, step=1, aria_label="Time"),
        element("output", id="moment", for_="time"),
        class_="controls",
        id="controls",
    )


def _map() -> Markup:
    """Returns the map, which the script draws, its colours, and the value under the pointer."""
    keys = "Map. Arrow keys move a cross, with Shift by ten pixels; Enter chooses its place."
    return element(
        "section",
        element("div", id="key", class_="key"),
        element(
            "div",
            element("canvas", id="field", aria_hidden="true"),
            element("canvas", id="drawn", aria_hidden="true"),
            id="map",
            tabindex="0",
            role="application",
            aria_label=keys,
        ),
        element("output", id="value", aria_live="polite"),
        aria_label="Map",
    )


def _place() -> Markup:
    """Returns the section of the chosen place."""
    return element(
        "section",
        element("h2", "At one place", id="place-head"),
        element("p", "Click on the map, or move the cross by the arrow keys and press Enter.", id="place"),
        element("div", id="series", class_="plots"),
        element("details", element("summary", "The same as a table"), element("div", id="numbers"), hidden=True),
        aria_labelledby="place-head",
        id="at-place",
    )


def _about(forecast: Forecast, missing_lines: str) -> list[Markup]:
    """Returns what the forecast was made of."""
    made = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    lines = f"Coast and borders: {COAST}." if not missing_lines else f"No coast and no borders: {missing_lines}."
    facts = {
        name: value
        for name, value in forecast.provenance.items()
        if isinstance(value, str | int | float) and not isinstance(value, bool)
    }
    rows = [[name, str(value)] for name, value in facts.items()]
    return [
        element("p", f"Made {made} by convlstm {convlstm.__version__}. {lines}"),
        element(
            "details",
            element("summary", "What the forecast was made of"),
            table(["fact", "value"], rows, caption="Provenance", numbers=False),
        )
        if rows
        else Markup(""),
    ]
