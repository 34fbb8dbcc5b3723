"""Charts of rain by scale: the fractions skill score by size of the window, and power spectra by wavelength."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convlstm.evaluation.lead_times import lead_time
from convlstm.metrics import Scores, score
from convlstm.report.chart_descriptions import Chart, Line, check_count, check_positive
from convlstm.report.matplotlib_charts import draw
from convlstm.report.rain_scale import check_units
from convlstm.report.style import spread

import numpy as np
from matplotlib.figure import Figure

POWER = {"mm/h": "power of log(1 + rain rate in mm/h)", "dBZ": "power (dBZ\u00b2)", "raw": "power (raw value\u00b2)"}
"""Title of the axis of power by the units of the field."""


def fss_by_scale(
    path: str | Path | None,
    scores: Mapping[str, Scores],
    *,
    pixel_km: float | None = None,
    title: str | None = None,
) -> Figure:
    """Draws the fractions skill score against scale, a panel for each threshold, a line for each forecaster, as a PNG.

    The score is that of all lead times together. A dotted line marks the useful skill, 0.5 + f / 2, where f is the
    share of the pixels in which the event was observed, if `observed_share` can compute it.

    Args:
        path: The file; None only returns the figure.
        scores: Return values of `RainMetrics.compute`, by forecaster. Scales that one of them lacks are left out.
        pixel_km: Side of a pixel in km. Default: unknown, the axis counts pixels.
        title: Heading of the picture. Default: none.

    Raises:
        ValueError: The score was not computed, or `pixel_km` is not positive.

    Reference:
        Roberts and Lean, "Scale-selective verification of rainfall accumulations from high-resolution forecasts of
        convective events", 2008.
    """
    check_positive("fss_by_scale", "pixel_km", pixel_km)
    charts = fss_charts(scores, pixel_km)
    if not charts:
        raise ValueError("[fss_by_scale] the score 'fss' was not computed.")
    return draw(path, charts, title)


def fss_charts(scores: Mapping[str, Scores], pixel_km: float | None) -> list[Chart]:
    """Returns a chart of the fractions skill score against scale for each threshold; none if it was not computed."""
    first, *others = scores.values() or [{}]
    entries = {name: score(name) for name in first if all(name in other for other in others)}
    entries = {name: entry for name, entry in entries.items() if entry.kind == "fss"}
    charts = []
    for at in dict.fromkeys(entry.at for entry in sorted(entries.values(), key=lambda entry: entry.threshold or 0)):
        names = sorted((entry.scale or 0, name) for name, entry in entries.items() if entry.at == at)
        x = [scale * (pixel_km or 1) for scale, _ in names]
        lines = {
            forecaster: Line(x, [values[name]["overall"] for _, name in names]) for forecaster, values in scores.items()
        }
        share = observed_share(scores, at)
        if share is not None:
            lines["useful skill"] = Line([x[0], x[-1]], [0.5 + share / 2] * 2, role="guide")
        entry = entries[names[0][1]]
        words: dict[str, Any] = {"title": entry.title, "note": entry.note, "choose": entry.choose}
        words |= {"x": f"side of the window ({'px' if pixel_km is None else 'km'})"}
        words |= {"y": "fractions skill score, all lead times"}
        charts.append(Chart(**words, lines=lines, log_x=True, ticks=x, span=(0.0, 1.0)))
    return charts


def observed_share(scores: Mapping[str, Scores], at: str) -> float | None:
    """Returns the share of the pixels in which an event was observed, from the scores that counted the same pixels.

    With the probability of detection p, the bias b, the Heidke skill score h and the share f:

        h = 2 (p - b f) / (1 + b - 2 b f),   so   f = (2 p - h (1 + b)) / (2 b (1 - h))

    Args:
        scores: Return values of `RainMetrics.compute`, by forecaster.
        at: The threshold as in the names of scores, such as "@2mmh".

    Returns:
        The share; None if no forecaster's scores determine it, or if they contradict each other, as they may if the
        forecasters lack different pixels.
    """
    shares = []
    for values in scores.values():
        p, h, b = (values.get(kind + at, {}).get("overall", math.nan) for kind in ("pod", "hss", "bias"))
        if all(map(math.isfinite, (p, h, b))) and b > 0 and h < 1 - 1e-6:
            shares.append((2 * p - h * (1 + b)) / (2 * b * (1 - h)))
    if not shares or max(shares) - min(shares) > 1e-3:
        return None
    return float(np.mean(shares))


def spectra(
    path: str | Path | None,
    spectra: Mapping[str, Mapping[str, Any]],
    *,
    units: str = "mm/h",
    title: str | None = None,
    frame_interval: float | None = None,
    max_panels: int = 3,
) -> Figure:
    """Draws radially averaged power spectra of the truth and of the forecasts, a panel for each lead time, as a PNG.

    A forecast whose line falls below the truth's at short waves is blurred there. The axis of power ends a hundredth
    below the least power of the truth; lines may leave the panel there.

    Args:
        path: The file; None only returns the figure.
        spectra: Return values of `RainMetrics.spectrum`, by forecaster. The truth is that of the first one. Wavelengths
            are in km if it has them, else in pixels.
        units: Units of the fields: "mm/h", "dBZ" or "raw". Default: "mm/h".
        title: Heading of the picture. Default: none.
        frame_interval: Minutes between two frames. Default: unknown, headings count frames.
        max_panels: Largest number of lead times, evenly spread over those that have a spectrum. Default: 3.

    Raises:
        ValueError: There is no forecaster, no lead time has a spectrum, the spectra do not fit each other, or a value
            is out of its range.
    """
    check_units("spectra", units)
    check_positive("spectra", "frame_interval", frame_interval)
    check_count("spectra", "max_panels", max_panels)
    if not spectra:
        raise ValueError("[spectra] 'spectra' must name at least one forecaster but is empty.")
    shape = np.shape(next(iter(spectra.values()))["target"])
    for name, spectrum in spectra.items():
        if np.shape(spectrum["forecast"]) != shape:
            raise ValueError(
                f"[spectra] the spectra of '{name}' must have the shape of the truth's, {shape}, "
                f"but got {np.shape(spectrum['forecast'])}."
            )
    charts = spectrum_charts(spectra, units, frame_interval, max_panels)
    if not charts:
        raise ValueError("[spectra] no lead time has a spectrum: no frame had all of its pixels.")
    return draw(path, charts, title)


def spectrum_charts(
    spectra: Mapping[str, Mapping[str, Any]], units: str, frame_interval: float | None, most: int = 3
) -> list[Chart]:
    """Returns charts of power against wavelength for at most `most` lead times; none if no lead time has a spectrum."""
    first = next(iter(spectra.values()))
    truth = np.asarray(first["target"], float)
    leads = np.flatnonzero(np.isfinite(truth).all(axis=1)) if truth.size else np.array([], int)
    unit = "km" if "wavelength_km" in first else "px"
    waves = np.asarray(first[f"wavelength_{unit}"], float).tolist()
    charts = []
    for lead in leads[spread(len(leads), most)].tolist() if leads.size else []:
        lines = {"truth": Line(waves, truth[lead].tolist(), role="truth")}
        for name, spectrum in spectra.items():
            lines[name] = Line(waves, np.asarray(spectrum["forecast"], float)[lead].tolist(), dots=False)
        when = lead_time(lead + 1, frame_interval) + ("" if frame_interval else " frames" if lead else " frame")
        words: dict[str, Any] = {"title": when, "x": f"wavelength ({unit})", "y": POWER[units]}
        positive = truth[lead][truth[lead] > 0]
        least = positive.min() / 100 if positive.size else None
        scale: dict[str, Any] = {"log_x": True, "log_y": True, "falling": True, "least": least}
        charts.append(Chart(**words, lines=lines, note="below the truth: blurred", **scale))
    return charts
