"""A time step of a spatiotemporal LSTM up to its output gate: MLX's own functions, and the CPU's kernels.

The CPU's convolve the input, the hidden state and the memory at once, for all seven gates, and compute the gates on all
threads. The weights are transformed once for a walk, and their gradient is added up over its steps before it is
transformed back: no step leaves an array of their size to be added later.

`reference_step` is the plain form that the tests hold `step` to.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from convlstm.ops.algorithm import on_cpu
from convlstm.ops.cpu.library import library
from convlstm.ops.gates import rational_tanh

import mlx.core as mx

Five = tuple[mx.array, mx.array, mx.array, mx.array, mx.array]


def _gates(
    z: mx.array, z_m: mx.array, c: mx.array, m: mx.array, bias: mx.array, sigmoid: Callable, tanh: Callable
) -> Five:
    i, f, g, o = mx.split(z, 4, axis=-1)
    i_m, f_m, g_m = mx.split(z_m, 3, axis=-1)
    ig, ig_m = sigmoid(i) * tanh(g), sigmoid(i_m) * tanh(g_m)
    return sigmoid(f + bias) * c + ig, sigmoid(f_m + bias) * m + ig_m, o, ig, ig_m


def _cpu_sigmoid(x: mx.array) -> mx.array:
    return 0.5 * rational_tanh(0.5 * x) + 0.5


@mx.compile
def _cpu_gates(z: mx.array, z_m: mx.array, c: mx.array, m: mx.array, bias: mx.array) -> Five:
    return _gates(z, z_m, c, m, bias, _cpu_sigmoid, rational_tanh)


@mx.compile
def _cpu_gated(z: mx.array, a: mx.array) -> mx.array:
    return _cpu_sigmoid(z) * rational_tanh(a)


def gates(z: mx.array, z_m: mx.array, c: mx.array, m: mx.array, forget_bias: float) -> Five:
    r"""The memories after a step, from what the convolutions give.

        c' = sigmoid(z_f + forget_bias) . c + i . g,    i . g = sigmoid(z_i) . tanh(z_g)
        m' = sigmoid(z_f' + forget_bias) . m + i' . g', i' . g' = sigmoid(z_i') . tanh(z_g')

    Args:
        z: (N, H, W, 4O), in the order i, f, g, o.
        z_m: (N, H, W, 3O), in the order i', f', g'.
        c, m: (N, H, W, O).

    Returns:
        c', m', z_o, i . g and i' . g', each (N, H, W, O).
    """
    bias = mx.array(forget_bias, z.dtype)
    if on_cpu() and z.dtype == mx.float32:
        return _cpu_gates(z, z_m, c, m, bias)
    return _gates(z, z_m, c, m, bias, mx.sigmoid, mx.tanh)


def gated(z: mx.array, a: mx.array, kernels: bool = False) -> mx.array:
    """`sigmoid(z) tanh(a)`, of equal shapes; with the CPU's kernels where they may be taken."""
    if kernels:
        return _gated(z, a)  # type: ignore[return-value]
    return _cpu_gated(z, a) if on_cpu() and z.dtype == mx.float32 else mx.sigmoid(z) * mx.tanh(a)


@mx.custom_function
def _gated(z, a):
    return library().call("convlstm_gated_forward", [z, a], [z.shape], [z.size])[0]


@_gated.vjp
def _(given, cotangent, _):
    z, a = given
    return library().call("convlstm_gated_backward", [z, a, cotangent], [z.shape, a.shape], [z.size])


def by_memory(a: mx.array, axis: int) -> tuple[mx.array, mx.array]:
    """What belongs to i, f, g, o and what to i', f', g' of an array with i, f, g, i', f', g', o along an axis."""
    O = a.shape[axis] // 7
    first, second, last = mx.split(a, [3 * O, 6 * O], axis=axis)
    return mx.concatenate([first, last], axis=axis), second


class StepFilters(NamedTuple):
    """The kernels of a step as it reads them: of h and x to i, f, g, o, of x and m to i', f', g', of c' and m' to o.

    Attributes:
        forward: The transformed kernels.
        turned: The kernels transformed for the gradient; where gradients are rare, the kernels themselves, from which a
            gradient makes them.
        sums: Zeros that the walk passes on from step to step, and whose gradient is that of `forward`: what all steps
            find adds up in them.
    """

    forward: tuple[mx.array, ...]
    turned: tuple[mx.array, ...]
    sums: tuple[mx.array, ...]


