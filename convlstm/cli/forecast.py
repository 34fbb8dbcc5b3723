"""Forecasts what follows the newest frames of a folder, a file or a video: `python forecast.py --help`."""

from __future__ import annotations

import math
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

from convlstm import checkpoints
from convlstm.checkpoints.build import TRUSTED
from convlstm.checkpoints.members import weights_of
from convlstm.cli.members import check_count, check_members, perturbation
from convlstm.cli.outputs import Output, found_name, stamp
from convlstm.cli.program import check_keys, check_path, fail, plain, run, shown
from convlstm.cli.watching import watch
from convlstm.datasets.clip import is_video, read_stack, read_video
from convlstm.datasets.latest import Latest
from convlstm.forecasting.ensemble import EnsembleForecaster
from convlstm.forecasting.forecaster import Forecaster
from convlstm.writers import FORMATS, Forecast, Layer, Place

import numpy as np
from omegaconf import DictConfig

# Longest forecasts that are asked for on purpose.
MOST = 10_000


def execute(config: DictConfig) -> None:
    """Forecasts what a configuration describes."""
    settings = plain(config)
    check(settings)
    chosen = settings["ckpt"] if isinstance(settings["ckpt"], list) else [settings["ckpt"]]
    folders = [checkpoints.find(str(name)) for name in chosen]
    forecaster = ensemble_of(folders, settings) if settings["ensemble"] else loaded(folders[0], settings)
    output = Output(settings, folders[0])
    path = Path(str(settings["input"])).expanduser()
    if is_clip(path, settings):
        output.write(*forecast_clip(forecaster, path, settings))
        return
    latest = Latest(
        path,
        frames=forecaster.input_frames,
        trained=forecaster.record.get("data") or {},
        section=forecaster.record["config"].get("data") or {},
        format=settings["input_format"],
        options=settings["reader"],
        zr=settings["zr"],
        step=settings["step"],
        coarsen=settings["coarsen"],
        crop=settings["crop"],
        patient=settings["watch"],
    )
    if settings["watch"]:
        make_one = partial(make, latest, forecaster, settings)
        watch(latest, make_one, output, interval=settings["interval"], forecasts=settings["forecasts"])
        return
    until = newest(latest)
    while True:
        found = make(latest, forecaster, settings, until)
        if isinstance(found, Forecast):
            output.write(found, found_name(found))
            return
        # The newest frame cannot be read: the one before it is the newest then.
        print(f"not used    {found}")
        until = newest(latest)


def loaded(folder: Path, settings: dict[str, Any], ema: bool | None = None) -> Forecaster:
    """The forecaster of a checkpoint."""
    return Forecaster.load(
        folder,
        trusted=(*TRUSTED, *settings["trusted"]),
        ema=settings["ema"] if ema is None else ema,
        tile=settings["tile"],
        overlap=settings["overlap"],
    )


def ensemble_of(folders: list[Path], settings: dict[str, Any]) -> EnsembleForecaster:
    """The checkpoints, and the members that are asked for beside them, as one forecaster."""
    chosen = settings["members"]
    weights = weights_of(folders, previous=chosen["previous"], plain=chosen["plain"])
    check_count(settings, len(weights))
    return EnsembleForecaster(
        [loaded(w.folder, settings, w.ema) for w in weights],
        perturbed=chosen["perturbed"],
        perturbation=perturbation(settings),
        thresholds=settings["thresholds"],
    )


def newest(latest: Latest) -> np.datetime64:
    """The time of the newest frame; ends the program where there is none."""
    _, problems = latest.look()
    for problem in problems:
        print(f"not used    {problem}")
    if len(latest.times) == 0:
        fail(
            f"input: there is no frame in '{latest.path}' that can be read. Check the path, or input_format and reader."
        )
    return latest.times[-1]


