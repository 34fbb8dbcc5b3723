"""Frames filtered by kernels that differ from patch to patch.

On a CPU the windows of the frames are copied by the kernel of `convlstm.ops.patches`. A test compares it with the plain
form, which GPUs use.
"""

from __future__ import annotations

import math
from functools import cache

from convlstm.ops.algorithm import takes_kernels
from convlstm.ops.circular import go_round
from convlstm.ops.cpu.library import library

import mlx.core as mx


def filter_patches(frames: mx.array, kernels: mx.array, algorithm: str = "auto", *, circular: bool = False) -> mx.array:
    r"""Returns frames in which each patch has been filtered by its own kernel, with zeros around the frame.

        y[i, j] = sum_ab k[a, b] x[i + a - K // 2, j + b - K // 2],   k the kernel of the patch with (i, j)

    Args:
        frames: (N, H, W, C).
        kernels: (N, H', W', K K), row by row, K odd; a patch has H / H' rows and W / W' columns.
        algorithm: 'native' is MLX's own operations; the others use the kernel of `convlstm.ops.cpu` if it fits.
            Default: 'auto'.
        circular: If True, the columns of the frames go round. Default: False.

    Returns:
        (N, H, W, C).

    Raises:
        ValueError: The kernels are not odd squares, or their grid does not divide the frames.
    """
    N, H, W, C = frames.shape
    K = math.isqrt(kernels.shape[-1])
    rows, columns = kernels.shape[1:3]
    if kernels.ndim != 4 or kernels.shape[-1] != K * K or K % 2 == 0 or len(kernels) != N or H % rows or W % columns:
        raise ValueError(
            "[filter_patches] 'kernels' must have an odd square of values for each patch of the frames of shape "
            f"{tuple(frames.shape)} but got shape {tuple(kernels.shape)}."
        )
    reach = K // 2
    x = go_round(frames, reach, reach) if circular else frames
    pads = (reach, 0 if circular else reach)
    x = _windows(K, pads)(x) if takes_kernels(algorithm, frames, kernels) else plain_windows(x, K, pads)
    x = x.reshape(N, rows, H // rows, columns, W // columns, K * K, C)
    return (x * kernels[:, :, None, :, None, :, None]).sum(axis=-2).reshape(N, H, W, C)


def plain_windows(x: mx.array, side: int, pads: tuple[int, int]) -> mx.array:
    """Returns the `side` x `side` pixels around each pixel: (N, H, W, C) -> (N, H', W', side side, C).

    Args:
        x: (N, H, W, C).
        side: Side of the windows.
        pads: Rows and columns of zeros that are added on both sides.
    """
    x = mx.pad(x, [(0, 0), (pads[0],) * 2, (pads[1],) * 2, (0, 0)])
    H, W = (length - side + 1 for length in x.shape[1:3])
    return mx.stack([x[:, a : a + H, b : b + W] for a in range(side) for b in range(side)], axis=3)


@cache
def _windows(side: int, pads: tuple[int, int]):
    def numbers(x: mx.array) -> list[int]:
        return [*x.shape, side, side, 1, 1, *pads]

    @mx.custom_function
    def run(x):
        N, H, W, C = x.shape
        shape = (N, H + 2 * pads[0] - side + 1, W + 2 * pads[1] - side + 1, side * side, C)
        return library().call("convlstm_patches", [x], [shape], numbers(x))[0]

    @run.vjp
    def _(primals, cotangent, _):
        x = primals if isinstance(primals, mx.array) else primals[0]
        return library().call("convlstm_patches_backward", [cotangent], [x.shape], numbers(x))[0]

    return run
