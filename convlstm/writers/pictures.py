"""Pictures of forecasts: a folder with a PNG for each frame, an animated GIF, and a sheet as PDF or SVG."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

from convlstm.backend.plain_files import open_plain
from convlstm.writers.forecast import SOURCE, Forecast, Layer
from convlstm.writers.layer_kinds import CHANCE, SPREAD, kind_of

import numpy as np
from PIL import Image

# Names of the pictures in a folder.
_FRAME = re.compile(r"(frame|forecast|spread|probability)\w*_(\d+|\d{8}T\d{6})\.png")
# Texts by which sheets are recognised, in the first or the last bytes.
_ENDS = 1 << 14
_SHEETS = (b"/Creator (convlstm)", b"<dc:title>convlstm</dc:title>")


def write_frames(path: Path, forecast: Forecast) -> None:
    """Writes a PNG of each frame to a folder, and of each probability and spread of an ensemble."""
    from convlstm.report.forecast_only import forecast_only_frames  # brings matplotlib

    forecast_only_frames(path, **arguments(forecast), extras=_extras(forecast))


def write_gif(path: Path, forecast: Forecast) -> None:
    """Writes the inputs and the forecast as a GIF."""
    from convlstm.report.forecast_only import forecast_only_gif

    forecast_only_gif(path, **arguments(forecast))


def write_pdf(path: Path, forecast: Forecast) -> None:
    """Writes a sheet of maps as PDF: the forecast, its probabilities and its spread at up to four lead times."""
    _write_sheet(path, forecast, "pdf")


def write_svg(path: Path, forecast: Forecast) -> None:
    """Writes the sheet of `write_pdf` as SVG."""
    _write_sheet(path, forecast, "svg")


def are_frames(path: Path) -> bool:
    """Returns True if a folder has nothing but pictures of a forecast."""
    return all(_FRAME.fullmatch(file.name) and is_picture(file) for file in path.iterdir())


def is_picture(path: Path) -> bool:
    """Returns True if a picture's comment says that this project has drawn it."""
    with Image.open(path) as image:
        comment: Any = image.info.get("comment") or image.info.get("Software") or ""
    return (comment.decode(errors="replace") if isinstance(comment, bytes) else str(comment)).startswith(SOURCE)


def is_sheet(path: Path) -> bool:
    """Returns True if a PDF or an SVG says that this project has drawn it."""
    with open_plain(path) as file:
        ends = file.read(_ENDS)
        file.seek(max(0, path.stat().st_size - _ENDS))
        ends += file.read(_ENDS)
    return any(text in ends for text in _SHEETS)


def arguments(forecast: Forecast) -> dict[str, Any]:
    """Returns the arguments of a function that draws a forecast."""
    return {
        "forecast": forecast.values,
        "inputs": forecast.inputs,
        "units": forecast.units,
        "issued": forecast.issued,
        "step": forecast.step,
        "fields": forecast.fields,
        "valid": forecast.valid,
        "lines": lines_or_none(forecast),
        "title": title_of(forecast),
    }


def lines_or_none(forecast: Forecast) -> Any:
    """Returns the lines of the map, or None if its place is unknown; an unknown projection is a warning."""
    from convlstm.report.coast import NoMapError
    from convlstm.writers.map_lines import lines_of

    if forecast.place is None:
        return None
    try:
        return lines_of(forecast)
    except NoMapError as error:
        warnings.warn(f"[write] the map has no coast: {error}.", stacklevel=3)
        return None


def title_of(forecast: Forecast) -> str | None:
    """Returns the heading of pictures, or None for frames that are no fields."""
    from convlstm.report.forecast_only import scales_of

    if len(forecast.fields) > 1:
        return "Forecast"
    scales = scales_of([forecast.values], forecast.units, forecast.fields)
    if len(scales) != 1:
        return None
    name = re.sub(r" \(.*\)$", "", scales[0].label)  # the unit is beside the colours
    comment = forecast.about.get("comment")
    return f"Forecast of {name}{f', {comment}' if comment else ''}"


def _extras(forecast: Forecast) -> list[Any]:
    """Returns the probabilities and the spread of a single field, in their colours."""
    from convlstm.report.ensemble_scales import chance_scale, spread_scale
    from convlstm.report.forecast_only import Extra, scales_of

    scales = scales_of([forecast.values], forecast.units, forecast.fields)
    if len(scales) != 1:
        return []

    def extra(name: str, layer: Layer) -> Extra:
        title = layer.long_name[:1].upper() + layer.long_name[1:]
        if kind_of(layer) == CHANCE:
            return Extra(name, title, 100 * layer.values, chance_scale())
        unit = "" if forecast.units in ("1", "raw") else forecast.units
        high = float(np.nanmax(layer.values, initial=0))
        return Extra(name, title, layer.values, spread_scale(scales[0], unit, high))

    return [extra(name, layer) for name, layer in forecast.layers.items() if kind_of(layer) in (CHANCE, SPREAD)]


def _write_sheet(path: Path, forecast: Forecast, format: str) -> None:
    from convlstm.report.forecast_only import Extra, scales_of
    from convlstm.report.map_sheet import map_sheet
    from convlstm.report.palettes import GREYS

    arrays = [array for array in (forecast.inputs, forecast.values) if array is not None]
    scales = scales_of(arrays, forecast.units, forecast.fields) or [GREYS]
    values = forecast.values if forecast.values.ndim == 4 else forecast.values[..., None]
    if len(scales) != values.shape[-1]:
        raise ValueError(
            f"[write] a sheet shows fields, but the forecast has {values.shape[-1]} channels that are none, such as "
            "colours. Choose another format: png, gif, mp4."
        )
    fields = [Extra("", scale.label, values[..., n], scale) for n, scale in enumerate(scales)]
    map_sheet(
        path,
        [*fields, *_extras(forecast)],
        step=forecast.step,
        times=forecast.times,
        lines=lines_or_none(forecast),
        title=title_of(forecast),
        format=format,
    )
