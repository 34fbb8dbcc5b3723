"""The element-wise part of the ConvGRU and the TrajGRU: gates, candidate and hidden state."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import mlx.core as mx
import mlx.nn as nn

# Of the candidate, and of the TrajGRU's flows. The leaky ReLU's slope is that of Shi et al., 2017.
ACTIVATIONS: dict[str, Callable[[mx.array], mx.array]] = {
    "leaky_relu": lambda x: nn.leaky_relu(x, 0.2),
    "tanh": mx.tanh,
}


def check_activation(owner: str, activation: str) -> str:
    """The activation; ValueError where there is none of that name."""
    if activation not in ACTIVATIONS:
        raise ValueError(
            f"[{owner}] 'state_activation' must be one of {', '.join(ACTIVATIONS)} but got {activation!r}."
        )
    return activation


def reference_gru_gates(x: mx.array | None, y: mx.array, h: mx.array, activation: str) -> mx.array:
    """The gates as the equations state them. Arguments as in `gru_gates`."""
    xz, xr, xh = (0, 0, 0) if x is None else mx.split(x, 3, axis=-1)
    yz, yr, yh = mx.split(y, 3, axis=-1)
    z = mx.sigmoid(xz + yz)
    r = mx.sigmoid(xr + yr)
    g = ACTIVATIONS[activation](xh + r * yh)
    return (1 - z) * g + z * h


@cache
def _compiled(activation: str):
    def gates(y, h, *x):
        return reference_gru_gates(x[0] if x else None, y, h, activation)

    return mx.compile(gates)


def gru_gates(x: mx.array | None, y: mx.array, h: mx.array, activation: str) -> mx.array:
    r"""From the input's and the hidden state's shares of the pre-activations to the next hidden state.

        z = sigmoid(x_z + y_z)
        r = sigmoid(x_r + y_r)
        h' = (1 - z) . f(x_h + r . y_h) + z . h

    Args:
        x: The input's share (..., H, W, 3O), in the order z, r, h; None for no input.
        y: The hidden state's share (..., H, W, 3O), likewise.
        h: Hidden state (..., H, W, O).
        activation: f, one of `ACTIVATIONS`.

    Returns:
        `h'`, (..., H, W, O).
    """
    return _compiled(activation)(y, h, *(() if x is None else (x,)))
