"""Pictures of rain: panels by lead time, and animations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from convlstm.evaluation.ranking import critical_success
from convlstm.report.map_animation import map_gif
from convlstm.report.map_drawing import Maps
from convlstm.report.map_panel import map_panel
from convlstm.report.rain_scale import UNITS, rain_scale

import numpy as np
from matplotlib.figure import Figure


def rain_panel(
    path: str | Path | None,
    inputs: np.ndarray,
    targets: np.ndarray,
    forecasts: Mapping[str, np.ndarray],
    *,
    units: str,
    times: np.ndarray | None = None,
    frame_interval: float | None = None,
    pixel_km: float | None = None,
    title: str | None = None,
    levels: Sequence[float] | None = None,
    threshold: float | None = None,
    max_columns: int = 6,
) -> Figure:
    """Draws observed and forecast rain, as a PNG.

    Rows are the input, the truth and each forecast. Columns are frames, at most `max_columns` in a row: at equal steps
    up to the last lead time if possible, else evenly spread. Fields are drawn in classes; pixels that are NaN or
    infinite count as missing and are hatched. Beside each forecast is its critical success index for this sequence over
    all lead times, if the truth or the forecast reaches the threshold.

    Args:
        path: The file; None only returns the figure.
        inputs: Physical values, (T_in, H, W) or (T_in, H, W, 1). The first row is the northern one.
        targets: (horizon, H, W) or (horizon, H, W, 1).
        forecasts: Arrays of the shape of the targets, by name, in the order of the rows.
        units: Units of the values: "mm/h", "dBZ" or "raw".
        times: Times (UTC) of the inputs and the targets, datetime64 of (T_in + horizon,). Default: unknown.
        frame_interval: Minutes between two frames, for the headings. Default: unknown, headings count frames.
        pixel_km: Side of a pixel in km, for the scale bar. Default: unknown, no bar.
        title: Heading of the picture. Default: none.
        levels: Lower limits of the classes, rising. Default: 0.1 to 100 mm/h, 5 to 55 dBZ, or about ten even steps of
            the raw values.
        threshold: Lowest value that the critical success index counts as an event. Default: 2 mm/h or 30 dBZ; raw
            values have no score.
        max_columns: Largest number of frames in a row. Default: 6.

    Raises:
        ValueError: The shapes or the times do not fit each other, there is no forecast, or a value is out of its range.
    """
    maps = Maps.of("rain_panel", inputs, targets, forecasts, times, frame_interval)
    scale = rain_scale("rain_panel", units, levels, maps.observed)
    lowest = UNITS[units][2] if threshold is None else threshold

    def note(forecast: np.ndarray, truth: np.ndarray) -> str | None:
        score = math.nan if lowest is None else critical_success(forecast, truth, lowest)
        return None if math.isnan(score) else f"CSI at {f'{lowest:g} {units}'.removesuffix(' raw')}: {score:.2f}"

    return map_panel(
        "rain_panel",
        path,
        maps,
        scale,
        note=note,
        remark="CSI = hits / (hits + misses + false alarms)",
        pixel_km=pixel_km,
        title=title,
        max_columns=max_columns,
    )


def rain_gif(
    path: str | Path,
    inputs: np.ndarray,
    targets: np.ndarray,
    forecasts: Mapping[str, np.ndarray],
    *,
    units: str,
    times: np.ndarray | None = None,
    frame_interval: float | None = None,
    levels: Sequence[float] | None = None,
    milliseconds: int = 300,
) -> None:
    """Writes observed rain beside the forecasts as a GIF that loops and rests on the last frame.

    During the inputs every panel shows them. From the first lead time on, forecasts have a coloured frame. Classes,
    colours and missing pixels are drawn as in `rain_panel`.

    Args:
        path: The file.
        inputs: Physical values, (T_in, H, W) or (T_in, H, W, 1). The first row is the northern one.
        targets: (horizon, H, W) or (horizon, H, W, 1).
        forecasts: Arrays of the shape of the targets, by name.
        units: Units of the values: "mm/h", "dBZ" or "raw".
        times: Times (UTC) of the inputs and the targets, datetime64 of (T_in + horizon,). Default: unknown.
        frame_interval: Minutes between two frames, for the stamps. Default: unknown, stamps count frames.
        levels: Lower limits of the classes, rising. Default: as in `rain_panel`.
        milliseconds: Time that a frame is shown for. Default: 300.

    Raises:
        ValueError: The shapes or the times do not fit each other, there is no forecast, or a value is out of its range.
    """
    maps = Maps.of("rain_gif", inputs, targets, forecasts, times, frame_interval)
    map_gif(path, maps, rain_scale("rain_gif", units, levels, maps.observed), milliseconds)
