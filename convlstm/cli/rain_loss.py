"""Bins and thresholds of losses in physical units, which get the transform of the data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from convlstm.cli.configuration import plain
from convlstm.cli.program import fail

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

_TRANSFORMS = "convlstm.datasets.transforms"
# The values in configs/loss, in mm/h.
_OF_RAIN = ([0.5, 2, 5, 10, 30], [0.5, 2, 5, 10])


def fit_to_data(config: DictConfig, data: Any) -> None:
    """Sets the transform of a loss's bins and thresholds to that of the data, unless another one is given.

    Ends the program if the bins are those of rain but the data are not rain in mm/h.

    Args:
        config: The configuration, whose section `loss` is changed.
        data: The data.
    """
    settings = plain(config)
    of_data, units = _transform_of(data)
    for key, section in _conversions("loss", settings["loss"]):
        if section.get("transform") not in (None, settings["data"].get("transform")):
            continue
        if units != "mm/h" and (units is None or section.get("values") in _OF_RAIN):
            name = HydraConfig.get().runtime.choices.get("loss")
            own = f', or name values in {units}: "{key}.values=[...]"' if units else ""
            fail(
                f"loss={name} is for rain: '{key}' is in mm/h, but the data are {units or 'values in [0, 1]'}. Choose "
                f"another loss, such as loss=mse or loss=mse_mae{own}."
            )
        OmegaConf.update(config, f"{key}.transform", of_data, force_add=True)


def _transform_of(data: Any) -> tuple[dict[str, Any] | None, str | None]:
    """Returns the description and the units of the transform of the data's targets, or None if they have not one."""
    transform = getattr(data, "transform", None)
    channels = getattr(data, "channels", None)
    if channels is not None and hasattr(channels, "targets") and len(channels.targets) == 1 and not channels.changes:
        transform = channels.targets[0].scale
    if transform is None or not hasattr(transform, "describe"):
        return None, None
    arguments = transform.describe()
    if (name := f"{type(transform).__module__}.{type(transform).__name__}").startswith(_TRANSFORMS):
        name = f"{_TRANSFORMS}.{type(transform).__name__}"
    return {"_target_": name} | {key: value for key, value in arguments.items() if key != "name"}, transform.units


def _conversions(key: str, section: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the keys and sections of all calls of `to_unit` in a section."""
    if isinstance(section, dict):
        if section.get("_target_") == f"{_TRANSFORMS}.to_unit":
            yield key, section
        for name, value in section.items():
            yield from _conversions(f"{key}.{name}", value)
    elif isinstance(section, list):
        for n, value in enumerate(section):
            yield from _conversions(f"{key}[{n}]", value)
