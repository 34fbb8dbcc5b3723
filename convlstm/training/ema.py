"""The exponential moving average of a model's weights, which validation and forecasts use where it is on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from convlstm import checkpoints
from convlstm.runs.progress import Progress

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten


def check_decay(owner: str, decay: float | None) -> float | None:
    """The decay, or None; raises ValueError naming `owner` where it is not between 0 and 1."""
    if decay is not None and not 0 < decay < 1:
        raise ValueError(f"[{owner}] 'ema' must be between 0 and 1, or null for no average, but got {decay!r}.")
    return decay


class WeightAverage:
    r"""The exponential moving average of a model's trainable weights, in float32.

        a_{t+1} = d_t a_t + (1 - d_t) w_{t+1},   d_t = min(decay, (1 + t) / (10 + t)),   a_0 = w_0

    w_t are the weights after t steps: the decay grows with the steps, so that the first weights are soon forgotten.

    Args:
        model: Whose weights are averaged, from those it has now.
        decay: Share of the old average that a step keeps, between 0 and 1, once there are steps enough.
        steps: Steps that are in the average already, t. Default: 0.

    Source: the decay's growth is that of TensorFlow's `ExponentialMovingAverage`.
    """

    def __init__(self, model: nn.Module, decay: float, *, steps: int = 0):
        self.decay, self.steps = decay, steps
        self.weights = {name: array.astype(mx.float32) for name, array in _named(model.trainable_parameters()).items()}
        self._blend = mx.compile(
            lambda averages, weights, share: [
                a + share * (w.astype(mx.float32) - a) for a, w in zip(averages, weights, strict=True)
            ]
        )

    def update(self, model: nn.Module) -> None:
        """Takes the model's weights after a step into the average."""
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
        """Meanwhile the model has the averages for its weights."""
        own = model.trainable_parameters()
        model.update(tree_unflatten(list(self.weights.items())))
        try:
            yield
        finally:
            model.update(own)


def begin_average(
    model: nn.Module, decay: float | None, progress: Progress, resume: Path | None
) -> WeightAverage | None:
    """The average that a run goes on with: that of the checkpoint, or one that starts with the model's weights.

    Args:
        model: Whose weights are averaged.
        decay: As `WeightAverage` takes it; None for no average.
        progress: Says how many steps are in the checkpoint's average, and afterwards in this one.
        resume: The checkpoint's folder, or None.
    """
    kept = None if decay is None or resume is None else checkpoints.read_ema(resume, model)
    progress.averaged = 0 if kept is None else progress.averaged
    if decay is None:
        return None
    average = WeightAverage(model, decay, steps=progress.averaged)
    if kept is not None:
        average.weights = {name: kept[name] for name in average.weights}
    return average


def _named(tree: Any) -> dict[str, mx.array]:
    return tree_flatten(tree, destination={})  # type: ignore[return-value]
