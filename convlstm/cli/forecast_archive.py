"""The forecast from the frames of an archive up to a time, or the reason why there is none."""

from __future__ import annotations

import time
import warnings
from typing import Any

from convlstm.architectures.learned_steps import LearnedSTEPS
from convlstm.cli.columns import note_on_columns
from convlstm.cli.ensemble_products import ask_for_products
from convlstm.cli.error_wording import shown
from convlstm.cli.forecast_address import named_input
from convlstm.cli.forecast_clips import beside, forecast_frames
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
from convlstm.cli.forecast_model import fewest, fitted_to, is_without_weights
from convlstm.cli.forecast_output import stamp
from convlstm.cli.program import fail
from convlstm.cli.unattended import NO_FRAMES, TOO_OLD
from convlstm.datasets.archives.forecast_input import ForecastInput
from convlstm.datasets.archives.newest_frames import Window
from convlstm.datasets.columns import columns_of
from convlstm.forecasting.drawn_members import DrawnForecaster
from convlstm.forecasting.forecaster import Forecaster, NotFiniteError
from convlstm.writers import Forecast

import numpy as np

# Steps after which `watch` says that a frame is old.
_OLD = 3
# Pixels that are this many times as wide as in training are worth a note.
WIDE = 1.5


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
