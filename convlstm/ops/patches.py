"""Convolutions as products of matrices: strided ones, and ones in groups, whose gradients MLX is slow at on a CPU."""

from __future__ import annotations

import math
from functools import cache

from convlstm.ops.cpu.library import library

import mlx.core as mx

Pair = tuple[int, int]


def patch_conv2d(x: mx.array, weight: mx.array, stride: Pair, padding: Pair, groups: int = 1) -> mx.array:
    """`mx.conv2d` without dilation, by what each output sees times the weight; of float32 on the CPU.

    Args:
        x: (N, H, W, C).
        weight: (O, kh, kw, C / groups).
        stride, padding: Of rows and columns; padding on both sides.
        groups: Of the channels, in and out. Default: 1.

    Returns:
        (N, H', W', O).
    """
    return _patch_conv2d(stride, padding, groups)(x, weight)


@cache
def _patch_conv2d(stride: Pair, padding: Pair, groups: int):
    def numbers(x: mx.array, weight: mx.array) -> list[int]:
        return [*x.shape, groups, *weight.shape[1:3], *stride, *padding]

    def grid(x: mx.array, weight: mx.array) -> tuple[int, ...]:
        sides = zip(x.shape[1:3], weight.shape[1:3], stride, padding, strict=True)
        return (x.shape[0], *((length + 2 * p - k) // s + 1 for length, k, s, p in sides))

    def patches(x: mx.array, weight: mx.array, *after: mx.array) -> mx.array:
        shape = (groups, math.prod(grid(x, weight)), math.prod(weight.shape[1:]))
        return library().call("convlstm_patches", [x, *after], [shape], numbers(x, weight))[0]

    def filters(weight: mx.array) -> mx.array:
        return weight.reshape(groups, weight.shape[0] // groups, -1)

    @mx.custom_function
    def run(x, weight):
        y = patches(x, weight) @ filters(weight).swapaxes(1, 2)
        return y.swapaxes(0, 1).reshape(*grid(x, weight), weight.shape[0])

    @run.vjp
    def _(given, cotangent, _):
        x, weight = given
        dy = cotangent.reshape(-1, groups, weight.shape[0] // groups).swapaxes(0, 1)
        # Taken again, since they are many times larger than the image; mx.compile would keep those of an equal call.
        dweight = dy.swapaxes(1, 2) @ patches(x, weight, cotangent)
        dpatches = dy @ filters(weight)
        dx = library().call("convlstm_patches_backward", [dpatches], [x.shape], numbers(x, weight))[0]
        return dx, dweight.reshape(weight.shape)

    return run
