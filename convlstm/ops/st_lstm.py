"""A time step of a spatiotemporal LSTM up to its output gate, by MLX's own functions or by the CPU's kernels.

The CPU's kernels convolve the input, the hidden state and the memory together, for all seven gates, and compute the
gates on all threads. The weights are transformed once for a walk. Their gradient is summed over the steps before it is
transformed back, so that no step leaves an array of the weights' size to be added later.

`reference_step` is the step in plain MLX, with which tests compare `step`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from convlstm.ops import prepared_convolution
from convlstm.ops.cpu.library import library
from convlstm.ops.gates import fast_on_cpu
from convlstm.ops.prepared_convolution import turn

import mlx.core as mx

Five = tuple[mx.array, mx.array, mx.array, mx.array, mx.array]


@fast_on_cpu
def gates(
    z: mx.array,
    z_m: mx.array,
    c: mx.array,
    m: mx.array,
    b_f: mx.array,
    *,
    sigmoid: Callable = mx.sigmoid,
    tanh: Callable = mx.tanh,
) -> Five:
    r"""Returns the memories after a step, from the results of the convolutions.

        i = sigmoid(z_i), f = sigmoid(z_f + b_f), g = tanh(z_g), c' = f . c + i . g
        i' = sigmoid(z_i'), f' = sigmoid(z_f' + b_f), g' = tanh(z_g'), m' = f' . m + i' . g'

    Args:
        z: (N, H, W, 4O), in the order i, f, g, o.
        z_m: (N, H, W, 3O), in the order i', f', g'.
        c, m: (N, H, W, O).
        b_f: The constant bias of both forget gates, a scalar array of the type of `z`.

    Returns:
        c', m', z_o, i . g and i' . g', each (N, H, W, O).
    """
    i, f, g, o = mx.split(z, 4, axis=-1)
    i_m, f_m, g_m = mx.split(z_m, 3, axis=-1)
    ig, ig_m = sigmoid(i) * tanh(g), sigmoid(i_m) * tanh(g_m)
    c = sigmoid(f + b_f) * c + ig
    m = sigmoid(f_m + b_f) * m + ig_m
    return c, m, o, ig, ig_m


@fast_on_cpu
def _plain_gated(z: mx.array, a: mx.array, *, sigmoid: Callable = mx.sigmoid, tanh: Callable = mx.tanh) -> mx.array:
    return sigmoid(z) * tanh(a)


def gated(z: mx.array, a: mx.array, kernels: bool = False) -> mx.array:
    """Returns `sigmoid(z) tanh(a)` for arrays of one shape, by the CPU's kernels if `kernels` is True."""
    return _gated(z, a) if kernels else _plain_gated(z, a)  # type: ignore[return-value]


@mx.custom_function
def _gated(z, a):
    return library().call("convlstm_gated_forward", [z, a], [z.shape], [z.size])[0]


@_gated.vjp
def _(primals, cotangent, _):
    z, a = primals
    return library().call("convlstm_gated_backward", [z, a, cotangent], [z.shape, a.shape], [z.size])


def by_memory(a: mx.array, axis: int) -> tuple[mx.array, mx.array]:
    """Returns the parts of i, f, g, o and of i', f', g' of an array with i, f, g, i', f', g', o along an axis."""
    O = a.shape[axis] // 7
    first, second, last = mx.split(a, [3 * O, 6 * O], axis=axis)
    return mx.concatenate([first, last], axis=axis), second


class StepFilters(NamedTuple):
    """The kernels of a step as it reads them: h and x to i, f, g, o; x and m to i', f', g'; c' and m' to o.

    Attributes:
        forward: The transformed kernels.
        turned: The kernels transformed for the gradient. If gradients are rare, the kernels themselves, which a
            gradient then transforms.
        sums: Zeros that the walk passes on from step to step. Their gradient is that of `forward`, the sum over all
            steps.
    """

    forward: tuple[mx.array, ...]
    turned: tuple[mx.array, ...]
    sums: tuple[mx.array, ...]


def prepare(Wx: mx.array, Wh: mx.array, Wm: mx.array, Wo: mx.array, trains: bool = True) -> StepFilters:
    """Returns the filters of a cell's kernels.

    Args:
        Wx, Wh, Wm, Wo: The kernels, (7O, k, k, C), (4O, k, k, O), (3O, k, k, O) and (O, k, k, 2O).
        trains: True if many gradients will be taken. Default: True.
    """
    O, (Wx_c, Wx_m) = Wo.shape[0], by_memory(Wx, 0)
    kernels = (Wh, Wx_c, Wx_m, Wm, Wo[..., :O], Wo[..., O:])
    return StepFilters(*zip(*(prepared_convolution.prepare(W, trains) for W in kernels), strict=True))


