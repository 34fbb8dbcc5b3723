"""Fields read along flows: bilinear, with gradients for the fields and for the flows.

GPUs use `warp`. `warp_product` is the TrajGRU's use of it, with a kernel for CPUs. A test compares both with
`reference_warp`, the equation in plain MLX.
"""

from __future__ import annotations

from convlstm.ops.algorithm import takes_kernels
from convlstm.ops.circular import go_round
from convlstm.ops.cpu.library import library

import mlx.core as mx


def reference_warp(h: mx.array, flow: mx.array) -> mx.array:
    """Returns `warp` as its equation states it: a sum over all pixels, weighted by their distance."""
    N, H, W, O = h.shape
    y, x = _origins(flow)
    weights = [
        mx.maximum(0, 1 - mx.abs(origin[..., None] - mx.arange(length, dtype=mx.float32)))
        for origin, length in ((y, H), (x, W))
    ]
    return mx.einsum("nabli,nablj,nijo->nablo", *weights, h).reshape(N, H, W, -1)


def warp(h: mx.array, flow: mx.array) -> mx.array:
    r"""Returns the field at the origin of each flow, with zeros around the field.

        y[i, j, l] = sum_mn max(0, 1 - |i - v - m|) max(0, 1 - |j - u - n|) h[m, n],   (v, u) = flow[i, j, l]

    (v, u) is the distance that the content of (i, j) has come: rows and columns, in pixels.

    Args:
        h: (N, H, W, O).
        flow: (N, H, W, 2L), a pair (v, u) for each link.

    Returns:
        (N, H, W, L O), a field for each link.

    Raises:
        ValueError: The flow is not on the field's grid, or its channels are not pairs.
    """
    _check("warp", h, flow)
    N, H, W, O = h.shape
    y, x = _origins(flow)
    top, left = mx.stop_gradient(mx.floor(y)), mx.stop_gradient(mx.floor(x))
    a, b = y - top, x - left
    field = h.reshape(N, H * W, O)

    def corner(row: mx.array, column: mx.array, weight: mx.array) -> mx.array:
        inside = (row >= 0) & (row < H) & (column >= 0) & (column < W)
        # A pixel beyond the border, or a NaN, has no index: it would be read from outside the array.
        index = mx.where(inside, row * W + column, 0).astype(mx.int32).reshape(N, -1, 1)
        # On a CPU ten times faster than indexing.
        values = mx.take_along_axis(field, mx.broadcast_to(index, (N, index.shape[1], O)), axis=1)
        # A product, so that a NaN in a flow reaches the result.
        return values * (weight * inside).astype(h.dtype).reshape(N, -1, 1)

    corners = (
        corner(top, left, (1 - a) * (1 - b)),
        corner(top, left + 1, (1 - a) * b),
        corner(top + 1, left, a * (1 - b)),
        corner(top + 1, left + 1, a * b),
    )
    return sum(corners[1:], corners[0]).reshape(N, H, W, -1)


def warp_product(
    h: mx.array, flow: mx.array, weight: mx.array, algorithm: str = "auto", *, circular: bool = False
) -> mx.array:
    """Returns `warp(h, flow) @ weight.T`.

    The warped field is L times as large as the field. The CPU's kernel never holds all of it; its gradient reads the
    field again.

    Args:
        h: (N, H, W, O).
        flow: (N, H, W, 2L), as in `warp`.
        weight: (M, L O).
        algorithm: 'native' is MLX's own operations; the others use the kernel of `convlstm.ops.cpu` if it fits.
            Default: 'auto'.
        circular: If True, the columns of the field go round. Default: False.

    Returns:
        (N, H, W, M).

    Raises:
        ValueError: The shapes do not fit each other.
    """
    _check("warp_product", h, flow)
    if weight.ndim != 2 or weight.shape[1] != flow.shape[3] // 2 * h.shape[3]:
        raise ValueError(
            f"[warp_product] 'weight' must have {flow.shape[3] // 2} x {h.shape[3]} columns, those of the flows' "
            f"fields, but got shape {tuple(weight.shape)}."
        )
    if circular:
        return warp_product(*_unrolled(h, flow), weight, algorithm)[:, :, : h.shape[2]]
    if takes_kernels(algorithm, h, flow, weight):
        return _warp_product(h, flow, weight)  # type: ignore[return-value]
    return warp(h, flow) @ weight.T


def _unrolled(h: mx.array, flow: mx.array) -> tuple[mx.array, mx.array]:
    """Returns a field whose columns go round, and its flows, for `warp` without that.

    All flows then begin within the frame. A column more has the first one's values, and flows that nobody needs.
    """
    W = h.shape[2]
    _, x = _origins(flow)
    turns = mx.stop_gradient(mx.floor(x / W)) * W
    flow = flow.astype(mx.float32)  # a narrow type cannot hold the sum
    v, u = flow[..., 0::2], flow[..., 1::2] + turns
    flow = mx.stack([v, u], axis=-1).reshape(flow.shape)
    return go_round(h, 0, 1), mx.pad(flow, [(0, 0), (0, 0), (0, 1), (0, 0)])


def _numbers(h: mx.array, flow: mx.array, weight: mx.array) -> list[int]:
    return [*h.shape, flow.shape[3] // 2, weight.shape[0]]


@mx.custom_function
def _warp_product(h: mx.array, flow: mx.array, weight: mx.array) -> mx.array:
    shape = (*h.shape[:3], weight.shape[0])
    return library().call("convlstm_warp", [h, flow, weight], [shape], _numbers(h, flow, weight))[0]


@_warp_product.vjp
def _(primals, cotangent, _):
    shapes = [a.shape for a in primals]
    return tuple(library().call("convlstm_warp_backward", [*primals, cotangent], shapes, _numbers(*primals)))


def _check(owner: str, h: mx.array, flow: mx.array) -> None:
    if flow.ndim != 4 or flow.shape[:3] != h.shape[:3] or flow.shape[3] % 2 or not flow.shape[3]:
        raise ValueError(
            f"[{owner}] 'flow' must have two channels for each link on the grid of the field, {tuple(h.shape[:3])}, "
            f"but got shape {tuple(flow.shape)}."
        )


def _origins(flow: mx.array) -> tuple[mx.array, mx.array]:
    """Returns the rows and the columns (N, H, W, L), in float32, at which the flows begin."""
    H, W = flow.shape[1:3]
    v, u = flow[..., 0::2].astype(mx.float32), flow[..., 1::2].astype(mx.float32)
    return mx.arange(H, dtype=mx.float32)[:, None, None] - v, mx.arange(W, dtype=mx.float32)[:, None] - u
