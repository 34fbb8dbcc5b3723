"""Keys of a model that follow the data unless the command line names them: channels, step and side of pixels."""

from __future__ import annotations

import copy
import math
from typing import Any

from convlstm.architectures.coarse_pixels import CoarsePixels, sides_of
from convlstm.architectures.model_facts import FACTS
from convlstm.datasets.sequence_dataset import SequenceDataset
from convlstm.runs.comparison import FOLLOWS_DATA

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

_KEYS = ("in_channels", "out_channels", "next_frame_weight", *FACTS)


def follow_channels(config: DictConfig, data: Any) -> None:
    """Gives the model the channels of the data, except for keys that the command line names."""
    if not isinstance(data, SequenceDataset):
        return
    channels = data.frame_shape[-1]
    outputs = channels if data.target_channels is None else len(data.target_channels)
    wanted: dict[str, float | None] = {
        "in_channels": channels,
        "out_channels": outputs if outputs != channels else None,
    }
    if outputs != channels:
        wanted["next_frame_weight"] = 0.0  # the next input frame has channels that the model does not forecast
    for key, value in wanted.items():
        if key in config.model and config.model[key] != value and not _named(key):
            print(f"note        model.{key} is {value}, since the data have {channels} channels", end="")
            print("" if outputs == channels else f" and targets of {outputs}")
            config.model[key] = value


def follow_facts(config: DictConfig, model: Any, data: Any) -> None:
    """Gives a model that asks for facts about the data those of the data, if all their sequences have the same ones.

    The configuration keeps them, so that forecasts of the trained model start from them.
    """
    if not getattr(model, "told", ()) or not hasattr(model, "adopt"):
        return
    sides, interval = sides_of(data), getattr(data, "frame_interval", None)
    known = {
        "minutes": interval if interval is not None and math.isfinite(interval) else None,
        "pixel_km": None if sides is None else CoarsePixels().side(*sides),
    }
    blocks = CoarsePixels() if sides is None else CoarsePixels.towards(model.pixel_km, *sides)
    if config.get("init") is not None and not blocks.single:
        print(
            f"note        the pixels are {known['pixel_km']:.3g} km wide, but the weights in init are for "
            f"{model.pixel_km:.3g} km: data.coarsen={max(blocks.factors)} averages them"
        )
    for key, value in known.items():
        if value is not None and config.model[key] != value and not _named(key):
            print(f"note        model.{key} is {value:.4g}, that of the data")
            config.model[key] = value
            model.adopt(**{key: value})
    if sides is None and hasattr(data, "sides_km") and not _named("pixel_km"):
        print(f"note        the data do not say the side of their pixels, taken as model.pixel_km={model.pixel_km:g}")


def before_data(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns settings whose model equals any former one in the keys that are known once the data are."""
    settings = copy.deepcopy(settings)
    for key in _KEYS:
        if key in settings["model"] and not _named(key):
            settings["model"][key] = FOLLOWS_DATA
    return settings


def _named(key: str) -> bool:
    """Returns True if the command line names a key of the model."""
    changes = HydraConfig.get().overrides.task
    return f"model.{key}" in {change.lstrip("+").partition("=")[0] for change in changes}