def reference_step(x, h, c, m, Wx, Wh, Wm, Wo, forget_bias=1.0):
    """Returns c', m', zo, i . g and i' . g' of `step`, with MLX's own convolution, gates and gradients."""

    def convolve(x, W):
        return mx.conv2d(x, W, padding=(W.shape[1] // 2, W.shape[2] // 2))

    xi, xf, xg, xi_m, xf_m, xg_m, xo = mx.split(convolve(x, Wx), 7, axis=-1)
    z = mx.concatenate([xi, xf, xg, xo], axis=-1) + convolve(h, Wh)
    z_m = mx.concatenate([xi_m, xf_m, xg_m], axis=-1) + convolve(m, Wm)
    c, m, z, ig, ig_m = gates.__wrapped__(z, z_m, c, m, forget_bias)  # type: ignore[attr-defined]
    return c, m, z + convolve(mx.concatenate([c, m], axis=-1), Wo), ig, ig_m


def step(
    x: mx.array,
    h: mx.array,
    c: mx.array,
    m: mx.array,
    filters: StepFilters,
    *,
    kernel_size: int,
    forget_bias: float = 1.0,
    products: bool = False,
) -> tuple[mx.array, mx.array, mx.array, tuple[mx.array, mx.array] | None, StepFilters]:
    """Returns the memories after a step and the pre-activation of its output gate, in float32 on the CPU.

    Args:
        x: Input (N, H, W, C).
        h, c, m: Hidden state and memories (N, H, W, O).
        filters: Result of `prepare` for the first step of a walk, and for the others that of the step before.
        kernel_size: Side of the kernels, 3 or 5.
        forget_bias: Added to the pre-activations of both forget gates. Default: 1.
        products: If True, the additions to the memories are returned, too. Default: False.

    Returns:
        c', m', zo = x_o + h_o + W_o * [c', m'], each (N, H, W, O); i . g and i' . g', or None; the filters for the next
        step.

    Raises:
        ValueError: The shapes do not fit each other.
    """
    N, H, W, O = h.shape
    C = x.shape[-1]
    for name, array, shape in (("x", x, (N, H, W, C)), ("c", c, h.shape), ("m", m, h.shape)):
        if tuple(array.shape) != tuple(shape):
            raise ValueError(f"[st_lstm.step] '{name}' must have shape {tuple(shape)} but got {tuple(array.shape)}.")
    sizes = [library().filter_floats(kernel_size, *sides) for sides in ((O, 4 * O), (C, 4 * O))]
    if [U.size for U in filters.forward[:2]] != sizes:
        raise ValueError("[st_lstm.step] 'filters' were prepared from kernels of another size or other channels.")
    arguments = (x, h, c, m, mx.array([forget_bias]), *filters.forward, *filters.turned, *filters.sums)
    c, m, zo, *rest = _step(kernel_size, products)(*arguments)
    added = (rest[0], rest[1]) if products else None
    sums = rest[2:8] if products else rest[:6]
    return c, m, zo, added, filters._replace(sums=tuple(sums))


@lru_cache
def _step(kernel_size: int, products: bool):
    """Returns the step as a function of x, h, c, m, forget bias, 6 filters, 6 turned filters or kernels, and 6 sums."""

    def numbers(x, h):
        return [*x.shape, h.shape[-1], kernel_size, int(products)]

    @mx.custom_function
    def run(*primals):
        x, h = primals[:2]
        shapes = [h.shape] * 3 + [(*h.shape[:3], 6 * h.shape[-1])] + [h.shape] * (2 * products)
        inputs = list(primals[:11])
        c, m, zo, kept, *added = library().call("convlstm_st_lstm_forward", inputs, shapes, numbers(x, h))
        return c, m, zo, *added, *primals[17:], kept

    @run.vjp
    def _(primals: Any, cotangents: Any, results: Any):
        x, h = primals[:2]
        dc, dm, dzo, *rest = cotangents
        dadded, dsums = (rest[:2], rest[2:8]) if products else ([], rest[:6])
        turned = [W if W.ndim == 1 else turn(W) for W in primals[11:17]]
        inputs = [*primals[:5], *turned, *dsums, results[-1], *results[:2], dc, dm, dzo, *dadded]
        shapes = [a.shape for a in (*primals[:4], *dsums)]
        reused = {4 + k: 11 + k for k in range(6)}
        gradients = library().call("convlstm_st_lstm_backward", inputs, shapes, numbers(x, h), reused)
        return *gradients[:4], *map(mx.zeros_like, primals[4:17]), *gradients[4:]

    return run
