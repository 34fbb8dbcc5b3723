"""The precision of training: float32, or bfloat16 for the model's forward and backward pass with float32 weights."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from convlstm.losses import Loss

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map

PRECISIONS = ("float32", "bfloat16")


def check_precision(owner: str, value: str) -> str:
    """Returns the precision, or raises ValueError if it is not one of `PRECISIONS`."""
    if value not in PRECISIONS:
        raise ValueError(f"[{owner}] 'precision' must be one of {', '.join(PRECISIONS)} but got {value!r}.")
    return value


def warn_if_slow(precision: str) -> None:
    """Warns of bfloat16 on a CPU."""
    if precision == "bfloat16" and mx.default_device() == mx.Device(mx.cpu):
        warnings.warn(
            "bfloat16 is slower than float32 on a CPU, many times for all but the smallest models. Use it on a GPU, or "
            "train with trainer.precision=float32.",
            stacklevel=3,
        )


def to_bfloat16(x: mx.array) -> mx.array:
    """Returns a float32 array as bfloat16, and any other array unchanged."""
    return x.astype(mx.bfloat16) if x.dtype == mx.float32 else x


@contextmanager
def weights_in_bfloat16(model: nn.Module) -> Iterator[None]:
    """Casts the model's trainable float32 weights to bfloat16 for the length of a `with` block.

    Gradients pass to the float32 weights.
    """
    weights = model.trainable_parameters()
    model.update(tree_map(to_bfloat16, weights))
    try:
        yield
    finally:
        model.update(weights)


def in_float32(loss: Loss) -> Loss:
    """Returns a loss that casts forecast and target to float32 first."""

    def wide(forecast: mx.array, target: mx.array, mask: mx.array | None = None) -> mx.array:
        return loss(forecast.astype(mx.float32), target.astype(mx.float32), mask)

    return wide
