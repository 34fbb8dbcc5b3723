"""Paths of the air along a motion that is the smoother, the longer the lead time.

The finest motion that the frames show is best at five minutes. Its details belong to showers that do not last, so a
coarser one is better after an hour.
"""

from __future__ import annotations

from collections.abc import Sequence

from convlstm.architectures.extrapolation import paths

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
