"""What a model is made of: its parameters, its multiplications, and the memory that it takes."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convlstm.ops import algorithm

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_flatten

# The program that composes a model from configs/, which this package does not know of.
DOOR = Path(__file__).resolve().parents[1] / "summary.py"


@dataclass
class Layer:
    """A part of a model that has parameters of its own.

    Attributes:
        name: Its place in the model.
        kind: Its class.
        shapes: Of its parameters, by name.
        parameters: How many numbers training changes.
    """

    name: str
    kind: str
    shapes: dict[str, tuple[int, ...]]
    parameters: int


def layers(model: nn.Module) -> list[Layer]:
    """The parts of a model with parameters of their own, in the model's order."""
    found = []
    for name, module in reversed(list(model.named_modules())):
        own = {key: value for key, value in module.items() if isinstance(value, mx.array)}
        if own:
            trained = sum(value.size for key, value in own.items() if key not in module._no_grad)
            found.append(Layer(name or "(model)", type(module).__name__, {k: v.shape for k, v in own.items()}, trained))
    return found


def parameters(model: nn.Module) -> int:
    """The number of trainable parameters."""
    arrays: Any = tree_flatten(model.trainable_parameters())
    return sum(array.size for _, array in arrays)


def macs(model: Callable[[mx.array, int], mx.array], shape: Sequence[int], horizon: int) -> int:
    """Multiply-accumulate operations of a forecast, those of its convolutions and matrix products.

    They are read from the graph of MLX's own operations, so that nothing is computed. As everywhere in the literature
    they are counted for plain convolutions: Winograd's need fewer. OpenSTL's figures are fvcore's, which counts 2 to 5
    operations for each value that a norm takes, too: 0.06 G more for SimVP, 0.10 G with inceptions.

    Args:
        model: Called as `model(inputs, horizon)`.
        shape: Of the inputs, (N, T_in, H, W, C).
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
            # A transposed convolution is one of an input with zeros between its values, which cost nothing.
            dilation = event["arguments"][4]
            total += size * math.prod(second[1:]) // math.prod(dilation)
        else:
            total += size * first[-1]

    with algorithm.without_kernels():
        mx.export_function(count, lambda x: model(x, horizon), mx.zeros(tuple(shape)))  # type: ignore[arg-type]
    return total


@dataclass
class Memory:
    """Peak memory in bytes.

    Attributes:
        forecast, training: Measured with one sequence: of a forecast, and of a training step with Adam.
        fixed: What of the training step does not grow with the batch: weights, gradients, and Adam's state.
    """

    forecast: int
    training: int
    fixed: int

    def of_batch(self, size: int) -> int:
        """An estimate for a training step on so many sequences."""
        return self.fixed + size * max(self.training - self.fixed, 0)


def memory(model: nn.Module, shape: Sequence[int], horizon: int) -> Memory:
    """Measures a forecast and a training step with one sequence of the shape (N, T_in, H, W, C); N is not used.

    The model is trained a step, with the mean squared error against zeros.
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


def main(argv: Sequence[str] | None = None) -> int:
    """Hands over to `summary.py`, where that is there; returns the exit code where it is not."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if DOOR.is_file() and (DOOR.parent / "configs" / "summary.yaml").is_file():
        os.execv(sys.executable, [sys.executable, str(DOOR), *arguments])
    print(
        "convlstm.summary: in a clone of the project, run python summary.py model=NAME or ckpt=FOLDER", file=sys.stderr
    )
    return 2


if __name__ == "__main__":
    sys.exit(main())
