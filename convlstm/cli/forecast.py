"""The command `forecast`: forecasts what follows the newest frames of a folder, a file or a video."""

from __future__ import annotations

import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

from convlstm import checkpoints
from convlstm.checkpoints.build import TRUSTED
from convlstm.checkpoints.ensemble_members import weights_of
from convlstm.cli.configuration import plain
from convlstm.cli.ensemble_members import MEMBERS, check_count, perturbation
from convlstm.cli.error_wording import shown
from convlstm.cli.forecast_clips import forecast_clip, forecast_frames, is_clip, layers_of
from convlstm.cli.forecast_output import Output, name_of, stamp
from convlstm.cli.forecast_watch import watch
from convlstm.cli.key_checks import (
    FLAG,
    NUMBER,
    PACKAGES,
    PATH,
    POSITIVE,
    Values,
    check,
    either,
    list_of,
    one_of,
    optional,
    whole,
)
from convlstm.cli.program import fail, run
from convlstm.datasets.archives.forecast_input import ForecastInput
from convlstm.datasets.channels import Channels, Degrees
from convlstm.forecasting.ensemble import EnsembleForecaster
from convlstm.forecasting.forecaster import Forecaster, NotFiniteError
from convlstm.writers import FORMATS, Coordinate, Forecast, Place, Quantity

import numpy as np
from omegaconf import DictConfig

# Larger numbers are probably typing errors.
MOST = 10_000


def _is_crop(value: Any) -> bool:
    four = isinstance(value, list) and len(value) == 4
    return four and all(type(n) is int and n >= least for n, least in zip(value, (0, 0, 1, 1), strict=True))


KEYS: dict[str, Values] = {
    **MEMBERS,
    "ckpt": either(PATH, list_of(PATH, least=1), words="a path or a list of paths"),
    "input": PATH,
    "out": optional(PATH),
    "thresholds": optional(list_of(NUMBER, "a list of numbers")),
    "horizon": optional(whole(1, MOST)),
    "coarsen": optional(whole(1, MOST)),
    "max_gap": whole(0, MOST),
    "tile": optional(whole(8, MOST)),
    "overlap": optional(whole(0, MOST)),
    "forecasts": optional(whole(1, MOST)),
    "step": optional(POSITIVE),
    "white": optional(POSITIVE),
    "fps": optional(POSITIVE),
    "interval": POSITIVE,
    "watch": FLAG,
    "ema": optional(FLAG),
    "format": either(
        one_of("auto", *FORMATS),
        list_of(one_of(*FORMATS), least=1),
        words=f"auto, one of {', '.join(FORMATS)}, or a list of them",
    ),
    "crop": optional(Values("[top, left, height, width] in pixels", _is_crop)),
    "input_format": Values("auto or a format", lambda value: isinstance(value, str)),
    "reader": optional(Values('options such as "{units: dBZ}"', lambda value: isinstance(value, dict))),
    "trusted": PACKAGES,
}


def main() -> None:
    """Runs the command: `convlstm forecast`, or `python forecast.py` in a checkout."""
    # Hydra does not know the options of the reader: they depend on the format.
    run("forecast", execute, open_sections=("reader",))


