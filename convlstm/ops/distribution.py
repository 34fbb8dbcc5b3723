"""Distributions of rain and its surroundings, for many fields at once.

`matched` and `near` have kernels for CPUs, which tests compare with the plain forms.
"""

from __future__ import annotations

from convlstm.ops.algorithm import takes_kernels
from convlstm.ops.circular import go_round
from convlstm.ops.cpu.library import library

import mlx.core as mx

BINS = 4096


def ranks(fields: mx.array) -> mx.array:
    """Returns the share of a field's pixels that lie below each pixel, (B, P) -> (B, P), float32 in [0, 1).

    They come from a histogram of 4,096 bins, linear within a bin: far faster than sorting, and as exact as a bin is
    narrow. Equal values have equal ranks.
    """
    B, P = fields.shape
    low, high = fields.min(axis=1, keepdims=True), fields.max(axis=1, keepdims=True)
    place = (fields - low) * (BINS * (1 - 1e-6) / mx.maximum(high - low, 1e-12))
    bin_ = mx.minimum(place.astype(mx.int32), BINS - 1)
    index = (bin_ + BINS * mx.arange(B)[:, None]).flatten()
    counts = mx.zeros((B * BINS,), mx.int32).at[index].add(mx.array(1, mx.int32)).reshape(B, BINS)
    below = mx.cumsum(counts, axis=1) - counts
    inside = mx.take_along_axis(counts, bin_, axis=1) * (place - bin_)
    return (mx.take_along_axis(below, bin_, axis=1) + inside) / P


def in_order(sorted_values: mx.array, rank: mx.array) -> mx.array:
    """Returns the values of a reference that have given ranks, (B, P).

    Args:
        sorted_values: The reference's values, rising, (B, P).
        rank: As `ranks` returns it, (B, P').
    """
    P = sorted_values.shape[1]
    return mx.take_along_axis(sorted_values, mx.clip((rank * P).astype(mx.int32), 0, P - 1), axis=1)


def rising(fields: mx.array, algorithm: str = "auto") -> mx.array:
    """Returns the values of fields in rising order, (B, P) -> (B, P).

    Args:
        fields: Fields of which many values may be the lowest.
        algorithm: 'native' is MLX's own operations; the others use the kernel of `convlstm.ops.cpu` if it fits.
            Default: 'auto'.
    """
    if takes_kernels(algorithm, fields):
        return library().call("convlstm_rising", [fields], [fields.shape], list(fields.shape))[0]
    return mx.sort(fields, axis=1)


def weakened(z: mx.array, mask: mx.array) -> tuple[mx.array, mx.array]:
    """Returns fields (B, P), or (B, H, W), drawn towards their lowest value where a mask is below 1.

    Args:
        z: The fields.
        mask: Their masks in [0, 1], or one mask for all.

    Returns:
        The fields, and True where they are above their lowest value.
    """
    low = z.min(axis=tuple(range(1, z.ndim)), keepdims=True)
    z = low + (z - low) * mask
    return z, z > low


def matched(z: mx.array, mask: mx.array, values: mx.array, algorithm: str = "auto") -> mx.array:
    """Returns fields `weakened` by masks, with the values of a reference in their order; 0 where they are lowest.

    Args:
        z: (B, P).
        mask: (B, P), or (1, P) for all.
        values: The reference's values, rising, (P,).
        algorithm: 'native' is MLX's own operations; the others use the kernel of `convlstm.ops.cpu` if it fits.
            Default: 'auto'.

    Returns:
        (B, P).
    """
    if takes_kernels(algorithm, z, mask, values):
        return library().call("convlstm_match", [z, mask, values], [z.shape], [*z.shape, len(mask)])[0]
    z, higher = weakened(z, mask)
    return mx.where(higher, in_order(mx.broadcast_to(values, z.shape), ranks(z)), 0)


def near(
    fields: mx.array, threshold: float, reach: int, rim: int, *, circular: bool = False, algorithm: str = "auto"
) -> mx.array:
    """Returns 1 up to `reach` steps, down or across, from rain, and less over the rim around, to 0 beyond it.

    Args:
        fields: (B, H, W).
        threshold: Values from this on are rain.
        reach: Steps.
        rim: Steps of the rim.
        circular: True if the columns go round. Default: False.
        algorithm: As in `matched`.

    Returns:
        (B, H, W).
    """
    if takes_kernels(algorithm, fields):
        numbers = [*fields.shape, reach, rim, int(circular)]
        return library().call("convlstm_near", [fields, mx.array([threshold])], [fields.shape], numbers)[0]
    distance = city_blocks(fields >= threshold, reach + rim + 1, circular=circular)
    return (rim + 1 - mx.clip(distance - reach, 0, rim + 1)) / (rim + 1)


def city_blocks(wet: mx.array, most: int, *, circular: bool = False) -> mx.array:
    """Returns the distance of each pixel (..., H, W) to the next wet one in steps down or across, up to `most`.

    With `circular` the columns go round.
    """
    if circular:
        W = wet.shape[-1]
        return city_blocks(go_round(wet, most, most, -1), most)[..., most : most + W]
    distance = mx.where(wet, 0, float(most))
    for axis in (-1, -2):
        steps = mx.arange(wet.shape[axis], dtype=mx.float32).reshape((-1,) + (1,) * (-1 - axis))
        down = mx.cummin(distance - steps, axis=axis) + steps
        up = mx.cummin(distance + steps, axis=axis, reverse=True) - steps
        distance = mx.minimum(down, up)
    return mx.minimum(distance, most)
