"""The members of a learned STEPS: noise that lives on in time, errors of the motion, and fields that move."""

from __future__ import annotations

import math
from dataclasses import dataclass

from convlstm.architectures.motion import edges
from convlstm.architectures.pyramid import doubled, sizes

import mlx.core as mx

DOUBLED = 1.8
"""After many doublings of its grid, white noise has a standard deviation of about 1 / 1.8."""

# Levels whose noise is uniform and not normal: drawn six times as fast, and no difference is seen between pixels.
_UNIFORM = 2
# Level of the grid of local errors of the motion: 2^5 pixels.
_LOCAL = 5


@dataclass(frozen=True)
class Shared:
    """What the members of sequences share.

    Attributes:
        mean: The field without noise, not yet moved, (N, T, H, W).
        noise: Standard deviation of the noise on each grid, finest first, (N, T, h, w) each.
        y, x: Rows and columns from which the air comes along the motion of the frames, (N, T, H, W).
        lifetime: Minutes after which 1/e of the noise on each grid is left, (N, levels).
        lead: Lead times in minutes, (N, T).
        errors: Standard deviation of the error of the path after each lead time, in pixels, of the whole frame and
            local, (N, T) each.
    """

    mean: mx.array
    noise: list[mx.array]
    y: mx.array
    x: mx.array
    lifetime: mx.array
    lead: mx.array
    errors: tuple[mx.array, mx.array]


def noise_at(shared: Shared, t: int, before: list[mx.array], lead: tuple[int, int], key: mx.array) -> list[mx.array]:
    """Returns the noise of all grids at a lead time, (M, N, h, w) of variance 1, given that of the one before.

    Args:
        shared: What the members share.
        t: Number of the lead time.
        before: The noise of the lead time before; an empty list at the first one.
        lead: Members and sequences.
        key: Key of the draw.
    """
    fields = []
    for k, own in enumerate(mx.random.split(key, len(shared.noise))):
        shape = (*lead, *shared.noise[k].shape[-2:])
        if k < _UNIFORM:
            new = mx.random.uniform(-math.sqrt(3), math.sqrt(3), shape, key=own)
        else:
            new = mx.random.normal(shape, key=own)
        if before:
            memory = mx.exp((shared.lead[:, t - 1] - shared.lead[:, t]) / shared.lifetime[:, k])[:, None, None]
            new = _mixed(before[k], new, memory)
        fields.append(new)
    return fields


def motion_errors(
    lead: tuple[int, int], grid: tuple[int, int], whole: mx.array, local: mx.array
) -> tuple[mx.array, mx.array]:
    """Returns the draws of the motion's errors, of the whole frame (M, N, 2, 1, 1) and local (M, N, 2, H, W)."""
    grids = sizes(*grid, _LOCAL + 1)
    field = mx.random.normal((*lead, 2, *grids[-1]), key=local) * DOUBLED
    for size in reversed(grids[:-1]):
        field = doubled(field, size)
    return mx.random.normal((*lead, 2, 1, 1), key=whole), field


@mx.compile
def _mixed(before: mx.array, new: mx.array, memory: mx.array) -> mx.array:
    return memory * before + mx.sqrt(1 - memory * memory) * new


def moved(
    z: mx.array, y: mx.array, x: mx.array, whole: mx.array, local: mx.array, deviations: tuple[mx.array, mx.array]
) -> mx.array:
    """Returns fields (M, N, ..., H, W) where the members' motions bring them, and 0 where they are negative.

    Args:
        z: The fields before they move.
        y, x: Rows and columns of the air along the motion of the frames, (N, ..., H, W).
        whole, local: Draws of the motion's errors, (M, N, 2, ..., 1, 1) and (M, N, 2, ..., H, W).
        deviations: Standard deviations of these errors, (N, ...) each.
    """
    H, W = z.shape[-2:]
    a, b = (deviation[..., None, None] for deviation in deviations)
    bottom, right = edges(H, W)
    rows = _place(y, whole[:, :, 0], local[:, :, 0], a, b, bottom)
    columns = _place(x, whole[:, :, 1], local[:, :, 1], a, b, right)
    field, rows, columns = (a.reshape(-1, H * W) for a in (z, rows, columns))
    return _read(field, rows, columns, bottom, right).reshape(z.shape)


# Compiled, these take a third of the time; the model as a whole is not compiled.
@mx.compile
def _place(y: mx.array, whole: mx.array, local: mx.array, a: mx.array, b: mx.array, most: mx.array) -> mx.array:
    return mx.clip(y + a * whole + b * local, 0, most)


@mx.compile
def _read(z: mx.array, y: mx.array, x: mx.array, bottom: mx.array, right: mx.array) -> mx.array:
    """Returns the values of fields (B, H W) at rows and columns (B, H W) within the frame, 0 if they are negative."""
    top, left = mx.stop_gradient(mx.floor(y)), mx.stop_gradient(mx.floor(x))
    a, b = y - top, x - left
    width, below, beside = right + 1, mx.minimum(top + 1, bottom), mx.minimum(left + 1, right)

    def pixels(row: mx.array, column: mx.array) -> mx.array:
        index = mx.stop_gradient((row * width + column).astype(mx.int32))
        return mx.take_along_axis(z, index, axis=-1)

    upper = (1 - b) * pixels(top, left) + b * pixels(top, beside)
    lower = (1 - b) * pixels(below, left) + b * pixels(below, beside)
    return mx.maximum((1 - a) * upper + a * lower, 0)
