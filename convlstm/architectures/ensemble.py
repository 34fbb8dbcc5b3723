"""An ensemble of models: several forecasts of the same frames, from several models or from perturbed inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from convlstm.architectures.perturbation import Perturbation
from convlstm.arguments import check_whole

import mlx.core as mx
import mlx.nn as nn
import numpy as np


class Ensemble(nn.Module):
    """Several models as one, with a forecast of each: `ensemble(inputs, horizon)`, or their `mean`.

    Args:
        models: Each forecasts as `model(inputs, horizon)`.
        perturbed: Members of each model, each from inputs of its own. Default: 1, from the inputs as they are.
        perturbation: What makes such inputs, where there is more than one. Default: `Perturbation()`.

    Attributes:
        size: The number of members, M.

    Raises:
        ValueError: There are fewer than two members.
    """

    def __init__(
        self,
        models: Sequence[Callable[[mx.array, int], mx.array]],
        *,
        perturbed: int = 1,
        perturbation: Perturbation | None = None,
    ):
        super().__init__()
        check_members("Ensemble", len(models), perturbed)
        self.models = list(models)
        self.perturbed, self.perturbation = perturbed, Perturbation() if perturbation is None else perturbation

    @property
    def size(self) -> int:
        return len(self.models) * self.perturbed

    def members(self, inputs: mx.array, horizon: int) -> Iterator[mx.array]:
        """The forecasts one after the other, (N, horizon, H, W, C) each: those of the first model first."""
        frames = None if self.perturbed == 1 else np.array(inputs.astype(mx.float32))
        for number in range(self.size):
            own = inputs if frames is None else mx.array(self.perturbation(frames, number)).astype(inputs.dtype)
            yield self.models[number // self.perturbed](own, horizon)

    def __call__(self, inputs: mx.array, horizon: int) -> mx.array:
        """Forecasts of the frames after the inputs, (N, T_in, H, W, C) -> (M, N, horizon, H, W, C)."""
        forecasts = []
        for forecast in self.members(inputs, horizon):
            mx.eval(forecast)  # one at a time needs the memory of one
            forecasts.append(forecast)
        return mx.stack(forecasts)

    def mean(self, inputs: mx.array, horizon: int) -> mx.array:
        """The mean of the members, on the model's scale, (N, horizon, H, W, C)."""
        total = None
        for forecast in self.members(inputs, horizon):
            total = forecast if total is None else total + forecast
            mx.eval(total)
        assert total is not None
        return total / self.size


def check_members(owner: str, models: int, perturbed: int) -> None:
    check_whole(owner, "perturbed", perturbed)
    if models * perturbed < 2:
        raise ValueError(
            f"[{owner}] an ensemble must have at least 2 members but got {models} model{'s' * (models != 1)} and "
            f"perturbed={perturbed}. Give more models, or more members of each by 'perturbed'."
        )
