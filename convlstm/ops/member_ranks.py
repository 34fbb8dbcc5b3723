"""The order of an ensemble's members in each pixel.

There are kernels for CPUs, which tests compare with the plain forms.
"""

from __future__ import annotations

from convlstm.ops.algorithm import takes_kernels
from convlstm.ops.cpu.library import library

import mlx.core as mx


def ranks(members: mx.array, algorithm: str = "auto") -> mx.array:
    """Returns the rank of each member among all of them, (M, ...), float32 of 0 to M - 1.

    Of equal members the first one is lower. Ranks have no gradient.

    Args:
        members: (M, ...).
        algorithm: 'native' is MLX's own operations; the others use the kernel of `convlstm.ops.cpu` if it fits.
            Default: 'auto'.
    """
    members = mx.stop_gradient(members)
    if takes_kernels(algorithm, members):
        return _call("convlstm_member_ranks", [members])
    M = len(members)
    totals = [mx.zeros(members.shape[1:]) for _ in range(M)]
    for i in range(M):
        for j in range(i):
            above = (members[i] >= members[j]).astype(mx.float32)
            totals[i], totals[j] = totals[i] + above, totals[j] + (1 - above)
    return mx.stack(totals)


def ordered(members: mx.array, rank: mx.array, algorithm: str = "auto") -> mx.array:
    """Returns members (M, ...) in rising order, given their ranks. `algorithm` is as in `ranks`."""
    if takes_kernels(algorithm, members, rank):
        return _ordered(members, rank)  # type: ignore[return-value]
    places = rank.astype(mx.int32)
    numbers = mx.arange(len(rank), dtype=mx.int32).reshape(-1, *[1] * (rank.ndim - 1))
    order = mx.put_along_axis(mx.zeros_like(places), places, mx.broadcast_to(numbers, rank.shape), axis=0)
    return mx.take_along_axis(members, order, axis=0)


def of_rank(rising: mx.array, rank: mx.array, algorithm: str = "auto") -> mx.array:
    """Returns values (M, ...) in rising order at the members that have their ranks: the inverse of `ordered`."""
    if takes_kernels(algorithm, rising, rank):
        return _of_rank(rising, rank)  # type: ignore[return-value]
    return mx.take_along_axis(rising, rank.astype(mx.int32), axis=0)


def _call(name: str, inputs: list[mx.array], *numbers: int) -> mx.array:
    M = len(inputs[0])
    return library().call(name, inputs, [inputs[0].shape], [M, inputs[0].size // M, *numbers])[0]


@mx.custom_function
def _ordered(members: mx.array, rank: mx.array) -> mx.array:
    return _call("convlstm_by_rank", [members, rank], 0)


@_ordered.vjp
def _(primals, cotangent, _):
    rank = primals[1]
    return _of_rank(cotangent, rank), mx.zeros_like(rank)


@mx.custom_function
def _of_rank(rising: mx.array, rank: mx.array) -> mx.array:
    return _call("convlstm_by_rank", [rising, rank], 1)


@_of_rank.vjp
def _(primals, cotangent, _):
    rank = primals[1]
    return _ordered(cotangent, rank), mx.zeros_like(rank)
