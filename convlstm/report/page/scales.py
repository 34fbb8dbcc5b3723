"""Rain by scale in the page: the fractions skill score by size of the window, and power spectra by wavelength."""

from __future__ import annotations

from typing import Any

from convlstm.evaluation.scoring import Evaluation
from convlstm.report.chart_descriptions import Chart
from convlstm.report.fss_and_spectra import fss_charts, spectrum_charts
from convlstm.report.page.markup import Markup, table
from convlstm.report.page.scores import as_tables, chart_table, group, undefined
from convlstm.report.page.svg import looks
from convlstm.report.style import digits

import numpy as np

MOST_WAVES = 8


def by_scale(result: Evaluation, rain: Any) -> list[Markup]:
    """Returns FSS by scale and power spectra, with their numbers as tables; nothing if neither was computed.

    Args:
        result: The evaluation.
        rain: The data, with `units`, `pixel_km` and `frame_interval`; None if they are unknown.
    """
    look = looks(list(result.scores))
    parts: list[Markup] = []
    tables: list[Markup] = []
    windows = fss_charts(result.scores, None if rain is None else rain.pixel_km)
    defined = [chart for chart in windows if not chart.empty]
    if defined:
        note = "Share of the rain at the right place, if it may be anywhere in a window, over all lead times."
        if any("useful skill" in chart.lines for chart in defined):
            note += " A forecast is useful above the dotted line: 0.5 plus half the share of the pixels with rain."
        parts += group("Fractions skill score", note, "fss", defined, look)
        parts += undefined([chart.title for chart in windows if chart.empty])
        unit = "px" if rain is None or rain.pixel_km is None else "km"
        tables += [chart_table(chart, f"{{:.3g}} {unit}", ".3f") for chart in defined]
    units, interval = ("mm/h", None) if rain is None else (rain.units, rain.frame_interval)
    spectra = spectrum_charts(result.spectra, units, interval) if result.spectra else []
    if spectra:
        note = "Variance of frames at each wavelength. Below the truth a forecast is blurred there, above it too noisy."
        parts += group("Power spectra", note, "power", spectra, look)
        tables += [_powers(chart) for chart in spectra]
    return [*parts, as_tables(tables)] if parts else []


def _powers(chart: Chart) -> Markup:
    """Returns a table of power at some wavelengths, evenly spread on a logarithmic scale."""
    waves = np.array(chart.lines["truth"].x)
    targets = np.geomspace(waves[0], waves[-1], MOST_WAVES)
    indices = sorted({int(np.abs(np.log(waves / target)).argmin()) for target in targets})
    power = {name: np.array(line.y, float) for name, line in chart.lines.items()}
    rows = [[name, *(digits(y[k]) if np.isfinite(y[k]) else "-" for k in indices)] for name, y in power.items()]
    return table(
        ["forecaster", *(f"{waves[k]:.3g}" for k in indices)], rows, caption=f"Power at {chart.title} by {chart.x}"
    )
