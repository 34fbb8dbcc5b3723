"""Ensembles: several forecasts of the same frames, by several models or from perturbed inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from convlstm.architectures.perturbation import Perturbation
from convlstm.arguments import check_whole

import mlx.core as mx
import mlx.nn as nn
import numpy as np


class Ensemble(nn.Module):
    """A forecaster that returns the forecast of each of its members, `ensemble(inputs, horizon)`, or their `mean`.

    Args:
        models: The models, each called as `model(inputs, horizon)`.
        perturbed: Members of each model, each with its own inputs. Default: 1, with the inputs as they are.
        perturbation: Draws the inputs of the members if `perturbed` is above 1. Default: `Perturbation()`.

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
        """Yields the forecasts, (N, horizon, H, W, C) each: all members of the first model first."""
        frames = None if self.perturbed == 1 else np.array(inputs.astype(mx.float32))
        for number in range(self.size):
            model, perturbed = self.models[number // self.perturbed], inputs
            if frames is not None:
                circular = getattr(model, "circular", False)
                perturbed = mx.array(self.perturbation(frames, number, circular=circular)).astype(inputs.dtype)
            yield model(perturbed, horizon)

    def __call__(self, inputs: mx.array, horizon: int) -> mx.array:
        """Returns the members' forecasts: (N, T_in, H, W, C) -> (M, N, horizon, H, W, C)."""
        forecasts = []
        for forecast in self.members(inputs, horizon):
            mx.eval(forecast)  # one at a time, which needs the memory of one
            forecasts.append(forecast)
        return mx.stack(forecasts)

    def mean(self, inputs: mx.array, horizon: int) -> mx.array:
        """Returns the mean of the members, on the model's scale, (N, horizon, H, W, C)."""
        members = self.members(inputs, horizon)
        total = next(members)
        for forecast in members:
            total = total + forecast
            mx.eval(total)
        return total / self.size


def check_members(owner: str, models: int, perturbed: int) -> None:
    """Raises ValueError if the product of `models` and `perturbed`, the number of members, is below two."""
    check_whole(owner, "perturbed", perturbed)
    if models * perturbed < 2:
        raise ValueError(
            f"[{owner}] an ensemble must have at least 2 members but got {models} model{'s' * (models != 1)} and "
            f"perturbed={perturbed}. Give more models, or more members of each by 'perturbed'."
        )
