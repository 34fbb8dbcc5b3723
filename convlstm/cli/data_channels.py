"""The channels of a model, which follow the data unless the command line names them."""

from __future__ import annotations

import copy
from typing import Any

from convlstm.datasets.sequence_dataset import SequenceDataset
from convlstm.runs.comparison import FOLLOWS_DATA

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

_KEYS = ("in_channels", "out_channels", "next_frame_weight")


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
