"""Linear layers: products with a matrix of weights."""

from __future__ import annotations

import math

from convlstm.ops.algorithm import takes_kernels
from convlstm.ops.cpu.library import library

import mlx.core as mx

FEWEST = 16
"""With fewer channels than this, in or out, MLX computes the product."""


def linear(x: mx.array, weight: mx.array, bias: mx.array | None = None, algorithm: str = "auto") -> mx.array:
    """Returns x W^T + b.

    Args:
        x: (..., C).
        weight: (O, C).
        bias: (O,). Default: None, no bias.
        algorithm: 'native' is MLX's own product; the others use the kernel of `convlstm.ops.cpu` if it fits. Its
            results are the same with any number of threads. Default: 'auto'.

    Returns:
        (..., O).

    Raises:
        ValueError: The shapes do not fit each other.
    """
    fits = weight.ndim == 2 and x.ndim >= 1 and x.shape[-1] == weight.shape[1]
    if not fits or (bias is not None and bias.shape != weight.shape[:1]):
        raise ValueError(
            "[linear] expected an input (..., C), a weight (O, C) and a bias (O,) but got shapes "
            f"{tuple(x.shape)}, {tuple(weight.shape)} and {None if bias is None else tuple(bias.shape)}."
        )
    given = [x, weight] if bias is None else [x, weight, bias]
    if not _takes_kernel(algorithm, *given):
        y = x @ weight.T
        return y if bias is None else y + bias
    return (_linear if bias is None else _linear_with_bias)(*given)  # type: ignore[return-value]


def linear_gradients(x: mx.array, weight: mx.array, dy: mx.array) -> tuple[mx.array, ...]:
    """Returns the gradients of x (M, C) and of the weight (O, C) from that of `linear`, (M, O)."""
    if not _takes_kernel("auto", x, weight, dy):
        return dy @ weight, dy.T @ x
    return _gradients((x, weight), dy)


def _takes_kernel(algorithm: str, x: mx.array, weight: mx.array, *more: mx.array) -> bool:
    return min(weight.shape) >= FEWEST and takes_kernels(algorithm, x, weight, *more)


def _call(x: mx.array, weight: mx.array, *bias: mx.array) -> mx.array:
    shape = (*x.shape[:-1], weight.shape[0])
    return library().call("convlstm_linear", [x, weight, *bias], [shape], _numbers(x, weight, *bias))[0]


def _gradients(primals: tuple[mx.array, ...], cotangent: mx.array, _: mx.array | None = None) -> tuple[mx.array, ...]:
    x, weight = primals[:2]
    shapes = [a.shape for a in primals]
    return tuple(library().call("convlstm_linear_backward", [x, weight, cotangent], shapes, _numbers(*primals)))


def _numbers(x: mx.array, weight: mx.array, *bias: mx.array) -> list[int]:
    return [math.prod(x.shape[:-1]), x.shape[-1], weight.shape[0], len(bias)]


@mx.custom_function
def _linear(x: mx.array, weight: mx.array) -> mx.array:
    return _call(x, weight)


@mx.custom_function
def _linear_with_bias(x: mx.array, weight: mx.array, bias: mx.array) -> mx.array:
    return _call(x, weight, bias)


_linear.vjp(_gradients)
_linear_with_bias.vjp(_gradients)
