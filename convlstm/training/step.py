"""One training step."""

from __future__ import annotations

from collections.abc import Callable

from convlstm.evaluation import as_unit
from convlstm.losses import Loss

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np

Batch = dict[str, mx.array]


def to_device(batch: dict[str, np.ndarray]) -> Batch:
    """A batch as MLX arrays: frames as float32 in [0, 1], the mask as it is."""
    arrays = {name: as_unit(np.asarray(batch[name])) for name in ("inputs", "targets")}
    if batch.get("mask") is not None:
        arrays["mask"] = mx.array(np.asarray(batch["mask"]))
    return arrays


def number(scalar: mx.array) -> float:
    """A scalar's value; MLX's own `item` is declared as a complex number, too."""
    return scalar.item()  # type: ignore[return-value]


def make_step(
    model: nn.Module, optimizer: optim.Optimizer, loss: Loss, max_grad_norm: float | None = None
) -> Callable[[Batch, mx.array], tuple[mx.array, mx.array]]:
    """A compiled function `step(batch, key) -> (forecast's loss, gradient norm)` that updates model and optimizer.

    Args:
        model: Called as `model(inputs, horizon, key=key)`; or, where training minimises more than the forecast's loss,
            as `model.training_loss(loss, inputs, targets, mask, key) -> (what is minimised, the forecast's loss)`.
        optimizer: Its state must have been initialised with the model's parameters.
        loss: Called as `loss(forecast, targets, mask)`.
        max_grad_norm: Gradients whose norm over all parameters is larger are scaled down to it. None: never.
    """

    def objective(batch: Batch, key: mx.array) -> tuple[mx.array, mx.array]:
        inputs, targets, mask = batch["inputs"], batch["targets"], batch.get("mask")
        if hasattr(model, "training_loss"):
            return model.training_loss(loss, inputs, targets, mask, key)
        value = loss(model(inputs, targets.shape[1], key=key), targets, mask)
        return value, value

    value_and_grad = nn.value_and_grad(model, objective)
    state = [model.state, optimizer.state]

    def step(batch: Batch, key: mx.array) -> tuple[mx.array, mx.array]:
        (_, value), gradients = value_and_grad(batch, key)
        gradients, norm = optim.clip_grad_norm(gradients, float("inf") if max_grad_norm is None else max_grad_norm)
        optimizer.update(model, gradients)
        return value, norm

    compiled = mx.compile(step, inputs=state, outputs=state)

    def evaluated(batch: Batch, key: mx.array) -> tuple[mx.array, mx.array]:
        result = compiled(batch, key)
        mx.eval(result, state)
        return result

    return evaluated
