"""Frames in coordinates that move with the rain: earlier ones moved to the last, their differences, and features."""

from __future__ import annotations

from convlstm.architectures.extrapolation import arrived, paths
from convlstm.ops.sampling import bilinear

import mlx.core as mx

AGES = (1, 2, 4)
"""Ages in frames of the forecasts of the last frame whose errors are known."""

# Patches of no error that the mean error of the rain of a frame includes: without rain it is 0.
_DRY = 10.0
# Differences on the model's scale are tenths.
_SCALE = 4.0


def aligned(inputs: mx.array, flow: mx.array) -> mx.array:
    """Returns frames (N, T, H, W, 1) moved to where the last one is; they have no gradient."""
    T = inputs.shape[1]
    older = zip(range(T - 2, -1, -1), paths(flow, T - 1), strict=True) if T > 1 else ()
    moved = [arrived(inputs[:, t].transpose(0, 3, 1, 2), *origin)[:, 0, ..., None] for t, origin in older]
    return mx.stop_gradient(mx.stack([*reversed(moved), inputs[:, -1]], axis=1))


def surprises(frames: mx.array, side: int) -> mx.array:
    """Returns how much the last frame differs from earlier ones that were moved to it, (N, h, w, 2 len(AGES)).

    These are errors of forecasts whose truth is known: by patches of `side` pixels, and in the mean over the rain of
    the frame.
    """
    T, last = frames.shape[1], frames[:, -1, ..., 0]
    differences = [mx.abs(last - frames[:, max(T - 1 - age, 0), ..., 0]) for age in AGES]
    local = _by_patches(mx.stack(differences, axis=-1), side)
    wet = _by_patches((last > 0).astype(last.dtype)[..., None], side)
    whole = (local * wet).sum(axis=(1, 2), keepdims=True) / (wet.sum(axis=(1, 2), keepdims=True) + _DRY)
    return _SCALE * mx.concatenate([local, mx.broadcast_to(whole, local.shape)], axis=-1)


def carried(features: mx.array, y: mx.array, x: mx.array) -> mx.array:
    """Returns features of patches (N, h, w, C) where the air brings them, (N, T, h, w, C), given paths (N, T, H, W)."""
    side = y.shape[-1] // features.shape[2]
    rows, columns = (
        _by_patches(a.reshape(-1, *a.shape[2:], 1), side).reshape(*a.shape[:2], *features.shape[1:3]) / side
        for a in (y, x)
    )
    offset = (side - 1) / (2 * side)
    fields = mx.moveaxis(features, -1, 1)[:, :, None]
    fields = mx.broadcast_to(fields, (*fields.shape[:2], rows.shape[1], *rows.shape[2:]))
    return mx.moveaxis(bilinear(fields, rows[:, None] - offset, columns[:, None] - offset), 1, -1)


def _by_patches(x: mx.array, side: int) -> mx.array:
    """Returns the means over patches of (n, H, W, C)."""
    n, H, W, C = x.shape
    x = x.reshape(n, H // side, side, W * C).sum(axis=2)
    return x.reshape(n, H // side, W // side, side, C).sum(axis=3) / side**2
