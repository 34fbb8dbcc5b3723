"""Pictures of fields such as temperature or wind, in their own units: panels by lead time, and animations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convlstm.evaluation.ranking import squared_error
from convlstm.report.field_scale import error_label, field_scale, in_units, scale_of_field
from convlstm.report.map_animation import map_gif
from convlstm.report.map_drawing import Maps, Scale
from convlstm.report.map_panel import map_panel

import numpy as np
from matplotlib.figure import Figure


def field_panel(
    path: str | Path | None,
    inputs: np.ndarray,
    targets: np.ndarray,
    forecasts: Mapping[str, np.ndarray],
    *,
    field: Any,
    scale: Scale | None = None,
    times: np.ndarray | None = None,
    frame_interval: float | None = None,
    pixel_km: float | None = None,
    title: str | None = None,
    max_columns: int = 6,
) -> Figure:
    """Draws an observed and forecast field, as a PNG.

    Rows are the input, the truth, each forecast, and the error of the first forecast. Columns, missing pixels and
    headings are those of `rain_panel`. Beside each forecast is its root mean square error for this sequence.

    Args:
        path: The file; None only returns the figure.
        inputs: Physical values, (T_in, H, W) or (T_in, H, W, 1). The first row is the northern one.
        targets: (horizon, H, W) or (horizon, H, W, 1).
        forecasts: Arrays of the shape of the targets, by name, in the order of the rows.
        field: Name and units of the field: an object with `name`, `units` and `long_name`, such as
            `convlstm.writers.Quantity`.
        scale: Colours, a return value of `scale_of_field`. Default: from the lowest to the highest observed value.
        times, frame_interval, pixel_km, title, max_columns: The same as for `rain_panel`.

    Raises:
        ValueError: The shapes or the times do not fit each other, there is no forecast, or a value is out of its range.
    """
    maps = Maps.of("field_panel", inputs, targets, forecasts, times, frame_interval)
    first = next(iter(forecasts))
    errors = maps.panels[first] - maps.panels["truth"]
    return map_panel(
        "field_panel",
        path,
        maps,
        scale or _scale(field, maps),
        note=lambda forecast, truth: _rmse(forecast, truth, field),
        remark="RMSE = root mean square error",
        errors={f"error of {first}": errors},
        error_scale=field_scale(error_label(field), [errors], signed=True),
        pixel_km=pixel_km,
        title=title,
        max_columns=max_columns,
    )


def field_gif(
    path: str | Path,
    inputs: np.ndarray,
    targets: np.ndarray,
    forecasts: Mapping[str, np.ndarray],
    *,
    field: Any,
    scale: Scale | None = None,
    times: np.ndarray | None = None,
    frame_interval: float | None = None,
    milliseconds: int = 300,
) -> None:
    """Writes an observed field beside the forecasts as a GIF that loops and rests on the last frame.

    During the inputs every panel shows them. From the first lead time on, forecasts have a coloured frame.

    Args:
        path: The file.
        inputs, targets, forecasts, field, scale, times, frame_interval: The same as for `field_panel`.
        milliseconds: Time that a frame is shown for. Default: 300.

    Raises:
        ValueError: The shapes or the times do not fit each other, there is no forecast, or a value is out of its range.
    """
    maps = Maps.of("field_gif", inputs, targets, forecasts, times, frame_interval)
    map_gif(path, maps, scale or _scale(field, maps), milliseconds)


def _scale(field: Any, maps: Maps) -> Scale:
    return scale_of_field(field, maps.observed, maps.panels.values())


def _rmse(forecast: np.ndarray, truth: np.ndarray, field: Any) -> str | None:
    score = math.sqrt(squared_error(forecast, truth))
    return None if math.isnan(score) else f"RMSE {in_units(f'{score:.3g}', field)}"
