"""One training step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from convlstm.evaluation import as_unit
from convlstm.losses import Loss

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_flatten, tree_map

Batch = dict[str, mx.array]

PRECISIONS = ("float32", "bfloat16")


def to_device(batch: dict[str, np.ndarray]) -> Batch:
    """A batch as MLX arrays: frames as float32 in [0, 1], the mask as it is."""
    arrays = {name: as_unit(np.asarray(batch[name])) for name in ("inputs", "targets")}
    if batch.get("mask") is not None:
        arrays["mask"] = mx.array(np.asarray(batch["mask"]))
    return arrays


def number(scalar: mx.array) -> float:
    """A scalar's value; MLX's own `item` is declared as a complex number, too."""
    return scalar.item()  # type: ignore[return-value]


def check_precision(owner: str, value: str) -> str:
    """The precision; raises ValueError naming `owner` where it is none of `PRECISIONS`."""
    if value not in PRECISIONS:
        raise ValueError(f"[{owner}] 'precision' must be one of {', '.join(PRECISIONS)} but got {value!r}.")
    return value


@contextmanager
def weights_in_bfloat16(model: nn.Module) -> Iterator[None]:
    """Meanwhile the model's trainable float32 weights are bfloat16; gradients pass to those it has before and after."""
    weights = model.trainable_parameters()
    model.update(tree_map(_narrow, weights))
    try:
        yield
    finally:
        model.update(weights)


def _narrow(x: mx.array) -> mx.array:
    return x.astype(mx.bfloat16) if x.dtype == mx.float32 else x


def in_float32(loss: Loss) -> Loss:
    """The loss, computed in float32 whatever the precision of the forecast and the targets."""

    def wide(forecast: mx.array, target: mx.array, mask: mx.array | None = None) -> mx.array:
        return loss(forecast.astype(mx.float32), target.astype(mx.float32), mask)

    return wide


def make_step(
    model: nn.Module,
    optimizer: optim.Optimizer,
    loss: Loss,
    max_grad_norm: float | None = None,
    *,
    precision: str = "float32",
) -> Callable[[Batch, mx.array], tuple[mx.array, mx.array]]:
    """A compiled function `step(batch, key) -> (forecast's loss, gradient norm)` that updates model and optimizer.

    In bfloat16 the model runs forwards and backwards on bfloat16 copies of its trainable weights and of the inputs. The
    weights themselves, their gradients, the optimizer and the loss are float32, and so is what the model does not train
    (frozen weights, running statistics).

    Args:
        model: Called as `model(inputs, horizon, key=key)`; or, where training minimises more than the forecast's loss,
            as `model.training_loss(loss, inputs, targets, mask, key) -> (what is minimised, the forecast's loss)`. The
            targets stay float32: a model that reads them beside the inputs gives them the inputs' type.
        optimizer: Its state must have been initialised with the model's parameters.
        loss: Called as `loss(forecast, targets, mask)`.
        max_grad_norm: Gradients whose norm over all parameters is larger are scaled down to it. None: never.
        precision: 'float32' or 'bfloat16'. Default: 'float32'.

    Raises:
        ValueError: `precision` is neither.
    """
    narrow = check_precision("make_step", precision) == "bfloat16"
    loss = in_float32(loss) if narrow else loss

    def objective(batch: Batch, key: mx.array) -> tuple[mx.array, mx.array]:
        inputs, targets, mask = batch["inputs"], batch["targets"], batch.get("mask")
        if hasattr(model, "training_loss"):
            return model.training_loss(loss, inputs, targets, mask, key)
        value = loss(model(inputs, targets.shape[1], key=key), targets, mask)
        return value, value

    def objective_in_bfloat16(batch: Batch, key: mx.array) -> tuple[mx.array, mx.array]:
        with weights_in_bfloat16(model):
            return objective(batch | {"inputs": _narrow(batch["inputs"])}, key)

    value_and_grad = nn.value_and_grad(model, objective_in_bfloat16 if narrow else objective)
    state = [model.state, optimizer.state]

    def step(batch: Batch, key: mx.array) -> tuple[mx.array, mx.array]:
        (_, value), gradients = value_and_grad(batch, key)
        gradients, norm = optim.clip_grad_norm(gradients, float("inf") if max_grad_norm is None else max_grad_norm)
        optimizer.update(model, gradients)
        return value, norm

    compiled = mx.compile(step, inputs=state, outputs=state)

    def evaluated(batch: Batch, key: mx.array) -> tuple[mx.array, mx.array]:
        value, norm = compiled(batch, key)
        # The norm needs all gradients, and nothing of the update: that is left to be done array by array, each of which
        # frees its old values. Evaluated at once, new weights and state would lie beside the old ones, and some of them
        # beside what the backward pass still needs.
        mx.eval(value)
        mx.eval(norm)
        weights: Any = tree_flatten(model.trainable_parameters())
        for _, array in weights:
            mx.eval(array)
        mx.eval(state)
        return value, norm

    return evaluated
