"""The scale of a forecaster, which maps physical values to those that its model was trained on, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from convlstm.checkpoints.build import UntrustedTargetError, build
from convlstm.gaps import Missing

import numpy as np

_SCALES, _CHANNELS = "convlstm.datasets.transforms", "convlstm.datasets.channels"


@runtime_checkable
class Scale(Protocol):
    """A map from physical values to those that a model was trained on, and back. NaN stays NaN."""

    def forward(self, x: np.ndarray) -> np.ndarray: ...
    def inverse(self, y: np.ndarray) -> np.ndarray: ...


@runtime_checkable
class FieldScale(Protocol):
    """The way from several fields to a model's channels and back, `convlstm.datasets.channels.Channels`."""

    def inputs(self, frames: np.ndarray, times: np.ndarray | None, degrees: Any) -> tuple[np.ndarray, Missing]: ...
    def reference(self, frames: np.ndarray, times: np.ndarray | None, count: int) -> np.ndarray | None: ...
    def physical(self, y: np.ndarray, reference: np.ndarray | None) -> np.ndarray: ...
    def clipped(self, frames: np.ndarray, times: np.ndarray | None) -> dict[str, float]: ...
    def of_targets(self, frames: np.ndarray) -> np.ndarray: ...
    def target_units(self) -> str: ...


class Unscaled:
    """The scale of data that is in [0, 1] already."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        return np.clip(np.asarray(x, np.float32), 0, 1)

    def inverse(self, y: np.ndarray) -> np.ndarray:
        return np.clip(np.asarray(y, np.float32), 0, 1)


class AsItIs:
    """The scale of a model that forecasts in the units of its input, such as persistence.

    Args:
        units: Units of the values. Default: none.
    """

    def __init__(self, units: str = ""):
        self.units = units

    def forward(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(x, np.float32)

    def inverse(self, y: np.ndarray) -> np.ndarray:
        return np.asarray(y, np.float32)


def scale_of(
    section: Mapping[str, Any],
    record: Mapping[str, Any],
    trusted: Sequence[str],
    maps: Mapping[str, np.ndarray] | None = None,
) -> Scale | FieldScale | None:
    """Returns the scale of a checkpoint's data, or None if the data has none.

    Args:
        section: The configuration's section `data`.
        record: The description of the data in the checkpoint's state.
        trusted: Packages whose classes the checkpoint may name, beside the scales of convlstm.
        maps: Arrays of the checkpoint's data, as `checkpoints.read_maps` returns them. Default: none.

    Raises:
        UntrustedTargetError: The class of the scale lies outside these packages.
        ValueError: The scale cannot be built.
    """
    if isinstance(record.get("channels"), dict):
        arrays = {"arrays": dict(maps)} if maps else {}
        description = {"_target_": f"{_CHANNELS}.Channels", **record["channels"], **arrays}
        try:
            channels: FieldScale = build(description, (_CHANNELS,))
            return channels
        except (KeyError, TypeError, AttributeError, IndexError) as error:  # the record may come from anybody
            raise ValueError(f"[Forecaster] the channels of the checkpoint cannot be built ({error!r}).") from error
    described = section.get("transform")
    if described is None and isinstance(record.get("transform"), dict):
        transform = dict(record["transform"])
        described = {"_target_": f"{_SCALES}.{transform.pop('name', '')}", **transform}
    if described is None:
        return None
    try:
        return build(described, (*trusted, _SCALES), Scale)
    except (ValueError, ImportError) as error:
        if isinstance(error, UntrustedTargetError) and "outside" in str(error):
            raise
        raise ValueError(
            f"[Forecaster] the scale of the checkpoint's data cannot be built ({error}). Pass one: scale=..."
        ) from error
