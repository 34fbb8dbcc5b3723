"""What a page says of rain by scale: how well areas are met in windows of rising size, and how sharp forecasts are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from convlstm.evaluation.scoring import Evaluation
from convlstm.evaluation.tables import Column
from convlstm.metrics import score
from convlstm.report.page.chart import GUIDE, TRUTH, Line, legend, line_chart, looks
from convlstm.report.page.markup import Markup, element, table
from convlstm.report.page.scores import columns_table, undefined
from convlstm.report.rain_scores import observed_share
from convlstm.report.rain_spectra import POWER
from convlstm.report.style import digits, lead_time, spread

import numpy as np

MOST_LEADS = 3
MOST_WAVES = 8
USEFUL = "useful skill"


def by_scale(result: Evaluation, rain: Any) -> list[Markup]:
    """FSS by scale and power spectra, with their numbers as tables; nothing where neither was computed.

    Args:
        result: What `evaluate` returned.
        rain: The data: `units`, `pixel_km` and `frame_interval` are told. None where they are unknown.
    """
    windows, window_tables = _windows(result, None if rain is None else rain.pixel_km)
    waves, wave_tables = _spectra(result, rain)
    if not windows and not waves:
        return []
    tables = [*window_tables, *wave_tables]
    return [*windows, *waves, element("details", element("summary", "The same as tables"), tables)]


def _windows(result: Evaluation, pixel_km: float | None) -> tuple[list[Markup], list[Markup]]:
    """A chart of FSS for each threshold, and its tables."""
    names = list(result.scores)
    every = result.scores[names[0]]
    thresholds: dict[str, list[tuple[int, str]]] = {}
    for metric in every:
        parts = score(metric)
        if parts.kind == "fss" and parts.scale is not None:
            thresholds.setdefault(parts.at, []).append((parts.scale, metric))
    if not thresholds:
        return [], []

    unit = "px" if pixel_km is None else "km"
    look = looks(names)
    charts: list[Markup] = []
    tables: list[Markup] = []
    useful = False
    empty = []
    for suffix, chosen in thresholds.items():
        chosen.sort()
        title = score(chosen[0][1]).title
        scales = [scale * (pixel_km or 1) for scale, _ in chosen]
        values = {name: [result.scores[name][metric]["overall"] for _, metric in chosen] for name in names}
        if not any(math.isfinite(value) for known in values.values() for value in known):
            empty.append(title)
            continue
        lines = {name: Line(scales, known, look[name]) for name, known in values.items()}
        share = observed_share(result.scores, suffix)
        if share is not None:
            useful, line = True, 0.5 + share / 2
            lines[USEFUL] = Line([scales[0], scales[-1]], [line, line], GUIDE)
        how: dict[str, Any] = {"title": title, "x": f"side of the window ({unit})", "span": (0.0, 1.0)}
        how |= {"y": "fractions skill score", "note": "higher is better", "log_x": True, "ticks": scales}
        charts.append(line_chart(f"fss{len(charts)}", lines, **how))
        columns: list[Column] = [
            Column([f"{scale:.3g} {unit}", ""], [known[k] for known in values.values()], ".3f", max)
            for k, scale in enumerate(scales)
        ]
        tables.append(columns_table(f"{title}, by side of the window; higher is better", names, columns))
    if not charts:
        return [], []
    told = "How much of the rain is at the right place, if it may be anywhere in a window, over all lead times."
    told += " Above the dotted line a forecast is useful: 0.5 and half the share of the pixels with rain." * useful
    shown = look | ({USEFUL: GUIDE} if useful else {})
    head = element("h3", "Fractions skill score")
    return [head, element("p", told, class_="note"), legend(shown), _grid(charts), *undefined(empty)], tables


def _spectra(result: Evaluation, rain: Any) -> tuple[list[Markup], list[Markup]]:
    """A chart of power by wavelength for some lead times, and its tables."""
    if not result.spectra:
        return [], []
    first = next(iter(result.spectra.values()))
    truth = np.asarray(first["target"], float)
    leads = np.flatnonzero(np.isfinite(truth).all(axis=1)) if truth.size else np.array([], int)
    if not leads.size:
        return [], []
    unit = "km" if "wavelength_km" in first else "px"
    waves = np.asarray(first[f"wavelength_{unit}"], float)
    frame_interval = None if rain is None else rain.frame_interval
    look = looks(list(result.spectra))
    power = POWER["mm/h" if rain is None else rain.units]
    charts: list[Markup] = []
    tables: list[Markup] = []
    for lead in leads[spread(len(leads), MOST_LEADS)].tolist():
        powers = {"truth": truth[lead]}
        powers |= {name: np.asarray(known["forecast"], float)[lead] for name, known in result.spectra.items()}
        when = lead_time(lead + 1, frame_interval) + ("" if frame_interval else " frames" if lead else " frame")
        lines = {
            name: Line(waves.tolist(), _above(known, truth[lead]), TRUTH if name == "truth" else _plain(look[name]))
            for name, known in powers.items()
        }
        how: dict[str, Any] = {"log_x": True, "log": True, "falling": True, "note": "as the truth is best"}
        how |= {"title": f"Power at {when}", "x": f"wavelength ({unit})", "y": power}
        charts.append(line_chart(f"power{len(charts)}", lines, **how))
        tables.append(_powers(f"{power} at {when}, by wavelength", powers, waves, unit))
    told = "How much frames vary at each wavelength. Below the truth a forecast is blurred there, above it too noisy."
    shown = {"truth": TRUTH} | {name: _plain(one) for name, one in look.items()}
    head = element("h3", "Power spectra")
    return [head, element("p", told, class_="note"), legend(shown), _grid(charts)], tables


def _powers(caption: str, powers: dict[str, np.ndarray], waves: np.ndarray, unit: str) -> Markup:
    """Power at some wavelengths, evenly spread on their scale."""
    targets = np.geomspace(waves[0], waves[-1], MOST_WAVES)
    places = sorted({int(np.abs(np.log(waves / target)).argmin()) for target in targets})
    rows = [
        [name, *(digits(known[k]) if np.isfinite(known[k]) else "-" for k in places)] for name, known in powers.items()
    ]
    return table(["forecaster", *(f"{waves[k]:.3g} {unit}" for k in places)], rows, caption=caption)


def _above(power: np.ndarray, truth: np.ndarray) -> list[float | None]:
    """The power, without what is less than a hundredth of the truth's least, which would press the rest together."""
    positive = truth[truth > 0]
    least = positive.min() / 100 if positive.size else 0.0
    return [value if value >= least else None for value in power.tolist()]


def _plain(look: Any) -> Any:
    return type(look)(look.style, None)


def _grid(charts: Sequence[Markup]) -> Markup:
    return element("div", charts, class_="plots")
