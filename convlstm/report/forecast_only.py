"""Pictures of forecasts without the truth: one for each frame, or an animation of the inputs and the forecast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convlstm.evaluation.lead_times import lead_time
from convlstm.report.coast import MapLines
from convlstm.report.field_scale import scale_of_field
from convlstm.report.frame_animation import frame_figure, pixels, typical_colours, write_gif
from convlstm.report.map_animation import LARGEST, map_figure
from convlstm.report.map_drawing import Scale, in_words
from convlstm.report.rain_scale import rain_scale
from convlstm.report.style import DPI

import numpy as np
from matplotlib.figure import Figure

# Longer side in pixels of the map in a picture for a slide.
_LARGE = 900


@dataclass(frozen=True)
class Extra:
    """A field that is drawn beside the forecast, in pictures of its own.

    Attributes:
        name: Beginning of the names of its files.
        title: Heading of its pictures.
        values: (T, H, W), NaN where missing.
        scale: Colours of the values.
    """

    name: str
    title: str
    values: np.ndarray
    scale: Scale


def forecast_only_frames(
    folder: str | Path,
    forecast: np.ndarray,
    *,
    inputs: np.ndarray | None = None,
    units: str = "",
    fields: Sequence[Any] = (),
    issued: np.datetime64 | None = None,
    step: float | None = None,
    valid: np.ndarray | None = None,
    lines: MapLines | None = None,
    title: str | None = None,
    extras: Sequence[Extra] = (),
) -> list[Path]:
    """Draws each frame of a forecast as a PNG named after its valid time, such as `forecast_20100826T074000.png`.

    If the times are unknown, the files are `frame_01.png`, `frame_02.png`, ...

    Args:
        folder: Folder of the files; created if needed.
        forecast: (T, H, W), or (T, H, W, C) with C of 1, 3 or the number of `fields`; NaN where missing. The first row
            is the northern one.
        inputs: Frames before the forecast; they only widen the range of the colours. Default: none.
        units: "mm/h", "dBZ" or "raw"; "" for values in [0, 1], which are drawn in grey or colour. Default: "".
        fields: Name and units of each channel, objects such as `convlstm.writers.Quantity`, which get panels side by
            side. Default: none, `units` say what is drawn.
        issued: Time of the last input (UTC). Default: unknown.
        step: Minutes from frame to frame. Default: unknown.
        valid: Times of the forecast's frames (UTC), if they are no `step` apart. Default: a `step` from frame to frame.
        lines: Coast, borders and grid lines. Default: none.
        title: Heading of the pictures. Default: none.
        extras: Fields that are drawn in pictures of their own, such as probabilities. Default: none.

    Returns:
        The files.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    look: dict[str, Any] = {"lines": lines, "title": title, "largest": _LARGE}
    drawn = [("forecast", _figures(None, forecast, inputs, units, fields, issued, step, valid, **look))]
    for extra in extras:
        about = (None, extra.values, None, "", (), issued, step, valid)
        how = look | {"title": extra.title, "scales": [extra.scale]}
        drawn.append((extra.name, _figures(*about, **how)))
    for name, figures in drawn:
        for n, figure in enumerate(figures):
            paths.append(folder / f"{name_of_frame(name, n, len(forecast), issued, step, valid)}.png")
            figure.savefig(paths[-1], format="png", dpi=DPI, metadata={"Software": "convlstm"})
    return paths


def name_of_frame(
    name: str,
    n: int,
    count: int,
    issued: np.datetime64 | None,
    step: float | None,
    valid: np.ndarray | None,
) -> str:
    """Returns a name with the valid time of frame `n` of `count`, or with its number if the time is unknown."""
    moment = _moment(n + 1, issued, step, valid)
    if moment is None:
        return f"{'frame' if name == 'forecast' else name}_{n + 1:0{max(2, len(str(count)))}d}"
    return f"{name}_{str(moment).replace('-', '').replace(':', '')}"


