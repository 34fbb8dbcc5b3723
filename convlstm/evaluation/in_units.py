"""Forecasters of physical values, scored on data whose frames are departures from a climatology."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from convlstm.evaluation.physical_data import FieldData

import mlx.core as mx
import numpy as np


class InUnits:
    """A forecaster that gets and gives values in the units of the fields, such as persistence.

    Persistence of departures is another forecast: it moves with the climatology.

    Args:
        forecaster: Forecasts (N, horizon, H, W, targets) from values (N, T_in, H, W, targets).
        data: Data of fields with a climatology, whose batches have `input_reference`.
    """

    def __init__(self, forecaster: Callable[[mx.array, int], mx.array], data: FieldData):
        self.forecaster, self.data = forecaster, data

    def __call__(self, inputs: mx.array, horizon: int, batch: Mapping[str, Any]) -> mx.array:
        """Returns the forecast of a batch on the scale of the data, (N, horizon, H, W, targets)."""
        departures = np.array(inputs[..., mx.array(list(self.data.target_channels))])
        values = self.data.physical(departures, np.nan_to_num(batch["input_reference"]))
        forecast = np.array(self.forecaster(mx.array(values), horizon))
        # Clipped, it would be a better forecast than persistence is.
        scaled: np.ndarray = self.data.unclipped(forecast, np.nan_to_num(batch["reference"]))  # type: ignore[attr-defined]
        return mx.array(scaled)
