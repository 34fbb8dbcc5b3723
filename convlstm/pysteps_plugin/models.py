"""The forecaster of a call from pysteps: its model, its members, and what it is told about the fields."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

from convlstm.architectures.extrapolation import Extrapolation
from convlstm.architectures.learned_steps import LearnedSTEPS
from convlstm.architectures.rain_decibels import DRY
from convlstm.architectures.sprog import FRAMES, SPROG
from convlstm.architectures.steps import STEPS
from convlstm.arguments import check_number, check_whole
from convlstm.forecasting.drawn_members import DrawnForecaster
from convlstm.forecasting.ensemble import EnsembleForecaster
from convlstm.forecasting.forecaster import Forecaster
from convlstm.forecasting.scale import scale_of

import mlx.nn as nn

WITHOUT_WEIGHTS = ("extrapolation", "sprog", "steps")
"""Models that need no checkpoint, by their names."""

# Share by which the step and the pixels of the fields may differ from those in training.
_CLOSE = 0.05


def forecaster_of(
    ckpt: Any, *, members: int, threshold: float, minutes: float | None, pixel_km: float | None, seed: int | None
) -> Forecaster:
    """Returns the forecaster of a call.

    Args:
        ckpt: A name in `WITHOUT_WEIGHTS`, "nowcast", a run's or a checkpoint's folder, or a `Forecaster`, which is not
            changed.
        members: Members of an ensemble.
        threshold: Lowest rain rate of models without weights, in mm/h.
        minutes, pixel_km: Minutes from frame to frame, and side of a pixel in km.
        seed: Seed of the members' draws, or None for that of the model.

    Raises:
        CheckpointError: There is no such checkpoint, or it is damaged.
        ValueError: An argument does not fit the model, or the model is not one of rain in mm/h.
    """
    for name, value in (("timestep", minutes), ("kmperpixel", pixel_km)):
        if value is not None:
            check_number("forecast", name, value, above=0)
    if seed is not None:
        check_whole("forecast", "seed", seed, 0, 2**63 - 1)
    forecaster: Forecaster
    if isinstance(ckpt, Forecaster):
        forecaster = ckpt
    elif ckpt in WITHOUT_WEIGHTS:
        forecaster = _without_weights(ckpt, threshold)
    elif isinstance(ckpt, str | Path):
        forecaster = Forecaster.load(ckpt)
    else:
        raise ValueError(
            f"[forecast] 'ckpt' must be 'nowcast', a run's folder, a Forecaster or one of {', '.join(WITHOUT_WEIGHTS)} "
            f"but got {ckpt!r}."
        )
    if forecaster.units != "mm/h":
        raise ValueError(
            f"[forecast] 'ckpt' must be a model of rain in mm/h but its units are {forecaster.units or 'unknown'!r}."
        )
    if isinstance(forecaster, DrawnForecaster) and isinstance(forecaster.model, STEPS | LearnedSTEPS):
        return _with_members(forecaster, members, minutes, pixel_km, seed)
    if isinstance(forecaster, EnsembleForecaster) and members != forecaster.size:
        raise ValueError(
            f"[forecast] 'n_ens_members' must be {forecaster.size}, as the ensemble has them, but got {members!r}."
        )
    _check_close("timestep", minutes, forecaster.frame_interval, "minutes")
    _check_close("kmperpixel", pixel_km, forecaster.pixel_km, "km")
    return forecaster


def fewest(forecaster: Forecaster) -> int:
    """Returns the number of fields that a forecaster needs."""
    if forecaster.input_frames is not None:
        return forecaster.input_frames
    return FRAMES if isinstance(forecaster.model, SPROG) else 2


def _without_weights(name: str, threshold: float) -> Forecaster:
    scale = scale_of({}, {"transform": {"name": "Reflectivity"}}, ())
    if name != "extrapolation" and threshold <= (dry := 10 ** (DRY / 10)):
        raise ValueError(
            f"[forecast] 'precip_thr' must be above {dry:.3g} mm/h, {DRY:g} dB, for ckpt={name!r} but "
            f"is {threshold:.3g} mm/h. Give a higher one."
        )
    if name == "steps":
        return DrawnForecaster(STEPS(threshold=threshold), scale)
    model: nn.Module = Extrapolation() if name == "extrapolation" else SPROG(threshold=threshold)
    return Forecaster(model, scale)


def _with_members(
    forecaster: DrawnForecaster, members: int, minutes: float | None, pixel_km: float | None, seed: int | None
) -> DrawnForecaster:
    """Returns a forecaster with the same weights, and members, seed, step and pixels of its own."""
    if minutes is None or pixel_km is None:
        lacking = [name for name, value in (("timestep", minutes), ("kmperpixel", pixel_km)) if value is None]
        raise ValueError(
            f"[forecast] needs {' and '.join(map(repr, lacking))} for the errors of the motion of the members: minutes "
            "between the fields and side of a pixel in km, such as timestep=5, kmperpixel=1."
        )
    model = copy.copy(forecaster.model)  # the weights are shared
    model.size = check_whole("forecast", "n_ens_members", members, 2)
    if seed is not None:
        model.seed = seed
    result = DrawnForecaster(
        model,
        forecaster.scale,
        input_frames=forecaster.input_frames,
        horizon=forecaster.horizon,
        most_clipped=forecaster.most_clipped,
        record=forecaster.record,
    )
    if isinstance(model, LearnedSTEPS):
        result.trained_km = forecaster.trained_km
        result.adopt(minutes=minutes, pixel_km=pixel_km)
    else:
        model.adopt(minutes=minutes, pixel_km=pixel_km)
    return result


def _check_close(name: str, given: float | None, trained: float | None, units: str) -> None:
    """Raises ValueError if a fact about the fields is not that of training."""
    if given is not None and trained is not None and not math.isclose(given, trained, rel_tol=_CLOSE):
        raise ValueError(
            f"[forecast] '{name}' must be that of the model's training, {trained:g} {units}, but got {given:g}. "
            "Resample the fields, or take ckpt='nowcast', which is told it."
        )
