"""Power spectra of rain forecasts: how much of the fine detail is left."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convlstm.report.rain import check_count, check_positive, check_units
from convlstm.report.style import INK, dress, lead_time, line_styles, name_ends, save, spread, subplots

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator, StrMethodFormatter

# What the power is of, by the units of the field.
POWER = {"mm/h": "power of log(1 + rain rate in mm/h)", "dBZ": "power (dBZ\u00b2)", "raw": "power (raw value\u00b2)"}


def spectra(
    path: str | Path,
    spectra: Mapping[str, Mapping[str, Any]],
    *,
    units: str = "mm/h",
    title: str | None = None,
    frame_interval: float | None = None,
    max_panels: int = 3,
) -> None:
    """Draws radially averaged power spectra of the truth and of every forecast, a panel per lead time, as a PNG.

    A forecast whose line falls below the truth's at short waves is blurred there. The axis of power ends a hundredth
    below the least power of the truth; lines may leave the panel there.

    Args:
        path: The file.
        spectra: By forecaster, what `RainMetrics.spectrum` returns. The truth is the first one's. Wavelengths are in
            km where it has them, else in pixels.
        units: Of the fields: "mm/h", "dBZ" or "raw". Default: "mm/h".
        title: Heading of the picture. Default: none.
        frame_interval: Minutes between two frames. Default: unknown, headings count frames.
        max_panels: At most this many lead times, evenly spread, of those that have a spectrum. Default: 3.

    Raises:
        ValueError: There is no forecaster, no lead time has a spectrum, the spectra do not fit each other, or a value
            is out of its range.
    """
    how: dict[str, Any] = {"units": units, "title": title, "frame_interval": frame_interval, "max_panels": max_panels}
    save(draw_spectra(spectra, **how), path)


def draw_spectra(
    spectra: Mapping[str, Mapping[str, Any]],
    *,
    units: str = "mm/h",
    title: str | None = None,
    frame_interval: float | None = None,
    max_panels: int = 3,
) -> Figure:
    check_units("spectra", units)
    check_positive("spectra", "frame_interval", frame_interval)
    check_count("spectra", "max_panels", max_panels)
    if not spectra:
        raise ValueError("[spectra] 'spectra' must name at least one forecaster but is empty.")
    first = next(iter(spectra.values()))
    truth = np.asarray(first["target"], float)
    powers = {name: np.asarray(spectrum["forecast"], float) for name, spectrum in spectra.items()}
    for name, power in powers.items():
        if power.shape != truth.shape:
            raise ValueError(
                f"[spectra] the spectra of '{name}' must have the shape of the truth's, {truth.shape}, "
                f"but got {power.shape}."
            )
    leads = np.flatnonzero(np.isfinite(truth).all(axis=1))
    if not leads.size:
        raise ValueError("[spectra] no lead time has a spectrum: no frame had all of its pixels.")
    leads = leads[spread(len(leads), max_panels)]
    unit = "km" if "wavelength_km" in first else "px"
    wavelength = np.asarray(first[f"wavelength_{unit}"], float)

    figure, grid = subplots(len(leads), title)
    styles = line_styles(powers)
    for axes, lead in zip(grid, leads.tolist(), strict=True):
        lines = {"truth": (truth[lead], INK, "-")} | {name: (p[lead], *styles[name]) for name, p in powers.items()}
        for name, (power, colour, line) in lines.items():
            drawn = np.where(power > 0, power, np.nan)
            axes.plot(wavelength, drawn, line, color=colour, linewidth=2.5 if name == "truth" else 2, label=name)
        axes.set(xscale="log", yscale="log", xlim=(wavelength[0], wavelength[-1]))
        positive = truth[lead][truth[lead] > 0]
        if positive.size:
            axes.set_ylim(bottom=max(axes.get_ylim()[0], positive.min() / 100))
        heading = lead_time(lead + 1, frame_interval) + (
            "" if frame_interval is not None else " frames" if lead else " frame"
        )
        dress(axes, heading, "below the truth = blurred", f"wavelength ({unit})", POWER[units])
        axes.xaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), minor_locator=NullLocator())
        axes.xaxis.set(major_formatter=StrMethodFormatter("{x:g}"), minor_formatter=NullFormatter())
        axes.minorticks_off()
        bottom = axes.get_ylim()[0]
        ends = [(max(power[-1], bottom), name, colour) for name, (power, colour, _) in lines.items()]
        name_ends(axes, [end for end in ends if np.isfinite(end[0])], float(wavelength[-1]))
    return figure
