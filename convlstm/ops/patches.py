"""Convolutions as matrix products. On a CPU they are faster than MLX's if there are strides or few channels."""

from __future__ import annotations

import math
from functools import cache

from convlstm.ops.cpu.library import library
from convlstm.ops.linear import linear, linear_gradients

import mlx.core as mx

Pair = tuple[int, int]


def patch_conv2d(x: mx.array, weight: mx.array, stride: Pair, padding: Pair) -> mx.array:
    """Returns `mx.conv2d` without dilation: the patch of pixels that each output sees, times the weight.

    It needs float32 and the CPU.

    Args:
        x: (N, H, W, C).
        weight: (O, kh, kw, C).
        stride, padding: For rows and columns; the padding is added on both sides.

    Returns:
        (N, H', W', O).
    """
    return _patch_conv2d(stride, padding)(x, weight)


@cache
def _patch_conv2d(stride: Pair, padding: Pair):
    def numbers(x: mx.array, weight: mx.array) -> list[int]:
        return [*x.shape, *weight.shape[1:3], *stride, *padding]

    def grid(x: mx.array, weight: mx.array) -> tuple[int, ...]:
        sides = zip(x.shape[1:3], weight.shape[1:3], stride, padding, strict=True)
        return (x.shape[0], *((length + 2 * p - k) // s + 1 for length, k, s, p in sides))

    def patches(x: mx.array, weight: mx.array, *after: mx.array) -> mx.array:
        shape = (math.prod(grid(x, weight)), weight[0].size)
        return library().call("convlstm_patches", [x, *after], [shape], numbers(x, weight))[0]

    @mx.custom_function
    def run(x, weight):
        y = linear(patches(x, weight), weight.reshape(len(weight), -1))
        return y.reshape(*grid(x, weight), len(weight))

    @run.vjp
    def _(primals, cotangent, _):
        x, weight = primals
        dy = cotangent.reshape(-1, len(weight))
        # The patches are many times larger than the image, so they are computed again and not kept. The cotangent is an
        # argument only to make the calls differ, since mx.compile would keep the result of an equal call.
        dpatches, dweight = linear_gradients(patches(x, weight, cotangent), weight.reshape(len(weight), -1), dy)
        dx = library().call("convlstm_patches_backward", [dpatches], [x.shape], numbers(x, weight))[0]
        return dx, dweight.reshape(weight.shape)

    return run
