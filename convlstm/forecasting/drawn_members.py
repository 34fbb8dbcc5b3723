"""The forecaster of a model that draws its members itself, such as STEPS."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from convlstm.forecasting.ensemble import EnsembleForecaster
from convlstm.forecasting.forecaster import Forecaster
from convlstm.forecasting.scale import FieldScale, Scale

import mlx.core as mx
import mlx.nn as nn
import numpy as np


class DrawnForecaster(EnsembleForecaster):
    """A forecaster of the mean of a model's own members, in physical units; `layers` has spread and probabilities.

    Args:
        model: `model(inputs, horizon)` returns the members, (M, N, horizon, H, W, C), and `model.size` is M.
        scale, input_frames, horizon, most_clipped, record: As in `Forecaster`.
        thresholds: As in `EnsembleForecaster`.

    Attributes:
        layers: As in `EnsembleForecaster`.
    """

    def __init__(
        self,
        model: nn.Module,
        scale: Scale | FieldScale | None = None,
        *,
        thresholds: Sequence[float] | None = None,
        **options: Any,
    ):
        self._drawn = _Drawn(model)
        member = Forecaster(self._drawn, scale, **options)  # type: ignore[arg-type]
        super().__init__([member], perturbed=self._drawn.size, thresholds=thresholds)
        self.model = model  # type: ignore[assignment]

    def members(
        self,
        frames: np.ndarray,
        horizon: int | None = None,
        *,
        times: np.ndarray | None = None,
        degrees: Any = None,
        perturb: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> Iterator[np.ndarray]:
        """Yields the members' forecasts. Arguments, results and errors are those of `Forecaster`."""
        (member,) = self.forecasters
        try:
            for number in range(self.size):
                self._drawn.number = number
                forecast = member(frames, horizon, times=times, degrees=degrees, perturb=perturb)
                self.missing, self.clipped = member.missing, member.clipped
                yield forecast
        finally:
            self._drawn.forget()

    def provenance(self) -> dict[str, Any]:
        """Returns the provenance of a `Forecaster` with the number of members."""
        return Forecaster.provenance(self) | {"ensemble": {"members": self.size}}


class _Drawn:
    """One member of a model's forecast at a time, drawn once for all of them: member 0 is asked for first."""

    def __init__(self, model: Any):
        self.model, self.size, self.number = model, int(model.size), 0
        self.forget()

    def forget(self) -> None:
        """Frees the members."""
        self._members = None

    def parameters(self) -> dict[str, Any]:
        return {}  # large frames are not cut into tiles, in which the members would differ

    def check_input(self, inputs: mx.array, horizon: int) -> None:
        self.model.check_input(inputs, horizon)

    def __call__(self, inputs: mx.array, horizon: int) -> mx.array:
        if self.number == 0:
            self._members = self.model(inputs, horizon)
            mx.eval(self._members)
        return self._members[self.number]  # type: ignore[index]
