"""The equations of the motion between frames, pixel by pixel.

There is a kernel for CPUs, which tests compare with the plain form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from convlstm.ops.algorithm import takes_kernels
from convlstm.ops.cpu.library import library
from convlstm.ops.sampling import edges, plain_bilinear

import mlx.core as mx


class Pair(NamedTuple):
    """Two frames whose difference shows the motion.

    Attributes:
        frame: Number of the later one.
        distance: How many frames the other one is before it.
        weight: How much the pair counts.
    """

    frame: int
    distance: int
    weight: float


def motion_equations(
    frames: mx.array, u: mx.array, pairs: Sequence[Pair], circular: bool = False, algorithm: str = "auto"
) -> list[mx.array]:
    r"""Returns the sums over pairs of frames from which least squares find the motion.

    With the error r = I_t(x) - I_{t-k}(x - k u) of a motion u = (u, v), g = k grad (I_t(x) + I_{t-k}(x - k u)) / 2, and
    the weight w of the pair, 0 where x - k u is beyond the frame:

        a = sum w g_y g_y,  b = sum w g_y g_x,  c = sum w g_x g_x,  p = sum w g_y r,  q = sum w g_x r

    Args:
        frames: I, (N, T, H, W).
        u: Motion as rows and columns in pixels per frame, (2, N, H, W).
        pairs: The pairs.
        circular: True if the columns go round. Default: False.
        algorithm: 'native' is MLX's own operations; the others use the kernel of `convlstm.ops.cpu` if it fits.
            Default: 'auto'.

    Returns:
        a, b, c, a u + b v - p and b u + c v - q, (N, H, W) each. They have no gradient.
    """
    frames, u = mx.stop_gradient(frames), mx.stop_gradient(u)
    if takes_kernels(algorithm, frames, u):
        numbers = [*frames.shape, int(circular), len(pairs)]
        numbers += [number for pair in pairs for number in (pair.frame, pair.distance)]
        weights = mx.array([pair.weight for pair in pairs])
        shapes = [(len(frames), *frames.shape[2:])] * 5
        return library().call("convlstm_motion_equations", [frames, u, weights], shapes, numbers)
    now, before = (
        mx.take(frames, mx.array([pair.frame - step * pair.distance for pair in pairs]), axis=1) for step in (0, 1)
    )
    k, weights = (mx.array([float(pair[i]) for pair in pairs]).reshape(-1, 1, 1) for i in (1, 2))
    bottom, right = edges(*frames.shape[2:])
    y = mx.arange(frames.shape[2], dtype=mx.float32)[:, None] - k * u[0][:, None]
    x = mx.arange(frames.shape[3], dtype=mx.float32) - k * u[1][:, None]
    moved = plain_bilinear(before, y, x, circular)
    r = now - moved
    gy, gx = (k * g for g in _gradient((now + moved) / 2, circular))
    # Content that enters over the border is unknown.
    inside = (y >= 0) & (y <= bottom)
    w = mx.where(inside if circular else inside & (x >= 0) & (x <= right), weights, 0)
    a, b, c, p, q = ((w * g).sum(axis=1) for g in (gy * gy, gy * gx, gx * gx, gy * r, gx * r))
    return [a, b, c, a * u[0] + b * u[1] - p, b * u[0] + c * u[1] - q]


def _gradient(f: mx.array, circular: bool) -> tuple[mx.array, mx.array]:
    """Returns differences down and across (..., h, w): central ones, one-sided at the border."""
    down = _difference(f.swapaxes(-1, -2)).swapaxes(-1, -2)
    return down, (mx.roll(f, -1, -1) - mx.roll(f, 1, -1)) / 2 if circular else _difference(f)


def _difference(f: mx.array) -> mx.array:
    if f.shape[-1] == 1:
        return mx.zeros_like(f)
    step = f[..., 1:] - f[..., :-1]
    # The step over the border counts as large as the last one before it.
    step = mx.concatenate([step[..., :1], step, step[..., -1:]], axis=-1)
    return (step[..., 1:] + step[..., :-1]) / 2