def prepare(Wx: mx.array, Wh: mx.array, Wm: mx.array, Wo: mx.array, trains: bool = True) -> StepFilters:
    """The filters of a cell's kernels: (7O, k, k, C), (4O, k, k, O), (3O, k, k, O) and (O, k, k, 2O).

    `trains` where many gradients are to be taken.
    """
    O, (Wx_c, Wx_m) = Wo.shape[0], by_memory(Wx, 0)
    kernels = (Wh, Wx_c, Wx_m, Wm, Wo[..., :O], Wo[..., O:])
    forward, sums = zip(*(_prepare(W) for W in kernels), strict=True)
    turned = tuple(map(mx.stop_gradient, kernels))
    if trains:
        turned = tuple(_transformed("convlstm_prepare_turned", W) for W in turned)
    return StepFilters(tuple(map(mx.stop_gradient, forward)), turned, sums)


@mx.custom_function
def _prepare(W):
    O, k, _, C = W.shape
    # Nobody reads these zeros: it is their gradient that counts.
    return _transformed("convlstm_prepare_forward", W), mx.broadcast_to(0.0, (library().filter_floats(k, O, C),))


@_prepare.vjp
def _(W, cotangents, _):
    O, k, _, C = W.shape
    return library().call("convlstm_prepare_backward", [cotangents[1]], [W.shape], [C, O, 0, k])[0]


def _transformed(name: str, W: mx.array) -> mx.array:
    """The filters for the convolution (`convlstm_prepare_forward`) or for its gradient (`convlstm_prepare_turned`)."""
    O, k, _, C = W.shape
    sides = (C, O) if name.endswith("forward") else (O, C)
    return library().call(name, [W], [(library().filter_floats(k, *sides),)], [C, O, 0, k])[0]


def reference_step(x, h, c, m, Wx, Wh, Wm, Wo, forget_bias=1.0):
    """As `step`, with MLX's own convolution, gates and gradients: c', m', zo, i . g, i' . g'."""

    def convolve(x, W):
        return mx.conv2d(x, W, padding=(W.shape[1] // 2, W.shape[2] // 2))

    xi, xf, xg, xi_m, xf_m, xg_m, xo = mx.split(convolve(x, Wx), 7, axis=-1)
    z = mx.concatenate([xi, xf, xg, xo], axis=-1) + convolve(h, Wh)
    z_m = mx.concatenate([xi_m, xf_m, xg_m], axis=-1) + convolve(m, Wm)
    c, m, z, ig, ig_m = _gates(z, z_m, c, m, forget_bias, mx.sigmoid, mx.tanh)
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
    """The memories after a step, and the pre-activation of its output gate, in float32 on the CPU.

    Args:
        x: Input (N, H, W, C).
        h, c, m: Hidden state and memories (N, H, W, O).
        filters: What `prepare` gave, for the first step of a walk, and what the step before returned, for the others.
        kernel_size: Side of the kernels, 3 or 5.
        forget_bias: Added to the pre-activations of both forget gates. Default: 1.
        products: Whether to return what the step adds to the memories. Default: False.

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
    given = (x, h, c, m, mx.array([forget_bias]), *filters.forward, *filters.turned, *filters.sums)
    c, m, zo, *rest = _step(kernel_size, products)(*given)
    added = (rest[0], rest[1]) if products else None
    sums = rest[2:8] if products else rest[:6]
    return c, m, zo, added, filters._replace(sums=tuple(sums))


@lru_cache
def _step(kernel_size: int, products: bool):
    """The step as a function of x, h, c, m, forget bias, 6 filters, 6 turned ones or kernels, 6 sums."""

    def numbers(x, h):
        return [*x.shape, h.shape[-1], kernel_size, int(products)]

    @mx.custom_function
    def run(*given):
        x, h = given[:2]
        shapes = [h.shape] * 3 + [(*h.shape[:3], 6 * h.shape[-1])] + [h.shape] * (2 * products)
        inputs = list(given[:11])
        c, m, zo, kept, *added = library().call("convlstm_st_lstm_forward", inputs, shapes, numbers(x, h))
        return c, m, zo, *added, *given[17:], kept

    @run.vjp
    def _(given: Any, cotangents: Any, results: Any):
        x, h = given[:2]
        dc, dm, dzo, *rest = cotangents
        dadded, dsums = (rest[:2], rest[2:8]) if products else ([], rest[:6])
        turned = [W if W.ndim == 1 else _transformed("convlstm_prepare_turned", W) for W in given[11:17]]
        inputs = [*given[:5], *turned, *dsums, results[-1], *results[:2], dc, dm, dzo, *dadded]
        shapes = [a.shape for a in (*given[:4], *dsums)]
        reused = {4 + k: 11 + k for k in range(6)}
        gradients = library().call("convlstm_st_lstm_backward", inputs, shapes, numbers(x, h), reused)
        return *gradients[:4], *map(mx.zeros_like, given[4:17]), *gradients[4:]

    return run
