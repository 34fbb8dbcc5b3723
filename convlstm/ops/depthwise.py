"""Depthwise convolution: each channel by itself."""

from __future__ import annotations

from convlstm.ops.algorithm import takes_kernels
from convlstm.ops.cpu.library import library

import mlx.core as mx


def depthwise_conv2d(x: mx.array, weight: mx.array, dilation: int = 1, algorithm: str = "auto") -> mx.array:
    """Convolution of each channel with a kernel of its own, on the same grid, beyond which there are zeros.

    Args:
        x: (N, H, W, C).
        weight: (kh, kw, C), odd sizes.
        dilation: Distance of the pixels that the kernel sees. Default: 1.
        algorithm: 'native' for MLX's own convolution, whose groups are slow on a CPU; the others take the kernel of
            `convlstm.ops.cpu` where there is one. Default: 'auto'.

    Returns:
        (N, H, W, C).

    Raises:
        ValueError: Input and kernel have different channels, or the kernel has no centre.
    """
    if x.ndim != 4 or weight.ndim != 3 or x.shape[-1] != weight.shape[-1]:
        raise ValueError(
            "[depthwise_conv2d] expected an input (N, H, W, C) and a kernel (kh, kw, C) of as many channels but got "
            f"shapes {tuple(x.shape)} and {tuple(weight.shape)}."
        )
    kh, kw, C = weight.shape
    if kh % 2 == 0 or kw % 2 == 0:
        raise ValueError(f"[depthwise_conv2d] the kernel must have odd sizes but is {kh}x{kw}.")
    if takes_kernels(algorithm, x, weight):
        return _kernel(dilation)(x, weight)
    padding = (dilation * (kh // 2), dilation * (kw // 2))
    return mx.conv2d(x, weight.transpose(2, 0, 1)[..., None], 1, padding, dilation, groups=C)


def _kernel(dilation: int):
    """The CPU's kernel for a dilation, which is no array and so none of the function's arguments."""

    def numbers(x: mx.array, weight: mx.array) -> list[int]:
        return [*x.shape, *weight.shape[:2], dilation]

    @mx.custom_function
    def convolve(x: mx.array, weight: mx.array) -> mx.array:
        return library().call("convlstm_depthwise", [x, weight], [x.shape], numbers(x, weight))[0]

    @convolve.vjp
    def _(given, cotangent, _):
        shapes = [a.shape for a in given]
        return tuple(library().call("convlstm_depthwise_backward", [*given, cotangent], shapes, numbers(*given)))

    return convolve
