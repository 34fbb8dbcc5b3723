"""Fields read along flows: bilinear, with a gradient for the fields and for the flows.

`warp` is the form that GPUs take, `warp_product` the TrajGRU's use of it, with a kernel for CPUs, and `reference_warp`
the plain form that a test holds both to.
"""

from __future__ import annotations

from convlstm.ops.algorithm import takes_kernels
from convlstm.ops.cpu.library import library

import mlx.core as mx


def reference_warp(h: mx.array, flow: mx.array) -> mx.array:
    """As `warp`, as the equation states it: all pixels, weighted by how near they lie."""
    N, H, W, O = h.shape
    y, x = _places(flow)
    near = [
        mx.maximum(0, 1 - mx.abs(place[..., None] - mx.arange(length, dtype=mx.float32)))
        for place, length in ((y, H), (x, W))
    ]
    return mx.einsum("nabli,nablj,nijo->nablo", *near, h).reshape(N, H, W, -1)


def warp(h: mx.array, flow: mx.array) -> mx.array:
    r"""What lies at the other end of each flow, with zeros around the field.

        y[i, j, l] = sum_mn max(0, 1 - |i - v - m|) max(0, 1 - |j - u - n|) h[m, n],   (v, u) = flow[i, j, l]

    so that (v, u) is how far what is at (i, j) has come: rows and columns, in pixels.

    Args:
        h: (N, H, W, O).
        flow: (N, H, W, 2L), the links' pairs (v, u) one after the other.

    Returns:
        (N, H, W, L O), the links' fields one after the other.

    Raises:
        ValueError: The flow is not on the field's grid, or not of pairs.
    """
    _check("warp", h, flow)
    N, H, W, O = h.shape
    y, x = _places(flow)
    top, left = mx.stop_gradient(mx.floor(y)), mx.stop_gradient(mx.floor(x))
    a, b = y - top, x - left
    field = h.reshape(N, H * W, O)

    def corner(row: mx.array, column: mx.array, weight: mx.array) -> mx.array:
        inside = (row >= 0) & (row < H) & (column >= 0) & (column < W)
        # Not the number of a place beyond the border, nor of a NaN, which would be read from beyond the field.
        index = mx.where(inside, row * W + column, 0).astype(mx.int32).reshape(N, -1, 1)
        # On a CPU ten times faster than indexing.
        values = mx.take_along_axis(field, mx.broadcast_to(index, (N, index.shape[1], O)), axis=1)
        # A product, so that a flow that is NaN shows.
        return values * (weight * inside).astype(h.dtype).reshape(N, -1, 1)

    corners = (
        corner(top, left, (1 - a) * (1 - b)),
        corner(top, left + 1, (1 - a) * b),
        corner(top + 1, left, a * (1 - b)),
        corner(top + 1, left + 1, a * b),
    )
    return sum(corners[1:], corners[0]).reshape(N, H, W, -1)


def warp_product(h: mx.array, flow: mx.array, weight: mx.array, algorithm: str = "auto") -> mx.array:
    """The product of a matrix with what a field's flows find: `warp(h, flow) @ weight.T`.

    On a CPU what the flows find is never there as a whole, L times the field; the gradient looks for it again.

    Args:
        h: (N, H, W, O).
        flow: (N, H, W, 2L), as `warp` takes it.
        weight: (M, L O).
        algorithm: 'native' for MLX's own operations; the others take the kernel of `convlstm.ops.cpu` where there is
            one. Default: 'auto'.

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
    if takes_kernels(algorithm, h, flow, weight):
        return _warp_product(h, flow, weight)  # type: ignore[return-value]
    return warp(h, flow) @ weight.T


def _numbers(h: mx.array, flow: mx.array, weight: mx.array) -> list[int]:
    return [*h.shape, flow.shape[3] // 2, weight.shape[0]]


@mx.custom_function
def _warp_product(h: mx.array, flow: mx.array, weight: mx.array) -> mx.array:
    shape = (*h.shape[:3], weight.shape[0])
    return library().call("convlstm_warp", [h, flow, weight], [shape], _numbers(h, flow, weight))[0]


@_warp_product.vjp
def _(given, cotangent, _):
    shapes = [a.shape for a in given]
    return tuple(library().call("convlstm_warp_backward", [*given, cotangent], shapes, _numbers(*given)))


def _check(owner: str, h: mx.array, flow: mx.array) -> None:
    if flow.ndim != 4 or flow.shape[:3] != h.shape[:3] or flow.shape[3] % 2 or not flow.shape[3]:
        raise ValueError(
            f"[{owner}] 'flow' must have two channels for each link on the grid of the field, {tuple(h.shape[:3])}, "
            f"but got shape {tuple(flow.shape)}."
        )


def _places(flow: mx.array) -> tuple[mx.array, mx.array]:
    """Rows and columns (N, H, W, L), in float32, where the flows begin."""
    H, W = flow.shape[1:3]
    v, u = flow[..., 0::2].astype(mx.float32), flow[..., 1::2].astype(mx.float32)
    return mx.arange(H, dtype=mx.float32)[:, None, None] - v, mx.arange(W, dtype=mx.float32)[:, None] - u
