"""Depthwise convolution: each channel on its own."""

from __future__ import annotations

from convlstm.ops.algorithm import takes_kernels
from convlstm.ops.circular import over_seam
from convlstm.ops.cpu.library import library

import mlx.core as mx


def depthwise_conv2d(
    x: mx.array, weight: mx.array, dilation: int = 1, algorithm: str = "auto", *, circular: bool = False
) -> mx.array:
    """Returns the convolution of each channel with its own kernel, on the same grid and with zeros around it.

    Args:
        x: (N, H, W, C).
        weight: (kh, kw, C), odd sizes.
        dilation: Distance between the pixels that the kernel sees. Default: 1.
        algorithm: 'native' is MLX's own convolution, whose groups are slow on a CPU; the others use the kernel of
            `convlstm.ops.cpu` if it fits. Default: 'auto'.
        circular: If True, the columns go round. Default: False.

    Returns:
        (N, H, W, C).

    Raises:
        ValueError: Input and kernel have different channels, or the kernel has no centre.
    """
    if x.ndim != 4 or weight.ndim != 3 or x.shape[-1] != weight.shape[-1]:
        raise ValueError(
            "[depthwise_conv2d] expected an input (N, H, W, C) and a kernel (kh, kw, C) with the same C but got shapes "
            f"{tuple(x.shape)} and {tuple(weight.shape)}."
        )
    kh, kw, C = weight.shape
    if kh % 2 == 0 or kw % 2 == 0:
        raise ValueError(f"[depthwise_conv2d] the kernel must have odd sizes but is {kh}x{kw}.")
    if circular:
        return over_seam(lambda x: depthwise_conv2d(x, weight, dilation, algorithm), x, dilation * (kw // 2))
    if takes_kernels(algorithm, x, weight):
        return _kernel(dilation)(x, weight)
    padding = (dilation * (kh // 2), dilation * (kw // 2))
    return mx.conv2d(x, weight.transpose(2, 0, 1)[..., None], 1, padding, dilation, groups=C)


def _kernel(dilation: int):
    """Returns the CPU's kernel for a dilation, which cannot be an argument, as it is not an array."""

    def numbers(x: mx.array, weight: mx.array) -> list[int]:
        return [*x.shape, *weight.shape[:2], dilation]

    @mx.custom_function
    def convolve(x: mx.array, weight: mx.array) -> mx.array:
        return library().call("convlstm_depthwise", [x, weight], [x.shape], numbers(x, weight))[0]

    @convolve.vjp
    def _(primals, cotangent, _):
        shapes = [a.shape for a in primals]
        return tuple(library().call("convlstm_depthwise_backward", [*primals, cotangent], shapes, numbers(*primals)))

    return convolve
