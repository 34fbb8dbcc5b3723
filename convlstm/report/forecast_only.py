"""Pictures of forecasts without the truth: one for each frame, or an animation of the inputs and the forecast."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from convlstm.report.frame_animation import frame_figure, pixels, typical_colours, write_gif
from convlstm.report.rain_animation import rain_figure
from convlstm.report.rain_drawing import RainScale, rain_scale
from convlstm.report.style import DPI, lead_time

import numpy as np
from matplotlib.figure import Figure


def forecast_only_frames(
    folder: str | Path,
    forecast: np.ndarray,
    *,
    inputs: np.ndarray | None = None,
    units: str = "",
    issued: np.datetime64 | None = None,
    step: float | None = None,
) -> list[Path]:
    """Draws each frame of a forecast as `frame_01.png`, `frame_02.png`, ...

    Args:
        folder: Folder of the files; created if needed.
        forecast: (T, H, W), or (T, H, W, C) with C of 1 or 3; NaN where missing. The first row is the northern one.
        inputs: Frames before the forecast; they only widen the classes of raw values. Default: none.
        units: "mm/h", "dBZ" or "raw"; "" for values in [0, 1], which are drawn in grey or colour. Default: "".
        issued: Time of the last input (UTC). Default: unknown.
        step: Minutes from frame to frame. Default: unknown.

    Returns:
        The files.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    digits = max(2, len(str(len(forecast))))
    for n, figure in enumerate(_figures(None, forecast, inputs, units, issued, step), 1):
        paths.append(folder / f"frame_{n:0{digits}d}.png")
        figure.savefig(paths[-1], format="png", dpi=DPI, metadata={"Software": "convlstm"})
    return paths


def forecast_only_gif(
    path: str | Path,
    forecast: np.ndarray,
    *,
    inputs: np.ndarray | None = None,
    units: str = "",
    issued: np.datetime64 | None = None,
    step: float | None = None,
    milliseconds: int = 300,
) -> None:
    """Writes the inputs and the forecast as a GIF that loops and rests on the last frame.

    Args:
        path: The file.
        forecast, inputs, units, issued, step: The same as for `forecast_only_frames`.
        milliseconds: Time that a frame is shown for. Default: 300.
    """
    before = 0 if inputs is None else len(inputs)
    frames = forecast if inputs is None else np.concatenate([inputs, forecast])
    sums = [float(np.nansum(frame)) for frame in frames]
    typical = sorted({0, before, int(np.argmax(sums)), len(frames) - 1})
    if units == "" and frames.shape[3:] == (3,):
        typical = typical_colours(len(frames))
    write_gif(path, _figures(inputs, forecast, inputs, units, issued, step), milliseconds, typical=typical)


def forecast_only_images(
    forecast: np.ndarray,
    *,
    inputs: np.ndarray | None = None,
    units: str = "",
    issued: np.datetime64 | None = None,
    step: float | None = None,
) -> Iterator[np.ndarray]:
    """Yields the pictures of the inputs and the forecast, each (H, W, 3) uint8.

    Args:
        forecast, inputs, units, issued, step: The same as for `forecast_only_frames`.
    """
    yield from map(pixels, _figures(inputs, forecast, inputs, units, issued, step))


def _figures(
    before: np.ndarray | None,
    forecast: np.ndarray,
    inputs: np.ndarray | None,
    units: str,
    issued: np.datetime64 | None,
    step: float | None,
) -> Iterator[Figure]:
    """Yields a figure for each frame of `before` and of the forecast."""
    arrays = [np.asarray(frames, np.float32) for frames in (inputs, forecast) if frames is not None]
    missing = any(bool(np.isnan(frames).any()) for frames in arrays)
    scale = None if units == "" else rain_scale("forecast_only_gif", units, None, arrays)
    past = 0 if before is None else len(before)
    frames = forecast if before is None else np.concatenate([before, forecast])
    for t, frame in enumerate(frames):
        yield _figure(frame, t - past + 1, scale, issued, step, missing)


def _figure(
    frame: np.ndarray, lead: int, scale: RainScale | None, issued: Any, step: float | None, missing: bool
) -> Figure:
    frame = np.asarray(frame, np.float32)
    flat = frame[..., 0] if frame.ndim == 3 and frame.shape[-1] == 1 else frame
    if scale is None or flat.ndim == 3:
        panels = {"forecast" if lead > 0 else "input": flat[..., None] if flat.ndim == 2 else flat}
        return frame_figure(panels, lead, step)
    time = None
    if issued is not None and step is not None:
        moment = issued.astype("datetime64[s]") + np.timedelta64(round(lead * step * 60), "s")
        time = f"{str(moment.astype('datetime64[m]')).replace('T', ' ')} UTC"
    # The heading has no room for this beside the time, so it follows the name.
    name = ("forecast" if lead > 0 else "input") + (", hatched = missing" if missing else "")
    return rain_figure({name: flat}, scale, lead_time(lead, step), time, forecast=lead > 0, missing=False)