def forecast_only_gif(
    path: str | Path,
    forecast: np.ndarray,
    *,
    inputs: np.ndarray | None = None,
    units: str = "",
    fields: Sequence[Any] = (),
    issued: np.datetime64 | None = None,
    step: float | None = None,
    valid: np.ndarray | None = None,
    lines: MapLines | None = None,
    title: str | None = None,
    milliseconds: int = 300,
) -> None:
    """Writes the inputs and the forecast as a GIF that loops and rests on the last frame.

    Args:
        path: The file.
        forecast, inputs, units, fields, issued, step, valid, lines, title: The same as for `forecast_only_frames`.
        milliseconds: Time that a frame is shown for. Default: 300.
    """
    before = 0 if inputs is None else len(inputs)
    frames = forecast if inputs is None else np.concatenate([inputs, forecast])
    sums = [float(np.nansum(frame)) for frame in frames]
    typical = sorted({0, before, int(np.argmax(sums)), len(frames) - 1})
    if units == "" and frames.shape[3:] == (3,):
        typical = typical_colours(len(frames))
    figures = _figures(inputs, forecast, inputs, units, fields, issued, step, valid, lines=lines, title=title)
    write_gif(path, figures, milliseconds, typical=typical)


def forecast_only_images(
    forecast: np.ndarray,
    *,
    inputs: np.ndarray | None = None,
    units: str = "",
    fields: Sequence[Any] = (),
    issued: np.datetime64 | None = None,
    step: float | None = None,
    valid: np.ndarray | None = None,
    lines: MapLines | None = None,
    title: str | None = None,
) -> Iterator[np.ndarray]:
    """Yields the pictures of the inputs and the forecast, each (H, W, 3) uint8.

    Args:
        forecast, inputs, units, fields, issued, step, valid, lines, title: The same as for `forecast_only_frames`.
    """
    about = (inputs, forecast, inputs, units, fields, issued, step, valid)
    yield from map(pixels, _figures(*about, lines=lines, title=title))


def _figures(
    before: np.ndarray | None,
    forecast: np.ndarray,
    inputs: np.ndarray | None,
    units: str,
    fields: Sequence[Any],
    issued: np.datetime64 | None,
    step: float | None,
    valid: np.ndarray | None,
    *,
    lines: MapLines | None = None,
    title: str | None = None,
    largest: int = LARGEST,
    scales: Sequence[Scale] | None = None,
) -> Iterator[Figure]:
    """Yields a figure for each frame of `before` and of the forecast; `scales` are those of its channels if given."""
    arrays = [np.asarray(frames, np.float32) for frames in (inputs, forecast) if frames is not None]
    missing = any(bool(np.isnan(frames).any()) for frames in arrays)
    scales = scales_of(arrays, units, fields) if scales is None else scales
    past = 0 if before is None else len(before)
    frames = np.asarray(forecast if before is None else np.concatenate([before, forecast]), np.float32)
    for t, frame in enumerate(frames):
        lead = t - past + 1
        kind = "forecast" if lead > 0 else "input"
        channels = frame[..., None] if frame.ndim == 2 else frame
        if not scales or channels.shape[-1] != len(scales):
            yield frame_figure({kind: channels}, lead, step)
            continue
        # The heading has no room for this beside the time, so it follows the name.
        end = ", hatched = missing" if missing else ""
        names = [field.name for field in fields] if len(fields) > 1 else [kind]
        panels = {f"{name}{end if n == 0 else ''}": channels[..., n] for n, name in enumerate(names)}
        time = _time(lead, issued, step, valid)
        about: dict[str, Any] = {
            "forecast": lead > 0,
            "missing": False,
            "lines": lines,
            "title": title,
            "largest": largest,
        }
        yield map_figure(panels, scales, lead_time(lead, step), time, **about)


def scales_of(arrays: Sequence[np.ndarray], units: str, fields: Sequence[Any]) -> list[Scale]:
    """Returns the scale of each channel; none if the values are in [0, 1]."""
    if len(fields) == 1:
        return [scale_of_field(fields[0], arrays)]
    if fields:
        return [scale_of_field(field, [values[..., n] for values in arrays]) for n, field in enumerate(fields)]
    return [] if units == "" else [rain_scale("forecast_only_gif", units, None, arrays)]


def _time(lead: int, issued: np.datetime64 | None, step: float | None, valid: np.ndarray | None) -> str | None:
    """Returns the time of a frame in words, or None if it is unknown."""
    moment = _moment(lead, issued, step, valid)
    return None if moment is None else in_words(str(moment.astype("datetime64[m]")))


def _moment(
    lead: int, issued: np.datetime64 | None, step: float | None, valid: np.ndarray | None
) -> np.datetime64 | None:
    """Returns the time of a frame, or None if it is unknown."""
    if valid is not None and lead > 0:
        return valid[lead - 1].astype("datetime64[s]")
    if issued is not None and step is not None:
        return issued.astype("datetime64[s]") + np.timedelta64(round(lead * step * 60), "s")
    return None
