"""The model of a forecast: that of a checkpoint, several as an ensemble, or one that has no weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convlstm.architectures.baselines import Persistence
from convlstm.architectures.rain_decibels import rates_of
from convlstm.architectures.sprog import FRAMES, SPROG
from convlstm.architectures.steps import STEPS
from convlstm.checkpoints.build import TRUSTED
from convlstm.checkpoints.ensemble_members import weights_of
from convlstm.cli.ensemble_members import check_count, perturbation, set_drawn
from convlstm.cli.ignored_keys import changed
from convlstm.cli.instantiation import check_described, check_types, instantiate
from convlstm.cli.program import fail
from convlstm.datasets.channels import Channel, Channels
from convlstm.datasets.fitted_scales import scale_of
from convlstm.datasets.readers.grid import Field
from convlstm.datasets.transforms import default_transform
from convlstm.forecasting.drawn_members import DrawnForecaster
from convlstm.forecasting.ensemble import EnsembleForecaster
from convlstm.forecasting.forecaster import Forecaster
from convlstm.forecasting.scale import AsItIs, FieldScale, Scale

import mlx.nn as nn
import numpy as np
from hydra.core.hydra_config import HydraConfig
from mlx.utils import tree_flatten
from omegaconf import DictConfig

_NO_CHECKPOINT = "none, the model has no weights"
# Input frames of a model without weights that does not say how many it reads: gaps in the last one need another.
_FEWEST = 2


def loaded(folder: Path, settings: dict[str, Any], ema: bool | None = None) -> Forecaster:
    """Returns the forecaster of a checkpoint, or ends the program if the settings do not fit it."""
    forecaster = Forecaster.load(
        folder,
        trusted=(*TRUSTED, *settings["trusted"]),
        ema=settings["ema"] if ema is None else ema,
        most_clipped=settings["most_clipped"],
        tile=settings["tile"],
        overlap=settings["overlap"],
    )
    set_drawn([forecaster] if isinstance(forecaster, DrawnForecaster) else [], settings)
    if isinstance(forecaster, DrawnForecaster):
        _check_drawn(settings, "of this checkpoint")
        if settings["thresholds"] is not None:
            forecaster.thresholds = tuple(settings["thresholds"])
    return forecaster


def ensemble_of(folders: list[Path], settings: dict[str, Any]) -> EnsembleForecaster:
    """Returns one forecaster of the checkpoints and of the further members that the settings ask for."""
    members = settings["members"]
    first = loaded(folders[0], settings)
    if isinstance(first, DrawnForecaster) and len(folders) == 1:
        return first
    weights = weights_of(folders, previous=members["previous"], plain=members["plain"])
    check_count(settings, len(weights))
    forecasters = [loaded(w.folder, settings, w.ema) for w in weights]
    for forecaster, weight in zip(forecasters, weights, strict=True):
        if isinstance(forecaster, DrawnForecaster):
            fail(f"the model of '{weight.folder}' is an ensemble by itself: give it alone.")
    return _ensemble(forecasters, settings)


def without_weights(config: DictConfig, settings: dict[str, Any]) -> Forecaster:
    """Returns the forecaster of a model that has no weights, or ends the program if the model has some.

    Its scale is none, as for clips; `fitted_to` gives it that of other input.
    """
    section = settings["model"]
    check_described("model", section)
    check_types({"model": section})
    name = HydraConfig.get().runtime.choices["model"]
    model = instantiate(config, "model")
    if tree_flatten(model.parameters()):
        fail(
            f"model={name} has weights, so it needs a checkpoint: ckpt=runs/NAME, without model=. Without a "
            "checkpoint: model=extrapolation or model=persistence."
        )
    set_drawn([model] if isinstance(model, STEPS) else [], settings)
    if isinstance(model, STEPS):
        _check_drawn(settings, "of model=steps")
    record = {
        "checkpoint": _NO_CHECKPOINT,
        "step": None,
        "commit": None,
        "config": {"model": section},
        "data": {},
    }
    frames = max(_FEWEST, getattr(model, "frames", _FEWEST))
    return _without_weights(model, None, frames, record, settings)


def is_without_weights(forecaster: Forecaster) -> bool:
    """Returns True for a forecaster of `without_weights`."""
    return forecaster.record.get("checkpoint") == _NO_CHECKPOINT


def fewest(forecaster: Forecaster) -> int:
    """Returns the number of input frames below which a model without weights forecasts nothing."""
    return FRAMES if isinstance(forecaster.model, SPROG) else _FEWEST


def fitted_to(
    forecaster: Forecaster,
    fields: Sequence[Field],
    frames: np.ndarray,
    settings: dict[str, Any],
    *,
    minutes: float,
    pixel_km: float | None,
) -> Forecaster:
    """Returns the forecaster of a model without weights for input of some fields.

    Persistence forecasts the values as they are. For other models rain has its default scale, and other fields that
    of the range of the input.

    Args:
        forecaster: Result of `without_weights`.
        fields: The fields of the input.
        frames: The frames (T, H, W, C) of the input.
        settings: The configuration of `forecast`.
        minutes: Minutes from frame to frame.
        pixel_km: Side of a pixel in km, or None if the input does not say it.
    """
    model: Any = forecaster.model
    scale: Scale | FieldScale
    if isinstance(model, Persistence):
        scale = AsItIs(", ".join(dict.fromkeys(field.units for field in fields)))
    elif len(fields) == 1 and fields[0].kind == "mm/h":
        scale = default_transform("mm/h")
    elif isinstance(model, SPROG):
        name = HydraConfig.get().runtime.choices["model"]
        fail(f"model={name} is for rain in mm/h, but the input is in {', '.join(field.units for field in fields)}.")
    else:
        channels = [Channel(field, scale_of("range", field, frames[..., n])) for n, field in enumerate(fields)]
        scale = Channels(channels)
    if isinstance(model, SPROG):
        facts: dict[str, Any] = {"rates": rates_of(type(model).__name__, scale)}
        model.adopt(**facts | ({"minutes": minutes, "pixel_km": pixel_km} if isinstance(model, STEPS) else {}))
    return _without_weights(model, scale, len(frames), forecaster.record, settings)


def _check_drawn(settings: dict[str, Any], whose: str) -> None:
    """Ends the program if the settings do not fit a model that draws its members itself."""
    if given := [key for key in changed("forecast", settings, "members") if key != "drawn"]:
        fail(
            f"'members.{given[0]}' is for other ensembles: the members {whose} are drawn by it. Leave it out; "
            "members.drawn is their number."
        )
    if settings["tile"] is not None:
        fail(f"'tile' must be null: the members {whose} would differ from tile to tile. Leave it out.")


def _without_weights(
    model: nn.Module,
    scale: Scale | FieldScale | None,
    frames: int,
    record: dict[str, Any],
    settings: dict[str, Any],
) -> Forecaster:
    if isinstance(model, STEPS):
        return DrawnForecaster(
            model,
            scale,
            thresholds=settings["thresholds"],
            input_frames=frames,
            most_clipped=settings["most_clipped"],
            record=record,
        )
    forecaster = Forecaster(
        model,
        scale,
        input_frames=frames,
        tile=settings["tile"],
        overlap=settings["overlap"],
        most_clipped=settings["most_clipped"],
        record=record,
    )
    if not settings["ensemble"]:
        return forecaster
    check_count(settings, 1)
    return _ensemble([forecaster], settings)


def _ensemble(forecasters: list[Forecaster], settings: dict[str, Any]) -> EnsembleForecaster:
    return EnsembleForecaster(
        forecasters,
        perturbed=settings["members"]["perturbed"],
        perturbation=perturbation(settings),
        thresholds=settings["thresholds"],
    )
