"""The command `forecast`: forecasts what follows the newest frames of a folder, a file or a video."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from convlstm import checkpoints
from convlstm.architectures.learned_steps import LearnedSTEPS
from convlstm.backend.terminal import timed_output
from convlstm.checkpoints.hub import from_hub
from convlstm.cli.columns import note_on_columns
from convlstm.cli.configuration import plain
from convlstm.cli.ensemble_members import MEMBERS
from convlstm.cli.ensemble_products import PRODUCTS, ask_for_products, check_products, products_of
from convlstm.cli.error_wording import shown
from convlstm.cli.forecast_address import fetch_input, named_input
from convlstm.cli.forecast_clips import beside, forecast_clip, forecast_frames, is_clip
from convlstm.cli.forecast_fields import (
    conversions,
    degrees_of,
    described,
    forecast_fields,
    in_units_of_training,
    last_hour,
    place_of,
    put_in_place,
)
from convlstm.cli.forecast_ledger import Ledger
from convlstm.cli.forecast_model import ensemble_of, fewest, fitted_to, is_without_weights, loaded, without_weights
from convlstm.cli.forecast_output import Output, name_of, stamp
from convlstm.cli.forecast_watch import follow
from convlstm.cli.ignored_keys import check_members, say_ignored
from convlstm.cli.key_checks import (
    FLAG,
    NOT_NEGATIVE,
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
from convlstm.cli.unattended import NO_FRAMES, NOT_WRITTEN, TOO_OLD, failing_with, stoppable, wait_for
from convlstm.datasets.archives.forecast_input import ForecastInput
from convlstm.datasets.archives.newest_frames import Window
from convlstm.datasets.columns import columns_of
from convlstm.forecasting.drawn_members import DrawnForecaster
from convlstm.forecasting.forecaster import Forecaster, NotFiniteError
from convlstm.forecasting.labelled import LEAST_STEP
from convlstm.writers import FORMATS, Forecast

import numpy as np
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

# Larger numbers are probably typing errors.
MOST = 10_000
# Steps after which `watch` says that a frame is old.
_OLD = 3
# Pixels that are this many times as wide as in training are worth a note.
WIDE = 1.5


def _is_crop(value: Any) -> bool:
    four = isinstance(value, list) and len(value) == 4
    return four and all(type(n) is int and n >= least for n, least in zip(value, (0, 0, 1, 1), strict=True))


KEYS: dict[str, Values] = {
    **MEMBERS,
    **PRODUCTS,
    "ckpt": optional(either(PATH, list_of(PATH, least=1), words="a path or a list of paths")),
    "input": PATH,
    "out": optional(PATH),
    "thresholds": optional(list_of(NUMBER, "a list of numbers")),
    "horizon": optional(whole(1, MOST)),
    "coarsen": optional(whole(1, MOST)),
    "max_gap": whole(0, MOST),
    "max_age": optional(POSITIVE),
    "keep": optional(whole(1, MOST)),
    "keep_hours": optional(POSITIVE),
    "heartbeat": optional(PATH),
    "most_clipped": Values("a share from 0 to 1", lambda value: NOT_NEGATIVE.accepts(value) and value <= 1),
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
    "attributes": optional(Values('names and texts "{license: CC-BY-4.0}"', lambda value: isinstance(value, dict))),
    "reader": optional(Values('options such as "{units: dBZ}"', lambda value: isinstance(value, dict))),
    "trusted": PACKAGES,
}


def main() -> None:
    """Runs the command: `convlstm forecast`, or `python forecast.py` in a checkout."""
    # Hydra does not know the options of the reader: they depend on the format.
    run("forecast", execute, open_sections=("reader", "attributes"))


def execute(config: DictConfig) -> None:
    """Makes and writes the forecasts that a configuration asks for."""
    settings = plain(config)
    check_given(settings)
    check("forecast", KEYS, settings)
    check_members("forecast", settings)
    fetch_input(settings)
    if not settings["watch"]:
        make_forecasts(config, settings)
        return
    with timed_output(), stoppable():
        make_forecasts(config, settings)


def make_forecasts(config: DictConfig, settings: dict[str, Any]) -> None:
    """Makes and writes the forecast from the newest frames, or those from each new frame."""
    if settings["ckpt"] is None:
        forecaster, run = without_weights(config, settings), Path("runs") / HydraConfig.get().runtime.choices["model"]
    else:
        paths = settings["ckpt"] if isinstance(settings["ckpt"], list) else [settings["ckpt"]]
        if len(paths) != 1 and not settings["ensemble"]:
            fail(
                f"'ckpt' must be one checkpoint but got {shown(paths)}. For one forecast of all of them: ensemble=true."
            )
        folders = [checkpoints.find(str(path)) for path in paths]
        for name in filter(from_hub, map(checkpoints.name_of, folders)):
            print(f"checkpoint  {name}")
        forecaster = ensemble_of(folders, settings) if settings["ensemble"] else loaded(folders[0], settings)
        run = checkpoints.results_of(folders[0])
    if settings["watch"]:
        output = wait_for(partial(Output, settings, run), settings["interval"])
    else:
        with failing_with(NOT_WRITTEN, settings):
            output = Output(settings, run)
    path = Path(str(settings["input"])).expanduser()
    clip = is_clip(path, forecaster, settings)
    drawn = isinstance(forecaster, DrawnForecaster)
    say_ignored(
        settings | {"ensemble": drawn or settings["ensemble"]},
        formats=output.formats,
        clip=clip,
        is_file=output.is_file,
        units=forecaster.units,
    )
    settings["products"] = products_of(settings, forecaster, output.formats)
    check_products(settings, forecaster, output.formats)
    if clip:
        ask_for_products(forecaster, settings, None)
        output.write(*forecast_clip(forecaster, path, settings, output.formats))
        return
    any_size = isinstance(forecaster.model, LearnedSTEPS)
    open_input = partial(
        ForecastInput,
        path,
        frames=forecaster.input_frames,
        trained={} if any_size else forecaster.record.get("data") or {},
        section=forecaster.record["config"].get("data") or {},
        format=settings["input_format"],
        options=settings["reader"],
        zr=settings["zr"],
        step=settings["step"],
        least_step=LEAST_STEP if any_size else None,
        coarsen=1 if any_size and settings["coarsen"] is None else settings["coarsen"],
        crop=settings["crop"],
        patient=settings["watch"],
    )
    open_input = partial(said_options, open_input, settings)
    make_forecast = partial(forecast_frames_up_to, with_hour="html" in output.formats)
    if settings["watch"]:
        make = partial(make_forecast, forecaster=forecaster, settings=settings, said=set())
        follow(open_input, make, output, settings)
        return
    with failing_with(NO_FRAMES, settings):
        latest = open_input()
    until = newest(latest)
    while True:
        forecast = make_forecast(latest, forecaster, settings, until)
        if isinstance(forecast, Forecast):
            with failing_with(NOT_WRITTEN, settings):
                paths = output.write(forecast, name_of(forecast))
            if not output.is_file and (settings["keep"] or settings["keep_hours"]):
                ledger = Ledger(output.path, settings["keep"], settings["keep_hours"])
                ledger.add(name_of(forecast), until, paths)
                ledger.prune()
            return
        # The newest frame cannot be read, so the one before it is now the newest.
        print(f"not used    {forecast}")
        until = newest(latest)


def said_options(open_input: Callable[[], ForecastInput], settings: dict[str, Any]) -> ForecastInput:
    """Returns the input, and prints the options of its reader if those of training are among them."""
    latest = open_input()
    if settings["reader"] and latest.options != settings["reader"]:
        print(f"reader      {shown(latest.options)}, with the options of training")
    return latest


def check_given(settings: dict[str, Any]) -> None:
    """Ends the program if there is no model or no input."""
    model = settings.get("model")
    if settings.get("ckpt") is None and model is None:
        fail(
            "'ckpt' must name a run's folder, or a checkpoint's: ckpt=runs/NAME. A model without weights needs none: "
            "model=extrapolation."
        )
    if settings.get("ckpt") is not None and model is not None:
        fail("'ckpt' and 'model' are both given, but the model is that of the checkpoint. Leave one of them out.")
    if settings.get("input") is None:
        fail("'input' must name a folder of frames, a file or a video: input=PATH.")


def newest(latest: ForecastInput) -> np.datetime64:
    """Returns the time of the newest frame, or ends the program if there is no frame."""
    _, problems = latest.look()
    for problem in problems:
        print(f"not used    {problem}")
    if len(latest.times) == 0:
        fail(
            f"input: there is no frame in '{latest.path}' that can be read. Check the path, or input_format and "
            "reader.",
            NO_FRAMES,
        )
    return latest.times[-1]


def forecast_frames_up_to(
    latest: ForecastInput,
    forecaster: Forecaster,
    settings: dict[str, Any],
    until: np.datetime64,
    *,
    said: set[str] | None = None,
    with_hour: bool = False,
) -> Forecast | str:
    """Returns the forecast from the frames up to a time, or the reason why it cannot be made.

    Args:
        latest: The input.
        forecaster: The model.
        settings: The configuration.
        until: Time of the newest frame to use.
        said: Notes that need not be printed again; those that are printed are added. Default: none.
        with_hour: True to add the observed frames of the last hour. Default: False.
    """
    age = age_of(until)
    if settings["max_age"] is not None and age > settings["max_age"]:
        text = f"the newest frame, that of {stamp(until)} UTC, is {spelled(age)} old, more than max_age="
        return no_forecast(f"{text}{settings['max_age']:g} min", settings, ", or allow more", TOO_OLD)
    if len(latest.times) == 1 and latest.frames > 1:
        return no_forecast(f"a single frame so far, that of {stamp(until)}", settings)
    window, problems = latest.window(until)
    for problem in problems:
        print(f"not used    {problem}")
    count = len(window.times)
    if count - 1 in window.absent:
        return f"the frame of {stamp(until)}"
    factors = conversions(forecaster, latest, named="variable" in (settings["reader"] or {}))
    early = sum(window.times[n] < latest.times[0] for n in window.absent)
    if early and is_without_weights(forecaster) and count - early >= fewest(forecaster):
        absent = [n - early for n in window.absent if n >= early]
        window, count = Window(window.frames[early:], window.times[early:], absent), count - early
    elif early:
        text = (
            f"the model needs {count} frames, {latest.step:g} min apart, but there are {count - early} up to "
            f"{stamp(until)}: the first one is that of {stamp(latest.times[0])}"
        )
        return no_forecast(text, settings)
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
        kept = "" if size == (H, W) else f": {H}x{W}"
        print(
            f"input       {count} frames from {stamp(window.times[0])} to {stamp(until)} UTC, {latest.step:g} min "
            f"apart; {size[0]}x{size[1]} pixels{averaged}{kept}"
        )
        if age >= 0:
            print(f"age         {spelled(age)} since the newest frame")
        for line in described(forecaster, latest):
            print(f"field       {line}")
        if settings["zr"] is not None and latest.grid.units != "dBZ":
            print(f"ignored     zr={shown(settings['zr'])}: the input is no reflectivity")
    elif age > _OLD * latest.step:
        print(f"age         {spelled(age)} since the frame of {stamp(until)} UTC")
    said = set() if said is None else said
    note = note_on_columns(forecaster.model, columns_of(latest.grid, latest.frame_size[1], latest.coarsen))
    if note and note not in said:
        print(f"note        {note}")
        said.add(note)
    started = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # printed below
            frames = window.frames if window.frames.ndim == 4 else window.frames[..., None]
            frames = in_units_of_training(frames, factors)
            km = None if latest.grid.pixel_km is None else latest.grid.pixel_km * latest.coarsen
            if is_without_weights(forecaster):
                given = [f.physical for f in latest.grid.fields]
                forecaster = fitted_to(forecaster, given, frames, settings, minutes=latest.step, pixel_km=km)
            elif isinstance(forecaster, DrawnForecaster) and isinstance(forecaster.model, LearnedSTEPS):
                for line in adopt_input(forecaster, latest):
                    if line not in said:
                        print(line)
                    said.add(line)
            put_in_place(forecaster, latest)
            ask_for_products(forecaster, settings, km)
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
    fields = forecast_fields(forecaster, latest)
    observed = last_hour(forecaster, latest, until, factors) if with_hour else None
    if values.shape[-1] == 1:
        values, inputs = values[..., 0], inputs[..., 0]
        observed = None if observed is None else observed[..., 0]
    forecast = Forecast(
        values,
        forecaster.units,
        issued=until,
        step=latest.step,
        place=place_of(latest),
        inputs=inputs,
        observed=observed,
        fields=fields,
        **beside(forecaster, values),
        provenance=forecaster.provenance() | {"input": named_input(latest.path)},
        frame_rate=settings["fps"],
        attributes=settings["attributes"] or {},
        valid=latest.after(until, len(values)),
    )
    if not settings["watch"]:
        last = stamp(forecast.times[-1])  # type: ignore[index]
        print(f"forecast    {len(values)} frames to {last} UTC in {time.perf_counter() - started:.1f} s")
    return forecast


def adopt_input(forecaster: DrawnForecaster, latest: ForecastInput) -> list[str]:
    """Tells a `LearnedSTEPS` the step and the pixels of the input, and returns lines that say what is done."""
    lines: list[str] = []
    if latest.left_out:
        lines.append(
            f"step        one frame of {latest.left_out + 1}, {latest.step:g} min apart: shorter steps are rare in "
            "training, and step=MINUTES takes them all the same"
        )
    trained, sides = forecaster.trained_km, latest.grid.sides_km
    if sides is None:
        squares = (forecaster.record["config"].get("data") or {}).get("coarsen") or 1
        km = trained / (squares if latest.coarsen == 1 else 1)
        forecaster.adopt(minutes=latest.step, pixel_km=km)
        lines.append(f"note        the input does not say the side of its pixels: they are taken as {km:g} km")
        return lines
    height, width = (side * latest.coarsen for side in sides)
    forecaster.adopt(minutes=latest.step, pixel_km=(height, width))
    rows, columns = forecaster.pixels.factors
    if not forecaster.pixels.single:
        lines.append(
            f"pixels      {rows}x{columns} of {spelled_km(height, width)} averaged to one of "
            f"{spelled_km(height * rows, width * columns)} for the model; its forecast is brought back"
        )
    elif max(height, width) > WIDE * trained:
        lines.append(f"note        pixels of {spelled_km(height, width)} are taken as they are, wider than in training")
    return lines


def spelled_km(height: float, width: float) -> str:
    """Returns the size of pixels in km: one number if they are square."""
    square = abs(height / width - 1) < 0.02
    return f"{width:.3g} km" if square else f"{height:.3g} x {width:.3g} km"


def age_of(moment: np.datetime64) -> float:
    """Returns the minutes since a time (UTC)."""
    return (time.time() - moment.astype("datetime64[s]").astype(np.int64)) / 60


def spelled(minutes: float) -> str:
    """Returns a time span in the unit that suits it."""
    for unit, length in (("days", 1440), ("hours", 60)):
        if minutes >= 2 * length:
            return f"{minutes / length:.0f} {unit}"
    return f"{minutes:.0f} min"


def no_forecast(reason: str, settings: dict[str, Any], remedy: str = "", status: int = NO_FRAMES) -> str:
    """Returns the reason if the program waits for the next frame, else ends the program with it."""
    return reason if settings["watch"] else fail(f"{reason}. Wait for more{remedy}.", status)
