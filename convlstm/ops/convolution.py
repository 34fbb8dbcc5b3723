"""Two-dimensional convolution with Keras's padding rules, and the sizes that follow from them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from convlstm.arguments import check_whole
from convlstm.ops.algorithm import WINOGRAD_KERNELS, takes_kernels, takes_winograd
from convlstm.ops.cpu.library import library
from convlstm.ops.patches import patch_conv2d

import mlx.core as mx

Pair = tuple[int, int]

LARGEST = 4096
"""Of kernels, strides and grids."""

PATCHED = 8
"""Channels from which on a strided convolution is a product of matrices."""


def int_pair(owner: str, name: str, value: int | Sequence[int], minimum: int) -> Pair:
    """An int or two of them as a pair; raises ValueError naming `owner` and `name` where it is anything else."""
    pair = (value, value) if type(value) is int else value
    if (
        isinstance(pair, str)
        or not isinstance(pair, Sequence)
        or len(pair) != 2
        or not all(type(v) is int and v >= minimum for v in pair)
    ):
        raise ValueError(f"[{owner}] '{name}' must be an int or a pair of ints, at least {minimum}, but got {value!r}.")
    for side in pair:
        check_whole(owner, name, side, minimum, LARGEST)
    return pair[0], pair[1]


def odd_pair(owner: str, name: str, value: int | Sequence[int]) -> Pair:
    """As `int_pair`, for the size of a kernel that has a centre."""
    pair = int_pair(owner, name, value, 1)
    if not all(k % 2 for k in pair):
        raise ValueError(
            f"[{owner}] '{name}' must be odd but got {value!r}: only an odd kernel has a centre and can keep the grid. "
            "Use 3, 5 or 7."
        )
    return pair


def padding_rule(owner: str, value: str | int | Sequence[int]) -> str | Pair:
    """'same', 'valid', or a pair of ints; raises ValueError where it is anything else."""
    if not isinstance(value, str):
        return int_pair(owner, "padding", value, 0)
    if value not in ("same", "valid"):
        raise ValueError(f"[{owner}] 'padding' must be 'same', 'valid', an int or a pair of ints but got {value!r}.")
    return value


def pads(
    size: Sequence[int], kernel_size: Sequence[int], stride: Pair, padding: str | Pair, dilation: Pair
) -> tuple[Pair, Pair]:
    """Rows (above, below) and columns (left, right) of zeros that the padding rule puts around an input of `size`.

    'same' pads so that ceil(size / stride) outputs fit, the odd one below and on the right, as Keras does.
    """
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding != "same":
        return (int(padding[0]), int(padding[0])), (int(padding[1]), int(padding[1]))
    both = []
    for length, k, s, d in zip(size, kernel_size, stride, dilation, strict=True):
        total = max((math.ceil(length / s) - 1) * s + d * (k - 1) + 1 - length, 0)
        both.append((total // 2, total - total // 2))
    return both[0], both[1]


def output_size(
    owner: str, size: Pair, kernel_size: Pair, stride: Pair, padding: str | Pair, dilation: Pair = (1, 1)
) -> Pair:
    """Height and width after a convolution; raises ValueError where nothing would be left."""
    both = pads(size, kernel_size, stride, padding, dilation)
    height, width = (
        (length + low + high - d * (k - 1) - 1) // s + 1
        for length, k, s, d, (low, high) in zip(size, kernel_size, stride, dilation, both, strict=True)
    )
    if min(height, width) < 1:
        raise ValueError(
            f"[{owner}] an input of {size[0]}x{size[1]} is too small for kernel_size={kernel_size}, "
            f"dilation={dilation}, padding={padding!r}: no output is left. Use padding='same' or larger frames."
        )
    return height, width


def conv2d(
    x: mx.array,
    weight: mx.array,
    stride: Pair = (1, 1),
    padding: str | Pair = "same",
    dilation: Pair = (1, 1),
    algorithm: str = "auto",
) -> mx.array:
    """Convolution (cross-correlation) of `x` (N, H, W, C) with `weight` (O, kh, kw, C) -> (N, H', W', O).

    `algorithm` is one of `ALGORITHMS`; where Winograd's does not fit it is MLX's, whichever was asked for.

    Raises:
        ValueError: Input and kernel have different channels.
    """
    if x.ndim != 4 or weight.ndim != 4 or x.shape[-1] != weight.shape[-1]:
        raise ValueError(
            f"[conv2d] expected an input (N, H, W, C) and a kernel (O, kh, kw, C) of as many channels but got shapes "
            f"{tuple(x.shape)} and {tuple(weight.shape)}."
        )
    (top, bottom), (left, right) = pads(x.shape[1:3], weight.shape[1:3], stride, padding, dilation)
    kernel = (weight.shape[1], weight.shape[2])
    keeps_grid = stride == dilation == (1, 1) and (top, left) == (bottom, right) == (kernel[0] // 2, kernel[1] // 2)
    algorithm = "native" if algorithm == "native" or x.dtype != weight.dtype else "auto"
    if keeps_grid and takes_winograd("conv2d", algorithm, kernel, x.dtype):
        return winograd_conv2d(x, weight)  # type: ignore[return-value]
    if (top, left) == (bottom, right):
        if stride != (1, 1) and dilation == (1, 1) and x.shape[-1] >= PATCHED and takes_kernels(algorithm, x, weight):
            return patch_conv2d(x, weight, stride, (top, left))
        return mx.conv2d(x, weight, stride, (top, left), dilation)
    x = mx.pad(x, [(0, 0), (top, bottom), (left, right), (0, 0)])
    return mx.conv2d(x, weight, stride, 0, dilation)


def grouped_conv2d(x: mx.array, weight: mx.array, groups: int, algorithm: str = "auto") -> mx.array:
    """Convolution of each group of channels by itself, on the same grid, beyond which there are zeros.

    Args:
        x: (N, H, W, C).
        weight: (O, kh, kw, C / groups), odd sizes.
        groups: Of channels that lie together, in and out.
        algorithm: 'native' for MLX's own convolution; the others take the kernels of `convlstm.ops.cpu` where there
            are any. Default: 'auto'.

    Returns:
        (N, H, W, O).
    """
    O, kh, kw, C = weight.shape
    winograd = groups == 1 and kh == kw and kh in WINOGRAD_KERNELS
    if winograd or not takes_kernels(algorithm, x, weight):
        # Group by group, since a convolution of one group has the fast paths. (mx.compile cannot split an array twice.)
        width = O // groups
        each = [
            conv2d(x[..., n * C : (n + 1) * C], weight[n * width : (n + 1) * width], algorithm=algorithm)
            for n in range(groups)
        ]
        return mx.concatenate(each, axis=-1)
    return patch_conv2d(x, weight, (1, 1), (kh // 2, kw // 2), groups)


@mx.custom_function
def winograd_conv2d(x: mx.array, weight: mx.array) -> mx.array:
    """`mx.conv2d` with stride 1 and 'same' padding, for kernels of 3x3 and 5x5, in float32 on the CPU."""
    N, H, W, C = x.shape
    O, k = weight.shape[:2]
    return library().call("convlstm_convolution", [x, weight], [(N, H, W, O)], [N, H, W, C, O, k])[0]


@winograd_conv2d.vjp
def _(primals, cotangent, _):
    x, weight = primals
    (N, H, W, C), (O, k) = x.shape, weight.shape[:2]
    shapes = [x.shape, weight.shape]
    return library().call("convlstm_convolution_backward", [x, weight, cotangent], shapes, [N, H, W, C, O, k])