def make(latest: Latest, forecaster: Forecaster, settings: dict[str, Any], until: np.datetime64) -> Forecast | str:
    """The forecast from the frames up to a time, or why there is none."""
    if len(latest.times) == 1 and latest.frames > 1:
        return no_forecast(f"a single frame so far, that of {stamp(until)}", settings)
    window, problems = latest.window(until)
    for problem in problems:
        print(f"not used    {problem}")
    count = len(window.times)
    if count - 1 in window.absent:
        return f"the frame of {stamp(until)}"
    if forecaster.units and forecaster.units != latest.units:
        fail(
            f"the model forecasts {forecaster.units} but the input is in {latest.units}. Say what it is: "
            f'"reader={{units: {forecaster.units}}}".'
        )
    if len(window.absent) > settings["max_gap"]:
        missing = ", ".join(stamp(window.times[n]) for n in window.absent)
        text = (
            f"{len(window.absent)} of the {count} frames up to {stamp(until)} are missing ({missing}), more than "
            f"max_gap={settings['max_gap']}"
        )
        return no_forecast(text, settings, ", or allow more")
    if not settings["watch"]:
        size, (H, W) = latest.size, window.frames.shape[1:]
        averaged = "" if latest.coarsen == 1 else f", {latest.coarsen}x{latest.coarsen} averaged to one"
        print(
            f"input       {count} frames from {stamp(window.times[0])} to {stamp(until)} UTC, {latest.step:g} min "
            f"apart; {size[0]}x{size[1]} pixels{averaged}: {H}x{W}"
        )
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is said below
        values, inputs = forecast_frames(forecaster, window.frames[..., None], settings)
    lost = forecaster.missing
    if lost.frames:
        print(f"missing     {', '.join(stamp(window.times[n]) for n in lost.frames)} UTC: interpolated in time")
    if lost.share and not settings["watch"]:
        print(f"missing     {lost.share:.1%} of the input's pixels, {lost.never.mean():.1%} in all frames")
    made = Forecast(
        values[..., 0],
        forecaster.units,
        issued=until,
        step=latest.step,
        place=place(latest),
        inputs=inputs[..., 0],
        layers=layers_of(forecaster),
        provenance=forecaster.provenance() | {"input": str(latest.path)},
    )
    if not settings["watch"]:
        last = stamp(made.times[-1])  # type: ignore[index]
        print(f"forecast    {len(values)} frames to {last} UTC in {time.perf_counter() - started:.1f} s")
    return made


def no_forecast(reason: str, settings: dict[str, Any], remedy: str = "") -> str:
    """The reason, for who waits for the next frame; ends the program of who does not."""
    return reason if settings["watch"] else fail(f"{reason}. Wait for more{remedy}.")


def place(latest: Latest) -> Place | None:
    """Where the pixels of the forecast lie, as far as the input says."""
    extent, (height, width) = latest.extent(), latest.frame_size
    if extent is None:
        return None
    return Place.of((height, width), extent, units=latest.grid.pixel_units, projection=latest.grid.projection)


def layers_of(forecaster: Forecaster) -> dict[str, Layer]:
    """What is written beside the last forecast: of an ensemble its spread and its probabilities."""
    return forecaster.layers if isinstance(forecaster, EnsembleForecaster) else {}


def forecast_frames(
    forecaster: Forecaster, frames: np.ndarray, settings: dict[str, Any], is_film: bool = False
) -> tuple[np.ndarray, ...]:
    """The forecast of frames (T, H, W, C) and, as they count, the frames themselves."""
    if not forecaster.units:
        white = settings["white"] or (255 if is_film or np.nanmax(frames, initial=0) > 1 else 1)
        frames = frames / np.float32(white)
    used = frames if forecaster.input_frames is None else frames[-forecaster.input_frames :]
    return forecaster(frames, settings["horizon"]), used


def forecast_clip(forecaster: Forecaster, path: Path, settings: dict[str, Any]) -> tuple[Forecast, str]:
    """The forecast of a video or of a stack without times, and its name."""
    if settings["watch"]:
        fail(
            f"'watch' must be false of '{path}', which has no times: it takes a folder of frames, or a file with times."
        )
    channels = getattr(forecaster.model, "in_channels", 1)
    frames = read_video(path, channels) if is_video(path) else read_stack(path, channels)
    wanted = forecaster.input_frames or len(frames)
    if len(frames) < wanted:
        fail(f"input: '{path}' has {len(frames)} frames, but the model forecasts from {wanted}.")
    H, W = frames.shape[1:3]
    units = f", whose values count as {forecaster.units}" if forecaster.units else ""
    print(f"input       the last {wanted} of {len(frames)} frames of {H}x{W}, without times{units}")
    if settings["crop"] is not None:
        top, left, height, width = settings["crop"]
        if top + height > H or left + width > W:
            fail(f"'crop' must lie within frames of {H}x{W} but got {shown(settings['crop'])}.")
        frames = frames[:, top : top + height, left : left + width]
    started = time.perf_counter()
    values, inputs = forecast_frames(forecaster, frames[-wanted:], settings, is_video(path))
    print(f"forecast    {len(values)} frames in {time.perf_counter() - started:.1f} s")
    provenance = forecaster.provenance() | {"input": str(path)}
    said: dict[str, Any] = {"layers": layers_of(forecaster), "provenance": provenance}
    made = Forecast(values, forecaster.units, step=settings["step"], inputs=inputs, **said)
    return made, f"{path.stem}_forecast"


