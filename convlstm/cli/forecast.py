"""The command `forecast`: forecasts what follows the newest frames of a folder, a file or a video."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from convlstm import checkpoints
from convlstm.architectures.learned_steps import LearnedSTEPS
from convlstm.backend.terminal import timed_output
from convlstm.checkpoints.hub import from_hub
from convlstm.cli.configuration import plain
from convlstm.cli.ensemble_members import MEMBERS
from convlstm.cli.ensemble_products import PRODUCTS, ask_for_products, check_products, products_of
from convlstm.cli.error_wording import shown
from convlstm.cli.forecast_address import fetch_input
from convlstm.cli.forecast_archive import forecast_frames_up_to
from convlstm.cli.forecast_clips import forecast_clip, is_clip
from convlstm.cli.forecast_ledger import Ledger
from convlstm.cli.forecast_model import ensemble_of, loaded, without_weights
from convlstm.cli.forecast_output import Output, name_of
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
from convlstm.cli.unattended import NO_FRAMES, NOT_WRITTEN, failing_with, stoppable, wait_for
from convlstm.datasets.archives.forecast_input import ForecastInput
from convlstm.forecasting.drawn_members import DrawnForecaster
from convlstm.forecasting.labelled import LEAST_STEP
from convlstm.writers import FORMATS, Forecast

import numpy as np
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

# Larger numbers are probably typing errors.
MOST = 10_000


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
