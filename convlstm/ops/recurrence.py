"""The ConvLSTM recurrence over a whole sequence, with a gradient of its own.

Automatic differentiation would run one weight gradient per time step and MLX's transposed convolution, which on a CPU
costs several times the convolution itself. Here the convolution of a step is one Winograd convolution over the input
and the hidden state side by side; going back in time, the gates' gradients stay in the transformed domain, where they
serve the input, the hidden state and the weights; and the weight gradient is one product over many steps at a time.

`reference_unroll` is the plain form that the tests hold `unroll` to.
"""

from __future__ import annotations

from functools import lru_cache

import mlx.core as mx

from convlstm.ops.gates import rational_sigmoid, rational_tanh, reference_gates
from convlstm.ops.winograd import KERNELS, Winograd, winograd

Peepholes = tuple[mx.array, mx.array, mx.array]
ROWS = 512  # rows of one weight-gradient product: enough to keep the BLAS busy


def reference_unroll(x, h, c, W, bias, peepholes=None, *, length=None, reverse=False):
    """As `unroll`, step by step with MLX's own convolution, gates and gradients."""
    length = x.shape[1] if x is not None else length
    outputs = [None] * length
    for t in range(length - 1, -1, -1) if reverse else range(length):
        xh = h if x is None else mx.concatenate([x[:, t], h], axis=-1)
        z = mx.conv2d(xh, W, padding=(W.shape[1] // 2, W.shape[2] // 2)) + bias
        h, c = reference_gates(z, c, peepholes)
        outputs[t] = h
    return mx.stack(outputs, axis=1), h, c


def supports(kernel_size: tuple[int, int]) -> bool:
    """Whether `unroll` knows this kernel size."""
    return all(k in KERNELS for k in kernel_size)


@mx.compile
def _forward_gates(z, c, bias, *peepholes):
    i, f, g, o = mx.split(z + bias, 4, axis=-1)
    if peepholes:
        Wci, Wcf, Wco = peepholes
        i, f = i + Wci * c, f + Wcf * c
    i, f, g = rational_sigmoid(i), rational_sigmoid(f), rational_tanh(g)
    c = f * c + i * g
    o = rational_sigmoid(o + Wco * c if peepholes else o)
    return o * rational_tanh(c), c, i, f, g, o


@mx.compile
def _backward_gates(dh, dh_next, dc, i, f, g, o, c_before, c, *peepholes):
    """Gradients of the four pre-activations, side by side, and of the cell state before the step."""
    dh = dh + dh_next
    tanh_c = rational_tanh(c)
    do = dh * tanh_c * o * (1 - o)
    dc = dc + dh * o * (1 - tanh_c * tanh_c)
    if peepholes:
        dc = dc + peepholes[2] * do
    di, df, dg = dc * g * i * (1 - i), dc * c_before * f * (1 - f), dc * i * (1 - g * g)
    dc = dc * f
    if peepholes:
        dc = dc + peepholes[0] * di + peepholes[1] * df
    return mx.concatenate([di, df, dg, do], axis=-1), dc


def _column_sums(a: mx.array) -> mx.array:
    """Sums of the last axis's columns, as a product, which the BLAS does at the speed of memory."""
    a = a.reshape(-1, a.shape[-1])
    return (mx.ones((1, a.shape[0])) @ a)[0]


@lru_cache(maxsize=64)
def _recurrence(wino: Winograd, driven: bool, length: int, reverse: bool, peephole_shape: str | None):
    """The custom function for one configuration: (x, h, c, W, bias, *peepholes) -> (outputs, c, what is kept)."""
    steps = list(range(length - 1, -1, -1) if reverse else range(length))

    def tiled(peepholes):
        return [p if p.ndim == 1 else wino.to_tiles(p[None]) for p in peepholes]

    def inputs(x, h, t):
        return mx.concatenate([x[:, t], h], axis=-1) if driven else h

    @mx.custom_function
    def run(x, h, c, W, bias, *peepholes):
        U = wino.filters(W)
        c, peepholes = wino.to_tiles(c), tiled(peepholes)
        outputs, kept = [None] * length, []
        for t in steps:
            z = wino.scatter(wino.gather(inputs(x, h, t)) @ U)
            h, c, *activations = _forward_gates(z, c, bias, *peepholes)
            h = wino.from_tiles(h)
            outputs[t] = h
            kept += [*activations, c]
        return mx.stack(outputs, axis=1), wino.from_tiles(c), *kept

    @run.vjp
    def _(primals, cotangents, results):
        x, h0, c0, W, bias, *peepholes = primals
        outputs, _, *kept = results
        douts, dc, *_ = cotangents
        N, O = h0.shape[0], h0.shape[-1]
        U, Uback = wino.filters(W), None
        Uback = U.swapaxes(1, 2)
        shaped, before = tiled(peepholes), wino.to_tiles(c0)
        dh, dc = mx.zeros_like(before), wino.to_tiles(dc)
        dx, dU, dbias = [None] * length, 0, 0
        dpeepholes = [0.0] * len(peepholes)
        per_product = max(1, ROWS // (N * wino.tiles))
        waiting = []
        for n in range(length - 1, -1, -1):
            t = steps[n]
            i, f, g, o, c = kept[5 * n : 5 * n + 5]
            c_before = kept[5 * n - 1] if n else before
            dz, dc = _backward_gates(wino.to_tiles(douts[:, t]), dh, dc, i, f, g, o, c_before, c, *shaped)
            dM = wino.scatter_transposed(dz)
            dxh = wino.gather_transposed(dM @ Uback)
            if driven:
                dx[t] = dxh[..., : -O]
            dh_frame = dxh[..., -O:]
            dh = wino.to_tiles(dh_frame)
            dbias = dbias + _column_sums(dz)
            for k, (gate, state) in enumerate(((0, c_before), (1, c_before), (3, c))[: len(peepholes)]):
                dpeepholes[k] = dpeepholes[k] + _peephole_gradient(dz[..., gate * O : (gate + 1) * O] * state, peepholes[k])
            waiting.append((inputs(x, outputs[:, steps[n - 1]] if n else h0, t), dM))
            if len(waiting) == per_product or n == 0:
                V = wino.gather(mx.concatenate([a for a, _ in waiting])) if len(waiting) > 1 else wino.gather(waiting[0][0])
                dMs = mx.concatenate([b for _, b in waiting], axis=1) if len(waiting) > 1 else waiting[0][1]
                dU = dU + V.swapaxes(1, 2) @ dMs
                waiting = []
        dpeepholes = [d if d.ndim == 1 else wino.from_tiles(d)[0] for d in dpeepholes]
        dx = mx.stack(dx, axis=1) if driven else mx.zeros_like(x)
        return dx, dh_frame, wino.from_tiles(dc), wino.filters_transposed(dU), dbias, *dpeepholes

    return run


def _peephole_gradient(product: mx.array, peephole: mx.array) -> mx.array:
    return _column_sums(product) if peephole.ndim == 1 else product.sum(axis=1, keepdims=True)


def unroll(
    x: mx.array | None,
    h: mx.array,
    c: mx.array,
    W: mx.array,
    bias: mx.array,
    peepholes: Peepholes | None = None,
    *,
    length: int | None = None,
    reverse: bool = False,
) -> tuple[mx.array, mx.array, mx.array]:
    """All steps of a ConvLSTM with stride 1, 'same' padding and no dilation.

    Args:
        x: Input (N, L, H, W, C), or None for none.
        h, c: State at the start, each (N, H, W, O).
        W: Kernels of the input and the hidden state side by side, (4O, kh, kw, C + O), or (4O, kh, kw, O).
        bias: (4O,).
        peepholes: `W_ci, W_cf, W_co`, each (O,) or (H, W, O), or None.
        length: Number of steps where there is no input.
        reverse: Whether to walk from the last step to the first.

    Returns:
        Hidden states (N, L, H, W, O) in the order of the input's time, and the final `h` and `c`.
    """
    length = x.shape[1] if x is not None else length
    wino = winograd(tuple(W.shape[1:3]), h.shape[1], h.shape[2])
    shape = None if peepholes is None else str(peepholes[0].ndim)
    run = _recurrence(wino, x is not None, length, reverse, shape)
    outputs, c, *_ = run(mx.zeros(1) if x is None else x, h, c, W, bias, *(peepholes or ()))
    return outputs, outputs[:, 0 if reverse else length - 1], c
