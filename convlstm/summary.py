"""A summary of a model: its layers, parameters, multiplications and memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from convlstm.ops import algorithm

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_flatten


@dataclass
class Layer:
    """A part of a model that has parameters of its own.

    Attributes:
        name: Its path in the model.
        kind: Name of its class.
        shapes: Shapes of its parameters, by name.
        parameters: Number of values that training changes.
    """

    name: str
    kind: str
    shapes: dict[str, tuple[int, ...]]
    parameters: int


def layers(model: nn.Module) -> list[Layer]:
    """Returns the parts of a model with parameters of their own, in the model's order."""
    parts = []
    for name, module in reversed(list(model.named_modules())):
        arrays = {key: value for key, value in module.items() if isinstance(value, mx.array)}
        if arrays:
            trained = sum(value.size for key, value in arrays.items() if key not in module._no_grad)
            parts.append(
                Layer(name or "(model)", type(module).__name__, {k: v.shape for k, v in arrays.items()}, trained)
            )
    return parts


def parameters(model: nn.Module) -> int:
    """Returns the number of trainable parameters."""
    arrays: Any = tree_flatten(model.trainable_parameters())
    return sum(array.size for _, array in arrays)


def macs(model: Callable[[mx.array, int], mx.array], shape: Sequence[int], horizon: int) -> int:
    """Returns the number of multiply-accumulate operations in the convolutions and matrix products of a forecast.

    They are read from the graph of MLX's own operations; nothing is computed. As in the literature, they are counted
    for plain convolutions, although Winograd's algorithm needs fewer. OpenSTL takes its figures from fvcore, which also
    counts 2 to 5 operations for each value of a norm: 0.06 G more for SimVP, 0.10 G with inceptions.

    Args:
        model: Model, called as `model(inputs, horizon)`.
        shape: Shape of the inputs, (N, T_in, H, W, C).
        horizon: Number of frames to forecast.
    """
    total = 0

    def count(event: dict[str, Any]) -> None:
        nonlocal total
        if event["type"] != "primitive" or event["name"] not in ("Convolution", "Matmul", "AddMM", "GatherMM"):
            return
        (_, first, *_), (_, second, *_) = event["inputs"][:2]
        size = math.prod(event["outputs"][0][1])
        if event["name"] == "Convolution":
            # A transposed convolution has zeros between the values of its input, which cost nothing.
            dilation = event["arguments"][4]
            total += size * math.prod(second[1:]) // math.prod(dilation)
        else:
            total += size * first[-1]

    # In training, norms would keep statistics that were never computed.
    training = isinstance(model, nn.Module) and model.training
    if isinstance(model, nn.Module):
        model.eval()
    with algorithm.without_kernels():
        mx.export_function(count, lambda x: model(x, horizon), mx.zeros(tuple(shape)))  # type: ignore[arg-type]
    if isinstance(model, nn.Module):
        model.train(training)
    return total


@dataclass
class Memory:
    """Peak memory in bytes.

    Attributes:
        forecast: Peak of a forecast of one sequence.
        training: Peak of a training step with Adam on one sequence.
        fixed: Part of `training` that does not grow with the batch: weights, gradients, and Adam's state.
    """

    forecast: int
    training: int
    fixed: int

    def of_batch(self, size: int) -> int:
        """Returns an estimate for a training step on `size` sequences."""
        return self.fixed + size * max(self.training - self.fixed, 0)


def memory(model: nn.Module, shape: Sequence[int], horizon: int) -> Memory:
    """Returns the measured peak memory of a forecast and of a training step, with one sequence.

    The model's weights change, since it is trained for a step.

    Args:
        model: Model, called as `model(inputs, horizon)`.
        shape: Shape of the inputs, (N, T_in, H, W, C); N is not used.
        horizon: Number of frames to forecast.
    """
    x = mx.zeros((1, *shape[1:]))
    model.eval()
    forecast = _peak(lambda: mx.eval(model(x, horizon)))
    model.train()
    optimizer = optim.Adam(1e-4)
    optimizer.init(model.trainable_parameters())
    step = nn.value_and_grad(model, lambda: mx.square(model(x, horizon, key=mx.random.key(0))).mean())

    def train() -> None:
        _, gradients = step()
        optimizer.update(model, gradients)
        mx.eval(model.state, optimizer.state)

    training = _peak(train)
    model.eval()
    return Memory(forecast, training, 16 * parameters(model))


def _peak(work: Callable[[], None]) -> int:
    mx.reset_peak_memory()
    work()
    return mx.get_peak_memory()
