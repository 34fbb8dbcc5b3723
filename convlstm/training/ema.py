"""The exponential moving average of a model's weights, which validations and forecasts use if there is one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import Any

from convlstm import checkpoints
from convlstm.ops import compilation
from convlstm.runs.progress import Progress

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten


def check_decay(owner: str, decay: float | None) -> None:
    """Raises ValueError if a decay is neither between 0 and 1 nor None."""
    if decay is not None and not (isinstance(decay, Real) and not isinstance(decay, bool) and 0 < decay < 1):
        raise ValueError(f"[{owner}] 'ema' must be between 0 and 1, or null for no average, but got {decay!r}.")


class WeightAverage:
    r"""The exponential moving average of a model's trainable weights, in float32.

        a_{t+1} = d_t a_t + (1 - d_t) w_{t+1},   d_t = min(decay, (1 + t) / (10 + t)),   a_0 = w_0

    w_t are the weights after t steps. The decay grows with the steps, so the first weights soon count little.

    Args:
        model: Model whose weights are averaged, from its current ones on.
        decay: Share of the old average that a late step keeps, between 0 and 1.
        steps: Steps that the average contains already, t. Default: 0.

    Source: the growth of the decay is that of TensorFlow's `ExponentialMovingAverage`.
    """

    def __init__(self, model: nn.Module, decay: float, *, steps: int = 0):
        self.decay, self.steps = decay, steps
        self.weights = {name: array.astype(mx.float32) for name, array in _named(model.trainable_parameters()).items()}
        self._blend = compilation.whole(
            lambda averages, weights, share: [
                a + share * (w.astype(mx.float32) - a) for a, w in zip(averages, weights, strict=True)
            ]
        )

    def update(self, model: nn.Module) -> None:
        """Adds the model's weights after a step to the average."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        weights = _named(model.trainable_parameters())
        blended = self._blend(
            list(self.weights.values()), [weights[name] for name in self.weights], mx.array(1 - decay)
        )
        mx.eval(blended)
        self.weights = dict(zip(self.weights, blended, strict=True))
        self.steps += 1

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Gives the model the averaged weights for the length of a `with` block."""
        weights = model.trainable_parameters()
        model.update(tree_unflatten(list(self.weights.items())))
        try:
            yield
        finally:
            model.update(weights)


def begin_average(
    model: nn.Module, decay: float | None, progress: Progress, checkpoint: Path | None
) -> WeightAverage | None:
    """Returns the average at the start of a run: the checkpoint's if it has one, otherwise the model's weights.

    Args:
        model: Model whose weights are averaged.
        decay: Decay of the average, or None for no average.
        progress: The run's progress. Its `averaged` is set to the steps in the returned average.
        checkpoint: Checkpoint that the run is resumed from, or None.

    Raises:
        CheckpointError: The average in the checkpoint is damaged or does not fit the model.
    """
    saved = None if decay is None or checkpoint is None else checkpoints.read_ema(checkpoint, model)
    progress.averaged = 0 if saved is None else progress.averaged
    if decay is None:
        return None
    average = WeightAverage(model, decay, steps=progress.averaged)
    if saved is not None:
        average.weights = {name: saved[name] for name in average.weights}
    return average


def _named(tree: Any) -> dict[str, mx.array]:
    return tree_flatten(tree, destination={})  # type: ignore[return-value]
