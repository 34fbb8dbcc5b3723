"""Two-dimensional convolution with Keras's padding rules, and the sizes that follow from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

from convlstm.arguments import check_whole
from convlstm.ops.algorithm import takes_kernels, takes_winograd
from convlstm.ops.circular import go_round, over_seam, ring_pads
from convlstm.ops.cpu.library import library
from convlstm.ops.patches import patch_conv2d

import mlx.core as mx

Pair = tuple[int, int]

LARGEST = 4096
"""Largest size of kernels, strides and grids."""

PADDINGS = ("same", "valid", "circular")
"""Rules of padding by name. 'circular' is 'same', but the columns go round, as those of a map of the earth do."""

FEW = 4
"""With fewer input channels than this, a CPU convolves by a matrix product and not by Winograd's algorithm."""


def int_pair(owner: str, name: str, value: int | Sequence[int], minimum: int) -> Pair:
    """Returns an int or a pair of ints as a pair; raises ValueError for anything else."""
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
    """Returns `int_pair` of a kernel's size; raises ValueError if it has no centre."""
    pair = int_pair(owner, name, value, 1)
    if not all(k % 2 for k in pair):
        raise ValueError(
            f"[{owner}] '{name}' must be odd but got {value!r}: only an odd kernel has a centre and can keep the grid. "
            "Use 3, 5 or 7."
        )
    return pair


def padding_rule(owner: str, value: str | int | Sequence[int]) -> str | Pair:
    """Returns a word of `PADDINGS`, or an int or a pair of ints as a pair; raises ValueError for anything else."""
    if not isinstance(value, str):
        return int_pair(owner, "padding", value, 0)
    if value not in PADDINGS:
        words = ", ".join(map(repr, PADDINGS))
        raise ValueError(f"[{owner}] 'padding' must be {words}, an int or a pair of ints but got {value!r}.")
    return value


def grid_padding(owner: str, value: str) -> str:
    """Returns the padding of a cell that always keeps the grid; raises ValueError if it is not 'same' or 'circular'."""
    if value not in ("same", "circular"):
        raise ValueError(f"[{owner}] 'padding' must be 'same' or 'circular' but got {value!r}.")
    return value


