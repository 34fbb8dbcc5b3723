"""A pyramid of grids, each half as fine as the one before: fields in bands of scales, and fields of noise from them.

Fields are (..., H, W). Unlike the bands of `convlstm.architectures.cascade`, those of a pyramid are local and do not
depend on the size of the frame, so what was learned on small frames holds on large ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx


def halved(x: mx.array) -> mx.array:
    """Returns means of 2 x 2 pixels, (..., H, W) -> (..., ceil(H / 2), ceil(W / 2)); odd sides repeat the border."""
    *lead, H, W = x.shape
    if H % 2:
        x = mx.concatenate([x, x[..., -1:, :]], axis=-2)
    if W % 2:
        x = mx.concatenate([x, x[..., -1:]], axis=-1)
    # One axis after the other, by sums of slices: over two axes at once a mean takes thirty times as long.
    H, W = x.shape[-2:]
    x = x.reshape(*lead, H // 2, 2 * W)
    x = (x[..., :W] + x[..., W:]).reshape(*lead, H // 2, W // 2, 2)
    return (x[..., 0] + x[..., 1]) / 4


def doubled(x: mx.array, size: tuple[int, int]) -> mx.array:
    """Returns a field on a grid twice as fine, cut to `size`, interpolated linearly: the border's value outside.

    A pixel gets 3/4 of the value of its own coarse pixel and 1/4 of the next one's, along both axes. So white noise has
    the same variance, (5 / 8)^2, in all fine pixels but those of the border.
    """
    return _doubled(_doubled(x, -2), -1)[..., : size[0], : size[1]]


def _doubled(x: mx.array, axis: int) -> mx.array:
    """Returns a field with twice as many rows (axis -2) or columns (-1)."""
    *lead, H, W = x.shape
    if axis == -1:
        before = mx.concatenate([x[..., :1], x[..., :-1]], axis=-1)
        after = mx.concatenate([x[..., 1:], x[..., -1:]], axis=-1)
    else:
        before = mx.concatenate([x[..., :1, :], x[..., :-1, :]], axis=-2)
        after = mx.concatenate([x[..., 1:, :], x[..., -1:, :]], axis=-2)
    y = mx.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis=axis)
    return y.reshape(*lead, H, 2 * W) if axis == -1 else y.reshape(*lead, 2 * H, W)


def sizes(H: int, W: int, levels: int) -> list[tuple[int, int]]:
    """Returns height and width of each grid, finest first."""
    grids = [(H, W)]
    while len(grids) < levels:
        grids.append((-(-grids[-1][0] // 2), -(-grids[-1][1] // 2)))
    return grids


def bands(x: mx.array, levels: int) -> list[mx.array]:
    """Returns the bands of a field, finest first: what each grid shows beyond the next one, and the coarsest grid.

    `merged` of them is the field again.
    """
    result = []
    for _ in range(levels - 1):
        coarse = halved(x)
        result.append(x - doubled(coarse, (x.shape[-2], x.shape[-1])))
        x = coarse
    return [*result, x]


def merged(parts: Sequence[mx.array]) -> mx.array:
    """Returns the sum of fields on the grids of a pyramid, finest first, on the finest one."""
    total = parts[-1]
    for part in reversed(parts[:-1]):
        total = part + doubled(total, (part.shape[-2], part.shape[-1]))
    return total


def on_grids(x: mx.array, level: int, grids: Sequence[tuple[int, int]]) -> list[mx.array]:
    """Returns a field that lies on the grid of one level on the grids of all levels, finest first.

    Args:
        x: (..., h, w), of the size `grids[level]`.
        level: Number of its grid.
        grids: Height and width of each grid, as `sizes` returns them.
    """
    fields = {level: x}
    for k in range(level - 1, -1, -1):
        fields[k] = doubled(fields[k + 1], grids[k])
    for k in range(level + 1, len(grids)):
        fields[k] = halved(fields[k - 1])
    return [fields[k] for k in range(len(grids))]
