"""Activations outside of a recurrence: ReLUs, SiLU, GELU, a softmax, and a gate of half of the channels by the other.

`mlx.nn` compiles each of its activations, for which a CPU starts g++.
"""

from __future__ import annotations

from convlstm.ops.algorithm import takes_kernels
from convlstm.ops.cpu.library import library

import mlx.core as mx
import mlx.nn as nn


def relu(x: mx.array) -> mx.array:
    """Returns max(x, 0)."""
    return mx.maximum(x, 0)


def leaky_relu(x: mx.array, negative_slope: float) -> mx.array:
    """Returns max(negative_slope x, x)."""
    return mx.maximum(negative_slope * x, x)


def silu(x: mx.array) -> mx.array:
    """Returns x sigmoid(x)."""
    return x * mx.sigmoid(x)


def gelu(x: mx.array, algorithm: str = "auto") -> mx.array:
    """Returns x Phi(x), Phi(x) being the normal distribution's probability of a value below x.

    Args:
        x: Array of any shape.
        algorithm: 'native' is MLX's own function; the others use the kernel of `convlstm.ops.cpu` if it fits, exact to
            2e-7 of the largest value. Default: 'auto'.

    Source: Hendrycks and Gimpel, Gaussian Error Linear Units, 2016, without their approximations.
    """
    return _gelu(x) if takes_kernels(algorithm, x) else nn.gelu(x)  # type: ignore[return-value]


@mx.custom_function
def _gelu(x: mx.array) -> mx.array:
    return library().call("convlstm_gelu", [x], [x.shape], [x.size])[0]


@_gelu.vjp
def _(x, cotangent, _):
    return library().call("convlstm_gelu_backward", [x, cotangent], [x.shape], [x.size])[0]


def gated_halves(x: mx.array, algorithm: str = "auto") -> mx.array:
    """Returns sigmoid(g) f for the first half f and the second half g of the channels: (..., 2C) -> (..., C).

    Args:
        x: (..., 2C).
        algorithm: As in `gelu`.

    Raises:
        ValueError: The number of channels is odd.
    """
    if x.shape[-1] % 2:
        raise ValueError(f"[gated_halves] expected an even number of channels but got shape {tuple(x.shape)}.")
    if takes_kernels(algorithm, x):
        return _gated_halves(x)  # type: ignore[return-value]
    f, g = mx.split(x, 2, axis=-1)
    return mx.sigmoid(g) * f


@mx.custom_function
def _gated_halves(x: mx.array) -> mx.array:
    return library().call("convlstm_halves", [x], [(*x.shape[:-1], x.shape[-1] // 2)], _rows(x))[0]


@_gated_halves.vjp
def _(x, cotangent, _):
    return library().call("convlstm_halves_backward", [x, cotangent], [x.shape], _rows(x))[0]


def _rows(x: mx.array) -> list[int]:
    """Returns the number of rows, and the channels of one half."""
    return [x.size // x.shape[-1], x.shape[-1] // 2]


def softmax(x: mx.array, algorithm: str = "auto") -> mx.array:
    """Returns exp(x) divided by its sum over the last axis.

    Args:
        x: Array of at least one axis.
        algorithm: As in `gelu`.
    """
    return _softmax(x) if takes_kernels(algorithm, x) and x.size else mx.softmax(x, axis=-1)  # type: ignore[return-value]


@mx.custom_function
def _softmax(x: mx.array) -> mx.array:
    return library().call("convlstm_softmax", [x], [x.shape], [x.size // x.shape[-1], x.shape[-1]])[0]


@_softmax.vjp
def _(_, cotangent, y):
    numbers = [y.size // y.shape[-1], y.shape[-1]]
    return library().call("convlstm_softmax_backward", [y, cotangent], [y.shape], numbers)[0]
