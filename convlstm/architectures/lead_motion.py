"""Paths of the air along a motion that is the smoother, the longer the lead time.

The finest motion that the frames show is best at five minutes. Its details belong to showers that do not last, so a
coarser one is better after an hour.
"""

from __future__ import annotations

from collections.abc import Sequence

from convlstm.architectures.extrapolation import paths
from convlstm.ops.sampling import edges

import mlx.core as mx


def origins(flows: Sequence[mx.array], steps: mx.array, horizon: int, level: mx.array) -> tuple[mx.array, mx.array]:
    """Returns the rows and columns from which the air comes, (N, T, H, W) each.

    Args:
        flows: Motions, finest first, (N, H, W, 2) each.
        steps: Numbers of frames to the lead times, (T,), rising, at most `horizon`.
        horizon: Number of frames.
        level: Which of the motions counts at each lead time, (N, T): at k + 1/2, half of k and half of k + 1. It has a
            gradient, the motions have none.
    """
    level = mx.clip(level, 0, len(flows) - 1)[:, :, None, None]
    total: list[mx.array] = []
    for k, flow in enumerate(flows):
        places = list(paths(mx.stop_gradient(flow), horizon))
        share = mx.maximum(1 - mx.abs(level - k), 0)
        own = [
            share * mx.take(mx.concatenate([place[i] for place in places], axis=1), steps - 1, axis=1) for i in (0, 1)
        ]
        total = [a + b for a, b in zip(total, own, strict=True)] if total else own
    return total[0], total[1]


def within(y: mx.array, x: mx.array) -> mx.array:
    """Returns where rows and columns (..., H, W) are those of a pixel of the frame, as a mask of the same shape."""
    bottom, right = edges(y.shape[-2], y.shape[-1])
    y, x = mx.stop_gradient(y), mx.stop_gradient(x)
    return (y >= -0.5) & (y <= bottom + 0.5) & (x >= -0.5) & (x <= right + 0.5)
