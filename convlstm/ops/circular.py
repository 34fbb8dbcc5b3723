"""Frames whose columns go round, as those of a map of the earth do.

All that is padded by `padding='circular'` gets its columns from `go_round`. Rows are padded as without it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import mlx.core as mx

Pair = tuple[int, int]


def is_circular(owner: str, padding: str | None) -> bool:
    """Returns True for a model's padding 'circular', and False for None; raises ValueError for any other."""
    if padding not in (None, "circular"):
        raise ValueError(f"[{owner}] 'padding' must be None or 'circular' but got {padding!r}.")
    return padding == "circular"


def go_round(x: mx.array, left: int, right: int, axis: int = 2) -> mx.array:
    """Returns an array with more columns on both sides: those that come next where the columns go round.

    Args:
        x: (N, H, W, C), or any array with its columns along another `axis`.
        left, right: Number of columns to add; more than W go round several times, and negative numbers cut.
        axis: Axis of the columns. Default: 2.

    Returns:
        (N, H, left + W + right, C).
    """
    W = x.shape[axis]
    if left == right == 0:
        return x
    if min(left, right) < 0 or max(left, right) > W:
        return mx.take(x, mx.arange(-left, W + right) % W, axis=axis)
    # Much faster than `take`, above all the gradient.
    before = (slice(None),) * (axis % x.ndim)
    return mx.concatenate([x[(*before, slice(W - left, W))], x, x[(*before, slice(right))]], axis=axis)


def over_seam(run: Callable[[mx.array], mx.array], x: mx.array, reach: int) -> mx.array:
    """Returns `run(x)` as if the columns went round.

    Args:
        run: Maps (N, H, W, C) to (N, H, W, O) for any width; a column depends on those up to `reach` columns away.
        x: (N, H, W, C).
        reach: Distance in columns.

    Returns:
        (N, H, W, O).
    """
    return run(go_round(x, reach, reach))[:, :, reach : reach + x.shape[2]]


def ring_pads(width: int, kernel: int, stride: int, left: int, dilation: int = 1) -> Pair:
    """Returns the columns that a convolution needs before and after a frame, for `ring_width` columns of its result.

    Args:
        width: Columns of the frame.
        kernel, stride, dilation: Of the convolution, along the columns.
        left: Columns before the frame that the first result sees.
    """
    return left, (ring_width(width, stride) - 1) * stride + dilation * (kernel - 1) + 1 - width - left


def ring_width(width: int, stride: int) -> int:
    """Returns the number of columns after a convolution over columns that go round."""
    return math.ceil(width / stride)


def circular_conv_transpose2d(x: mx.array, weight: mx.array, stride: Pair, padding: Pair) -> mx.array:
    """Returns the transposed convolution of frames whose columns go round: stride times as many, which go round, too.

    Args:
        x: (N, H, W, C).
        weight: (O, kh, kw, C).
        stride, padding: Of the convolution that is transposed, for rows and columns.

    Returns:
        (N, H', stride[1] W, O), with the rows of `mx.conv_transpose2d`.
    """
    (k, W), s, p = (weight.shape[2], x.shape[2]), stride[1], padding[1]
    # As many columns as reach over the seam from the left, and from the right.
    left, right = max((k - 1 - p) // s, 0), (p + s - 1) // s
    y = mx.conv_transpose2d(go_round(x, left, right), weight, stride, (padding[0], 0))
    first = p + left * s
    short = first + W * s - y.shape[2]
    if short > 0:  # beyond the last kernel, if the stride is wider than it
        y = mx.pad(y, [(0, 0), (0, 0), (0, short), (0, 0)])
    return y[:, :, first : first + W * s]
