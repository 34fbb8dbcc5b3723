"""The forecast of a clip: a video, a NumPy stack without times, or a folder of pictures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convlstm.cli.error_wording import shown
from convlstm.cli.program import fail
from convlstm.datasets.arguments import MOST_PIXELS
from convlstm.datasets.clips.fitting import fitted
from convlstm.datasets.clips.sources import PICTURES, Pictures, natural
from convlstm.datasets.ffmpeg import frame_rate
from convlstm.datasets.readers.file_names import time_in_name
from convlstm.datasets.readers.numpy_arrays import array_of
from convlstm.datasets.video import is_video, read_stack, read_video
from convlstm.forecasting.ensemble import EnsembleForecaster
from convlstm.forecasting.forecaster import Forecaster
from convlstm.forecasting.scale import FieldScale
from convlstm.writers import Forecast

import numpy as np


@dataclass(frozen=True)
class _Clip:
    """The frames that a forecast is made from, and what is said about them.

    Attributes:
        frames: (T, H, W, C), as they are in the input.
        count: Frames of the whole clip.
        eight_bits: True if 255 is the largest value, however dark the frames are.
    """

    frames: np.ndarray
    count: int
    eight_bits: bool


@dataclass(frozen=True)
class _Training:
    """The preparation of the clips that a model was trained on.

    Attributes:
        step: Frames of a clip from one frame to the next.
        size: Height and width to which clips of any size were brought, or None.
        fit: The way in which they were.
        white: Value that became 1, or None if it is unknown.
    """

    step: int = 1
    size: tuple[int, int] | None = None
    fit: str = ""
    white: float | None = None

    @classmethod
    def of(cls, forecaster: Forecaster) -> _Training:
        """Returns what a checkpoint's record says; it may come from anybody, so its values can have any type."""
        record = forecaster.record.get("data")
        if not isinstance(record, dict) or record.get("name") != "video":
            return cls()
        step, shape, fit, white = (record.get(key) for key in ("step", "frame_shape", "fit", "white"))
        sides = shape[:2] if isinstance(shape, list) else []
        sized = fit in ("crop", "stretch") and len(sides) == 2 and all(_is_size(side) for side in sides)
        return cls(
            step if _is_size(step) else 1,  # type: ignore[arg-type]
            (sides[0], sides[1]) if sized else None,
            str(fit),
            float(white) if type(white) in (int, float) and white > 0 else None,  # type: ignore[arg-type,operator]
        )


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 < value <= MOST_PIXELS


def is_clip(path: Path, forecaster: Forecaster, settings: dict[str, Any]) -> bool:
    """Returns True if the input is a video, a stack whose times are unknown, or a folder of pictures without times.

    A folder is one only for a model without physical units.
    """
    if path.is_dir():
        pictures = [] if forecaster.units else _pictures(path)
        record = forecaster.record.get("data")
        of_clips = isinstance(record, dict) and record.get("name") == "video"
        return bool(pictures) and (of_clips or not any(time_in_name(name) is not None for name in pictures))
    if not path.is_file():
        return False
    options = settings["reader"] or {}
    if path.suffix.lower() == ".npy" and not {"start", "step_minutes", "pattern"} & set(options):
        try:
            return len(array_of(path).shape) > 2
        except Exception:  # NumPy raises errors of many kinds for a damaged header
            return True  # its reader says what is wrong
    return is_video(path)