def execute(config: DictConfig) -> None:
    """Makes and writes the forecasts that a configuration asks for."""
    settings = plain(config)
    check_given(settings)
    check("forecast", KEYS, settings)
    paths = settings["ckpt"] if isinstance(settings["ckpt"], list) else [settings["ckpt"]]
    if len(paths) != 1 and not settings["ensemble"]:
        fail(f"'ckpt' must be one checkpoint but got {shown(paths)}. For one forecast of all of them: ensemble=true.")
    folders = [checkpoints.find(str(path)) for path in paths]
    forecaster = ensemble_of(folders, settings) if settings["ensemble"] else loaded(folders[0], settings)
    output = Output(settings, folders[0])
    path = Path(str(settings["input"])).expanduser()
    if is_clip(path, forecaster, settings):
        output.write(*forecast_clip(forecaster, path, settings, output.formats))
        return
    latest = ForecastInput(
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
    if settings["reader"] and latest.options != settings["reader"]:
        print(f"reader      {shown(latest.options)}, with the options of training")
    if settings["watch"]:
        make = partial(forecast_frames_up_to, latest, forecaster, settings)
        watch(latest, make, output, interval=settings["interval"], forecasts=settings["forecasts"])
        return
    until = newest(latest)
    while True:
        forecast = forecast_frames_up_to(latest, forecaster, settings, until)
        if isinstance(forecast, Forecast):
            output.write(forecast, name_of(forecast))
            return
        # The newest frame cannot be read, so the one before it is now the newest.
        print(f"not used    {forecast}")
        until = newest(latest)


def check_given(settings: dict[str, Any]) -> None:
    """Ends the program if there is no checkpoint or no input."""
    if settings.get("ckpt") is None:
        fail("'ckpt' must name a run's folder, or a checkpoint's: ckpt=runs/NAME.")
    if settings.get("input") is None:
        fail("'input' must name a folder of frames, a file or a video: input=PATH.")


def loaded(folder: Path, settings: dict[str, Any], ema: bool | None = None) -> Forecaster:
    """Returns the forecaster of a checkpoint."""
    return Forecaster.load(
        folder,
        trusted=(*TRUSTED, *settings["trusted"]),
        ema=settings["ema"] if ema is None else ema,
        tile=settings["tile"],
        overlap=settings["overlap"],
    )


def ensemble_of(folders: list[Path], settings: dict[str, Any]) -> EnsembleForecaster:
    """Returns one forecaster of the checkpoints and of the further members that the settings ask for."""
    members = settings["members"]
    weights = weights_of(folders, previous=members["previous"], plain=members["plain"])
    check_count(settings, len(weights))
    return EnsembleForecaster(
        [loaded(w.folder, settings, w.ema) for w in weights],
        perturbed=members["perturbed"],
        perturbation=perturbation(settings),
        thresholds=settings["thresholds"],
    )


def newest(latest: ForecastInput) -> np.datetime64:
    """Returns the time of the newest frame, or ends the program if there is no frame."""
    _, problems = latest.look()
    for problem in problems:
        print(f"not used    {problem}")
    if len(latest.times) == 0:
        fail(
            f"input: there is no frame in '{latest.path}' that can be read. Check the path, or input_format and reader."
        )
    return latest.times[-1]


def forecast_frames_up_to(
    latest: ForecastInput, forecaster: Forecaster, settings: dict[str, Any], until: np.datetime64
) -> Forecast | str:
    """Returns the forecast from the frames up to a time, or the reason why it cannot be made."""
    if len(latest.times) == 1 and latest.frames > 1:
        return no_forecast(f"a single frame so far, that of {stamp(until)}", settings)
    window, problems = latest.window(until)
    for problem in problems:
        print(f"not used    {problem}")
    count = len(window.times)
    if count - 1 in window.absent:
        return f"the frame of {stamp(until)}"
    check_fields(forecaster, latest)
    if len(window.absent) > settings["max_gap"]:
        missing = ", ".join(stamp(window.times[n]) for n in window.absent)
        text = (
            f"{len(window.absent)} of the {count} frames up to {stamp(until)} are missing ({missing}), more than "
            f"max_gap={settings['max_gap']}"
        )
        return no_forecast(text, settings, ", or allow more")
    if not settings["watch"]:
        size, (H, W) = latest.size, window.frames.shape[1:3]
        averaged = "" if latest.coarsen == 1 else f", {latest.coarsen}x{latest.coarsen} averaged to one"
        print(
            f"input       {count} frames from {stamp(window.times[0])} to {stamp(until)} UTC, {latest.step:g} min "
            f"apart; {size[0]}x{size[1]} pixels{averaged}: {H}x{W}"
        )
        for field in latest.grid.fields:
            print(f"field       {field.physical}")
    started = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # printed below
            frames = window.frames if window.frames.ndim == 4 else window.frames[..., None]
            context: dict[str, Any] = {"times": window.times, "degrees": degrees_of(latest)}
            values, inputs = forecast_frames(forecaster, frames, settings, **context)
    except NotFiniteError as error:
        if settings["watch"]:  # the next frames may do better
            return str(error)
        raise
    missing_parts = forecaster.missing
    for name, share in forecaster.clipped.items():
        print(f"clipped     {share:.2%} of the values of {name} lie beyond the scale of training")
    if missing_parts.frames:
        times = ", ".join(stamp(window.times[n]) for n in missing_parts.frames)
        print(f"missing     {times} UTC: interpolated in time")
    if missing_parts.share and not settings["watch"]:
        in_all = missing_parts.never.mean()
        print(f"missing     {missing_parts.share:.1%} of the input's pixels, {in_all:.1%} in all frames")
    fields = forecast_fields(forecaster)
    if len(fields) < 2:
        values, inputs = values[..., 0], inputs[..., 0]
    forecast = Forecast(
        values,
        forecaster.units,
        issued=until,
        step=latest.step,
        place=place_of(latest),
        inputs=inputs,
        fields=fields,
        layers=layers_of(forecaster),
        provenance=forecaster.provenance() | {"input": str(latest.path)},
        frame_rate=settings["fps"],
        valid=latest.after(until, len(values)),
    )
    if not settings["watch"]:
        last = stamp(forecast.times[-1])  # type: ignore[index]
        print(f"forecast    {len(values)} frames to {last} UTC in {time.perf_counter() - started:.1f} s")
    return forecast


def check_fields(forecaster: Forecaster, latest: ForecastInput) -> None:
    """Ends the program if the input has other fields, or other units, than the model was trained on."""
    if isinstance(forecaster.scale, Channels):
        trained = [channel.field for channel in forecaster.scale.fields]
        given = [field.physical for field in latest.grid.fields]
        if [(field.name, field.units) for field in trained] != [(field.name, field.units) for field in given]:
            names = ", ".join(field.name for field in trained)
            fail(
                f"the model was trained on {'; '.join(map(str, trained))}, but the input has "
                f"{'; '.join(map(str, given))}. "
                f'Name the variables: "reader={{variable: [{names}]}}", and convert other units before.'
            )
    elif forecaster.units and forecaster.units != latest.units:
        fail(
            f"the model forecasts {forecaster.units} but the input is in {latest.units}. Name the units of the input: "
            f'"reader={{units: {forecaster.units}}}".'
        )


def degrees_of(latest: ForecastInput) -> Degrees | None:
    """Returns latitude and longitude of the pixels, or None if the input does not give them."""
    return Degrees.of(latest.coordinates(), latest.grid.dimensions, latest.frame_size)


def forecast_fields(forecaster: Forecaster) -> tuple[Quantity, ...]:
    """Returns name, units and description of the forecast's fields, or () for those that the units mean."""
    if not isinstance(forecaster.scale, Channels):
        return ()
    fields = [channel.field for channel in forecaster.scale.targets]
    return tuple(Quantity(one.name, one.units, one.standard_name, one.long_name) for one in fields)


def no_forecast(reason: str, settings: dict[str, Any], remedy: str = "") -> str:
    """Returns the reason if the program waits for the next frame, else ends the program with it."""
    return reason if settings["watch"] else fail(f"{reason}. Wait for more{remedy}.")


def place_of(latest: ForecastInput) -> Place | None:
    """Returns the place of the forecast's pixels, or None if the input does not say it."""
    if copied := tuple(Coordinate(c.name, c.dimensions, c.values, c.attributes) for c in latest.coordinates()):
        return Place(latest.grid.dimensions, copied, latest.grid.projection)
    extent = latest.extent()
    if extent is None:
        return None
    return Place.of(latest.frame_size, extent, units=latest.grid.pixel_units, projection=latest.grid.projection)
