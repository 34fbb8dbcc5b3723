"""The precision in which a model trains: float32, or bfloat16 with float32 weights behind it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from convlstm.losses import Loss

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map

PRECISIONS = ("float32", "bfloat16")


def check_precision(owner: str, value: str) -> str:
    """The precision; raises ValueError naming `owner` where it is none of `PRECISIONS`."""
    if value not in PRECISIONS:
        raise ValueError(f"[{owner}] 'precision' must be one of {', '.join(PRECISIONS)} but got {value!r}.")
    return value


def to_bfloat16(x: mx.array) -> mx.array:
    """The array as bfloat16 where it is float32, else as it is."""
    return x.astype(mx.bfloat16) if x.dtype == mx.float32 else x


@contextmanager
def weights_in_bfloat16(model: nn.Module) -> Iterator[None]:
    """Meanwhile the model's trainable float32 weights are bfloat16; gradients pass to those it has before and after."""
    weights = model.trainable_parameters()
    model.update(tree_map(to_bfloat16, weights))
    try:
        yield
    finally:
        model.update(weights)


def in_float32(loss: Loss) -> Loss:
    """The loss, computed in float32 whatever the precision of the forecast and the targets."""

    def wide(forecast: mx.array, target: mx.array, mask: mx.array | None = None) -> mx.array:
        return loss(forecast.astype(mx.float32), target.astype(mx.float32), mask)

    return wide