def forecast_clip(
    forecaster: Forecaster, path: Path, settings: dict[str, Any], formats: Sequence[str]
) -> tuple[Forecast, str]:
    """Returns the forecast of a clip, and its name.

    Args:
        forecaster: The model. If it was trained on clips, the input is thinned and brought to a size as they were.
        path: The clip.
        settings: The configuration of `forecast`.
        formats: The formats in which it will be written.
    """
    if settings["watch"]:
        fail(f"'watch' must be false for '{path}', which has no times. Give a folder of frames, or a file with times.")
    trained = _Training.of(forecaster)
    step = trained.step
    clip = _read(path, forecaster, step)
    frames, (H, W) = clip.frames, clip.frames.shape[1:3]
    if settings["crop"] is not None:
        top, left, height, width = settings["crop"]
        if top + height > H or left + width > W:
            fail(f"'crop' must lie within frames of {H}x{W} but got {shown(settings['crop'])}.")
        frames = frames[:, top : top + height, left : left + width]
    said = f", with values in {forecaster.units}" if forecaster.units else ""
    if step > 1:
        said += f", {step} frames apart as in training"
    if trained.size is not None:
        frames = fitted(np.ascontiguousarray(frames, np.float32), trained.size, trained.fit)
        said += f", brought to {trained.size[0]}x{trained.size[1]} as in training ({trained.fit})"
    print(f"input       the last {len(frames)} of {clip.count} frames of {H}x{W}, without times{said}")
    started = time.perf_counter()
    white = settings["white"] or (None if clip.eight_bits else trained.white)
    values, inputs = forecast_frames(forecaster, frames, settings | {"white": white}, clip.eight_bits)
    print(f"forecast    {len(values)} frames in {time.perf_counter() - started:.1f} s")
    rate = settings["fps"]
    if rate is None and "mp4" in formats and is_video(path) and (of_clip := frame_rate(path)) is not None:
        rate = of_clip / step
    forecast = Forecast(
        values,
        forecaster.units,
        step=settings["step"],
        inputs=inputs,
        **beside(forecaster, values),
        provenance=forecaster.provenance() | {"input": str(path)},
        frame_rate=rate,
        attributes=settings["attributes"] or {},
    )
    return forecast, f"{path.stem}_forecast"


def forecast_frames(
    forecaster: Forecaster, frames: np.ndarray, settings: dict[str, Any], eight_bits: bool = False, **context: Any
) -> tuple[np.ndarray, ...]:
    """Returns the forecast of frames (T, H, W, C) and the frames that it is made from, with the same channels.

    Args:
        forecaster: The model.
        frames: The frames.
        settings: The configuration of `forecast`.
        eight_bits: True if 255 is the largest value of the frames, however dark they are. Default: False.
        **context: `times` and `degrees` of `Forecaster`.
    """
    if not forecaster.units:
        white = settings["white"] or (255 if eight_bits or np.nanmax(frames, initial=0) > 1 else 1)
        frames = frames / np.float32(white)
    used = frames if forecaster.input_frames is None else frames[-forecaster.input_frames :]
    values = forecaster(frames, settings["horizon"], **context)
    return values, forecaster.scale.of_targets(used) if isinstance(forecaster.scale, FieldScale) else used


def beside(forecaster: Forecaster, values: np.ndarray) -> dict[str, Any]:
    """Returns what an ensemble has beside its last forecast of these values, as arguments of `Forecast`."""
    if not isinstance(forecaster, EnsembleForecaster):
        return {}
    members = forecaster.all_members
    return {
        "layers": forecaster.layers,
        "members": None if members is None else members.reshape(len(members), *values.shape),
        "about": forecaster.about,
    }


def _read(path: Path, forecaster: Forecaster, step: int) -> _Clip:
    """Returns the last frames of a clip that the model needs, `step` frames apart, or ends the program."""
    channels = getattr(forecaster.model, "in_channels", 1)
    if path.is_dir():
        files = sorted(_pictures(path), key=natural)
        last = _last(path, len(files), forecaster, step)
        frames = Pictures(path, path.name, tuple(files), channels).frames(0, last)
        return _Clip(frames, len(files), eight_bits=True)
    frames = read_video(path, channels) if is_video(path) else read_stack(path, channels)
    last = _last(path, len(frames), forecaster, step)
    return _Clip(frames[last], len(frames), eight_bits=is_video(path))


def _last(path: Path, count: int, forecaster: Forecaster, step: int) -> list[int]:
    """Returns the numbers of the last frames that the model needs, `step` frames apart."""
    wanted = forecaster.input_frames or (count - 1) // step + 1
    span = (wanted - 1) * step + 1
    if count < span:
        apart = "" if step == 1 else f", {step} frames apart, which span {span}"
        fail(f"input: '{path}' has {count} frames, but the model forecasts from {wanted}{apart}.")
    return list(range(count - span, count, step))


def _pictures(folder: Path) -> list[str]:
    """Returns the names of the pictures in a folder."""
    return [
        file.name
        for file in folder.iterdir()
        if file.suffix.lower() in PICTURES and not file.name.startswith(".") and file.is_file()
    ]