def is_clip(path: Path, settings: dict[str, Any]) -> bool:
    """Whether the input is a video, or a stack of NumPy's of which no times are known."""
    if not path.is_file():
        return False
    said = settings["reader"] or {}
    if path.suffix.lower() == ".npy" and not {"start", "step_minutes", "pattern"} & set(said):
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False).ndim > 2
        except (OSError, ValueError, EOFError):
            return True  # whose reader says what is wrong
    return is_video(path)


def check(settings: dict[str, Any]) -> None:
    """Ends the program where a value cannot be what its place needs."""
    check_keys("forecast", settings)
    if settings["ckpt"] is None:
        fail("'ckpt' must name a run's folder, or a checkpoint's: ckpt=runs/NAME.")
    if settings["input"] is None:
        fail("'input' must name a folder of frames, a file or a video: input=PATH.")
    check_members(settings)
    paths = settings["ckpt"] if isinstance(settings["ckpt"], list) else [settings["ckpt"]]
    if len(paths) != 1 and not settings["ensemble"]:
        fail(f"'ckpt' must be one checkpoint, or ensemble=true make one forecast of all, but got {shown(paths)}.")
    for key, path in (*(("ckpt", path) for path in paths), ("input", settings["input"])):
        check_path(key, path)
    if settings["out"] is not None:
        check_path("out", settings["out"])
    thresholds = settings["thresholds"]
    if thresholds is not None and not (
        isinstance(thresholds, list) and all(type(n) in (int, float) and math.isfinite(n) for n in thresholds)
    ):
        fail(f"'thresholds' must be a list of numbers but got {shown(thresholds)}.")
    for key, least, may_be_null in (
        ("horizon", 1, True),
        ("coarsen", 1, True),
        ("max_gap", 0, False),
        ("tile", 8, True),
        ("overlap", 0, True),
        ("forecasts", 1, True),
    ):
        value = settings[key]
        if not (value is None and may_be_null) and (type(value) is not int or not least <= value <= MOST):
            fail(f"'{key}' must be a whole number from {least} to {MOST:,} but got {shown(value)}.")
    for key, may_be_null in (("step", True), ("white", True), ("interval", False)):
        value = settings[key]
        number = type(value) in (int, float) and math.isfinite(value) and value > 0
        if not (value is None and may_be_null) and not number:
            fail(f"'{key}' must be a number above 0 but got {shown(value)}.")
    for key in ("watch", *(["ema"] if settings["ema"] is not None else [])):
        if type(settings[key]) is not bool:
            fail(f"'{key}' must be true or false but got {shown(settings[key])}.")
    formats = settings["format"] if isinstance(settings["format"], list) else [settings["format"]]
    if settings["format"] != "auto" and not (formats and all(name in list(FORMATS) for name in formats)):
        fail(f"'format' must be auto or of {', '.join(FORMATS)} but got {shown(settings['format'])}.")
    crop = settings["crop"]
    if crop is not None and not (
        isinstance(crop, list)
        and len(crop) == 4
        and all(type(n) is int and n >= least for n, least in zip(crop, (0, 0, 1, 1), strict=True))
    ):
        fail(f"'crop' must be [top, left, height, width] in pixels but got {shown(crop)}.")
    if not isinstance(settings["input_format"], str):
        fail(f"'input_format' must be auto or a format but got {shown(settings['input_format'])}.")
    if settings["reader"] is not None and not isinstance(settings["reader"], dict):
        fail(f"'reader' must be options such as \"{{units: dBZ}}\" but got {shown(settings['reader'])}.")
    trusted = settings["trusted"]
    if not isinstance(trusted, list) or not all(isinstance(name, str) for name in trusted):
        fail(f"'trusted' must be a list of packages, such as trusted=[mine], but got {shown(trusted)}.")


def main() -> None:
    """Runs the command: `convlstm forecast`, or `python forecast.py` in a checkout."""
    # Options of the reader are the format's.
    run("forecast", execute, open_sections=("reader",))
