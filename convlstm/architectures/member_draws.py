"""The members of a learned STEPS: noise that lives on in time, errors of the motion, and fields that move."""

from __future__ import annotations

import math
from dataclasses import dataclass

from convlstm.architectures.pyramid import doubled, sizes
from convlstm.ops import compilation
from convlstm.ops.sampling import bilinear

import mlx.core as mx

DOUBLED = 1.8
"""After many doublings of its grid, white noise has a standard deviation of about 1 / 1.8."""

# Levels whose noise is uniform and not normal: drawn six times as fast, and no difference is seen between pixels.
_UNIFORM = 2
# Level of the grid of local errors of the motion: 2^5 pixels.
_LOCAL = 5
# Least number of members whose noise gets the same variance in each pixel: of few, only its sign would be left.
_MANY = 8
# The golden angle: no two of its multiples are close to each other.
_GOLDEN = math.pi * (3 - math.sqrt(5))


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
        last: The last frame moved along the motion of the frames, (N, T, H, W).
        features: What the network has read, moved likewise, (N, T, h, w, C).
        times: Functions of the lead time, (N, T, features).
    """

    mean: mx.array
    noise: list[mx.array]
    y: mx.array
    x: mx.array
    lifetime: mx.array
    lead: mx.array
    errors: tuple[mx.array, mx.array]
    last: mx.array
    features: mx.array
    times: mx.array

    def at(self, t: int) -> Shared:
        """Returns what the members share at lead time number t."""
        of = slice(t, t + 1)
        return Shared(
            mean=self.mean[:, of],
            noise=[grid[:, of] for grid in self.noise],
            y=self.y[:, of],
            x=self.x[:, of],
            lifetime=self.lifetime,
            lead=self.lead[:, of],
            errors=(self.errors[0][:, of], self.errors[1][:, of]),
            last=self.last[:, of],
            features=self.features[:, of],
            times=self.times[:, of],
        )


def noise_at(
    shared: Shared, t: int, before: list[mx.array], lead: tuple[int, int], key: mx.array, *, free: bool = False
) -> list[mx.array]:
    """Returns the noise of all grids at a lead time, (M, N, h, w), given that of the one before.

    Args:
        shared: What the members share.
        t: Number of the lead time.
        before: The noise of the lead time before; an empty list at the first one.
        lead: Members and sequences.
        key: Key of the draw.
        free: True draws the members independently of each other, with variance 1. Default: False, see `even`.
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
        fields.append(new if free else even(new))
    return fields


def even(draws: mx.array) -> mx.array:
    """Returns normal or uniform draws of variance 1, (M, ...), shifted and scaled to be even over the members.

    The mean of M free draws has the variance 1 / M, an error of the whole ensemble that no member needs. It is taken
    away; members differ from each other as before, and their variance is 1 - 1 / M on average, from eight members on
    everywhere. In training, draws must be free: the fair CRPS reckons with the error of the mean, and without it would
    want more noise.
    """
    M = len(draws)
    draws = draws - draws.mean(axis=0)
    if M < _MANY:
        return draws
    return draws * mx.sqrt((1 - 1 / M) / mx.maximum((draws * draws).mean(axis=0), 1e-6))


def motion_errors(
    lead: tuple[int, int], grid: tuple[int, int], whole: mx.array, local: mx.array, *, free: bool = False
) -> tuple[mx.array, mx.array]:
    """Returns the draws of the motion's errors, of the whole frame (M, N, 2, 1, 1) and local (M, N, 2, H, W).

    With `free`, local ones are drawn independently for each member, otherwise they are `even`.
    """
    grids = sizes(*grid, _LOCAL + 1)
    field = mx.random.normal((*lead, 2, *grids[-1]), key=local)
    field = DOUBLED * (field if free else even(field))
    for size in reversed(grids[:-1]):
        field = doubled(field, size)
    return evenly_normal(lead, whole)[..., None, None], field


def evenly_normal(lead: tuple[int, int], key: mx.array) -> mx.array:
    """Returns M pairs of normal numbers for each sequence, (M, N, 2), evenly spread: a sunflower, turned at random."""
    M, N = lead
    number = mx.arange(M)[:, None]
    radius = mx.sqrt(-2 * mx.log1p(-(number + 0.5) / M))
    angle = number * _GOLDEN + mx.random.uniform(0, 2 * math.pi, (1, N), key=key)
    return mx.stack([radius * mx.cos(angle), radius * mx.sin(angle)], axis=-1)


@compilation.on_gpus
def _mixed(before: mx.array, new: mx.array, memory: mx.array) -> mx.array:
    return memory * before + mx.sqrt(1 - memory * memory) * new


def moved(
    z: mx.array, y: mx.array, x: mx.array, whole: mx.array, local: mx.array, deviations: tuple[mx.array, mx.array]
) -> mx.array:
    """Returns fields (M, N, ..., H, W) where the members' motions bring them.

    Args:
        z: The fields before they move.
        y, x: Rows and columns of the air along the motion of the frames, (N, ..., H, W).
        whole, local: Draws of the motion's errors, (M, N, 2, ..., 1, 1) and (M, N, 2, ..., H, W).
        deviations: Standard deviations of these errors, (N, ...) each.
    """
    a, b = (deviation[..., None, None] for deviation in deviations)
    rows, columns = (place + a * whole[:, :, i] + b * local[:, :, i] for i, place in enumerate((y, x)))
    return bilinear(z, rows, columns)
