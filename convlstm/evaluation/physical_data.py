"""The data behind frames that stand for physical values, as evaluations and pictures need them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np


class RainField(Protocol):
    """Data whose frames stand for physical values; `convlstm.datasets.radar_echo.RadarEcho` is one.

    Its batches have the true values as `truth`: `physical` of the targets has other events, since the model's scale
    clips and rounds.

    Attributes:
        units: Units of the physical values: 'mm/h', 'dBZ' or 'raw'.
        thresholds: Thresholds of the scores, in these units.
        pixel_km: Side of a pixel in km, or None.
    """

    units: str
    thresholds: Sequence[float]
    pixel_km: float | None

    def physical(self, x: np.ndarray) -> np.ndarray:
        """Returns values in [0, 1], of any shape, in the physical units."""


class FieldData(Protocol):
    """Data whose frames stand for fields in their own units; `convlstm.datasets.gridded_fields.GriddedFields` is one.

    Its batches have the true values as `truth`, and if changes are forecast also `reference`, to which they add. With
    a climatology, `input_reference` is that of the inputs, and `unclipped` is the inverse of `physical`.

    Attributes:
        target_fields: The fields of the targets, each with `name` and `units`, in the order of the channels.
        target_channels: Their numbers among the channels of the inputs.
    """

    target_fields: Sequence[Any]
    target_channels: Sequence[int]

    def physical(self, x: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
        """Returns values in [0, 1], (..., targets), in the units of the fields."""
