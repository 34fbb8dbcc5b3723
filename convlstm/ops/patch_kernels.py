"""Frames filtered by kernels that differ from patch to patch.

On a CPU a kernel does it, and its gradient. A test compares them with the plain form, which GPUs use.
"""

from __future__ import annotations

import math
from functools import cache

from convlstm.ops.algorithm import takes_kernels
from convlstm.ops.circular import go_round
from convlstm.ops.cpu.library import library

import mlx.core as mx


def filter_patches(frames: mx.array, kernels: mx.array, algorithm: str = "auto", *, circular: bool = False) -> mx.array:
    r"""Returns the patches of frames, each filtered by its own kernel, with zeros around the frame.

        y[i, j] = sum_ab k[a, b] x[i + a - K // 2, j + b - K // 2],   k the kernel of the patch with (i, j)

    Args:
        frames: (N, H, W, C).
        kernels: (N, H', W', K K), row by row, K odd; a patch has H / H' rows and W / W' columns.
        algorithm: 'native' is MLX's own operations; the others use the kernel of `convlstm.ops.cpu` if it fits.
            Default: 'auto'.
        circular: If True, the columns of the frames go round. Default: False.

    Returns:
        The patches, with their pixels row by row: (N, H', W', H / H' W / W' C).

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
    if takes_kernels(algorithm, frames, kernels):
        return _filter(pads)(x, kernels)
    x = _windows(x, K, pads).reshape(N, rows, H // rows, columns, W // columns, K * K, C)
    y = (x * kernels[:, :, None, :, None, :, None]).sum(axis=-2)  # N, H', p, W', q, C
    return y.swapaxes(2, 3).reshape(N, rows, columns, -1)


def _windows(x: mx.array, side: int, pads: tuple[int, int]) -> mx.array:
    """Returns the `side` x `side` pixels around each pixel, (N, H', W', side side, C), with zeros beyond the pads."""
    x = mx.pad(x, [(0, 0), (pads[0],) * 2, (pads[1],) * 2, (0, 0)])
    H, W = (length - side + 1 for length in x.shape[1:3])
    return mx.stack([x[:, a : a + H, b : b + W] for a in range(side) for b in range(side)], axis=3)


@cache
def _filter(pads: tuple[int, int]):
    def numbers(x: mx.array, kernels: mx.array) -> list[int]:
        return [*x.shape, math.isqrt(kernels.shape[-1]), *kernels.shape[1:3], *pads]

    @mx.custom_function
    def run(x, kernels):
        lost = math.isqrt(kernels.shape[-1]) - 1
        rows, columns = (x.shape[n + 1] + 2 * pads[n] - lost for n in range(2))
        shape = (*kernels.shape[:3], rows // kernels.shape[1] * (columns // kernels.shape[2]) * x.shape[3])
        return library().call("convlstm_patch_kernels", [x, kernels], [shape], numbers(x, kernels))[0]

    @run.vjp
    def _(primals, cotangent, _):
        shapes = [a.shape for a in primals]
        return tuple(
            library().call("convlstm_patch_kernels_backward", [*primals, cotangent], shapes, numbers(*primals))
        )

    return run