def pads(
    size: Sequence[int], kernel_size: Sequence[int], stride: Pair, padding: str | Pair, dilation: Pair
) -> tuple[Pair, Pair]:
    """Returns the rows (above, below) and columns (left, right) that a rule adds around an input of `size`.

    They are zeros, except for the columns of 'circular'. 'same' and 'circular' pad for ceil(size / stride) outputs;
    an odd row is added below and an odd column on the right, as in Keras.
    """
    if padding == "valid":
        return (0, 0), (0, 0)
    if not isinstance(padding, str):
        return (int(padding[0]), int(padding[0])), (int(padding[1]), int(padding[1]))
    both = []
    for length, k, s, d in zip(size, kernel_size, stride, dilation, strict=True):
        total = max((math.ceil(length / s) - 1) * s + d * (k - 1) + 1 - length, 0)
        both.append((total // 2, total - total // 2))
    return both[0], both[1]


def output_size(
    owner: str, size: Pair, kernel_size: Pair, stride: Pair, padding: str | Pair, dilation: Pair = (1, 1)
) -> Pair:
    """Returns height and width after a convolution; raises ValueError if the output is empty."""
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
    *,
    circular: bool = False,
) -> mx.array:
    """Returns the convolution (cross-correlation) of `x` (N, H, W, C) with `weight` (O, kh, kw, C): (N, H', W', O).

    With `circular`, or the padding 'circular', the columns go round: there are ceil(W / stride) columns of the output,
    and the first one sees as many columns before the frame as the padding has.

    The algorithm 'native' is MLX's. On a CPU the others use Winograd's algorithm if it fits, or a matrix product if
    there are strides or few channels. In all other cases they are MLX's, too.

    Raises:
        ValueError: Input and kernel have different channels.
    """
    if x.ndim != 4 or weight.ndim != 4 or x.shape[-1] != weight.shape[-1]:
        raise ValueError(
            f"[conv2d] expected an input (N, H, W, C) and a kernel (O, kh, kw, C) with the same C but got shapes "
            f"{tuple(x.shape)} and {tuple(weight.shape)}."
        )
    if circular or padding == "circular":
        return _circular_conv2d(x, weight, stride, padding, dilation, algorithm)
    (top, bottom), (left, right) = pads(x.shape[1:3], weight.shape[1:3], stride, padding, dilation)
    kernel = (weight.shape[1], weight.shape[2])
    keeps_grid = stride == dilation == (1, 1) and (top, left) == (bottom, right) == (kernel[0] // 2, kernel[1] // 2)
    algorithm = "native" if algorithm == "native" or x.dtype != weight.dtype else "auto"
    symmetric = (top, left) == (bottom, right)
    as_product = symmetric and dilation == (1, 1) and (x.shape[-1] < FEW if keeps_grid else stride != (1, 1))
    if as_product and takes_kernels(algorithm, x, weight):
        return patch_conv2d(x, weight, stride, (top, left))
    if keeps_grid and takes_winograd("conv2d", algorithm, kernel, x.dtype):
        return winograd_conv2d(x, weight)  # type: ignore[return-value]
    if symmetric:
        return mx.conv2d(x, weight, stride, (top, left), dilation)
    x = mx.pad(x, [(0, 0), (top, bottom), (left, right), (0, 0)])
    return mx.conv2d(x, weight, stride, 0, dilation)


def _circular_conv2d(
    x: mx.array, weight: mx.array, stride: Pair, padding: str | Pair, dilation: Pair, algorithm: str
) -> mx.array:
    """Returns `conv2d` with zeros above and below, and with columns that go round."""
    (_, H, W, _), (kh, kw) = x.shape, weight.shape[1:3]
    (top, bottom), (left, _) = pads((H, W), (kh, kw), stride, padding, dilation)
    left, right = ring_pads(W, kw, stride[1], left, dilation[1])
    if stride == dilation == (1, 1) and left == right == kw // 2 and top == bottom == kh // 2:
        # The kernels have 'same' padding only. Their outer columns have seen zeros and are cut off.
        return over_seam(lambda x: conv2d(x, weight, algorithm=algorithm), x, left)
    x = go_round(x, left, right)
    if top != bottom:
        x, top = mx.pad(x, [(0, 0), (top, bottom), (0, 0), (0, 0)]), 0
    return conv2d(x, weight, stride, (top, 0), dilation, algorithm)


def grouped_conv2d(
    x: mx.array, weight: mx.array, groups: int, algorithm: str = "auto", *, circular: bool = False
) -> mx.array:
    """Returns the convolution of each group of channels on its own, on the same grid and with zeros around it.

    Args:
        x: (N, H, W, C).
        weight: (O, kh, kw, C / groups), odd sizes.
        groups: Number of groups. The channels of a group are adjacent, in the input and in the output.
        algorithm: 'native' is MLX's own convolution; the others use the kernels of `convlstm.ops.cpu` if they fit.
            Default: 'auto'.
        circular: If True, the columns go round. Default: False.

    Returns:
        (N, H, W, O).

    Raises:
        ValueError: The shapes do not fit each other, or the kernel has no centre.
    """
    O, kh, kw, C = weight.shape
    if groups < 1 or x.shape[-1] != groups * C or O % groups or kh % 2 == 0 or kw % 2 == 0:
        raise ValueError(
            f"[grouped_conv2d] expected an input (N, H, W, C) and a kernel (O, kh, kw, C / {groups}) of odd sizes, O a "
            f"multiple of {groups}, but got shapes {tuple(x.shape)} and {tuple(weight.shape)}."
        )
    if circular:
        return over_seam(lambda x: grouped_conv2d(x, weight, groups, algorithm), x, kw // 2)
    if groups > 1 and takes_kernels(algorithm, x, weight):
        return _in_groups(groups)(x, weight)
    width = O // groups
    each = [
        conv2d(x[..., n * C : (n + 1) * C], weight[n * width : (n + 1) * width], algorithm=algorithm)
        for n in range(groups)
    ]
    return mx.concatenate(each, axis=-1)


@cache
def _in_groups(groups: int):
    """Returns the CPU's kernel for a number of groups, which cannot be an argument, as it is not an array."""

    def numbers(x: mx.array, weight: mx.array) -> list[int]:
        return [*x.shape, weight.shape[0], groups, *weight.shape[1:3]]

    @mx.custom_function
    def convolve(x, weight):
        shape = (*x.shape[:3], weight.shape[0])
        return library().call("convlstm_grouped", [x, weight], [shape], numbers(x, weight))[0]

    @convolve.vjp
    def _(primals, cotangent, _):
        shapes = [a.shape for a in primals]
        return tuple(library().call("convlstm_grouped_backward", [*primals, cotangent], shapes, numbers(*primals)))

    return convolve


@mx.custom_function
def winograd_conv2d(x: mx.array, weight: mx.array) -> mx.array:
    """Returns `mx.conv2d` with stride 1 and 'same' padding, for kernels of 3x3 and 5x5, in float32 on the CPU."""
    N, H, W, C = x.shape
    O, k = weight.shape[:2]
    return library().call("convlstm_convolution", [x, weight], [(N, H, W, O)], [N, H, W, C, O, k, 0])[0]


@winograd_conv2d.vjp
def _(primals, cotangent, _):
    x, weight = primals
    (N, H, W, C), (O, k) = x.shape, weight.shape[:2]
    shapes = [x.shape, weight.shape]
    return library().call("convlstm_convolution_backward", [x, weight, cotangent], shapes, [N, H, W, C, O, k, 0])
