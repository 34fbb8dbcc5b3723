"""The ConvLSTM recurrence over a whole sequence, with a gradient of its own.

Automatic differentiation would run one weight gradient per time step and MLX's transposed convolution, which on a CPU
costs several times the convolution itself. Here the convolution of a step is one Winograd convolution over the input
and the hidden state side by side; going back in time, the gates' gradients stay in the transformed domain, where they
serve the input, the hidden state and the weights; and the weight gradient is one product over many steps at a time.

`reference_unroll` is the plain form that the tests hold `unroll` to.
"""

from __future__ import annotations

from functools import lru_cache

from convlstm.ops.gates import Peepholes, backward_gates, forward_gates, halved, reference_gates
from convlstm.ops.winograd import KERNELS, Winograd, winograd

import mlx.core as mx

ROWS = 512  # rows of one weight-gradient product: enough to keep the BLAS busy


def reference_unroll(x, h, c, W, bias, peepholes=None, *, length=None, reverse=False):
    """As `unroll`, step by step with MLX's own convolution, gates and gradients."""
    length = x.shape[1] if x is not None else length
    outputs: list[mx.array] = [h] * length
    for t in range(length - 1, -1, -1) if reverse else range(length):
        xh = h if x is None else mx.concatenate([x[:, t], h], axis=-1)
        z = mx.conv2d(xh, W, padding=(W.shape[1] // 2, W.shape[2] // 2)) + bias
        h, c = reference_gates(z, c, peepholes)
        outputs[t] = h
    return mx.stack(outputs, axis=1), h, c


def supports(kernel_size: tuple[int, int]) -> bool:
    """Whether `unroll` knows this kernel size."""
    return all(k in KERNELS for k in kernel_size)


def _column_sums(a: mx.array) -> mx.array:
    """Sums of the last axis's columns, as a product, which the BLAS does at the speed of memory."""
    a = a.reshape(-1, a.shape[-1])
    return (mx.ones((1, a.shape[0])) @ a).reshape(-1)


@lru_cache(maxsize=64)
def _recurrence(wino: Winograd, driven: bool, length: int, reverse: bool):
    """The custom function for one configuration: (x, h, c, W, bias, *peepholes) -> (outputs, c, what is kept).

    Weights, bias and peepholes come `halved`.
    """
    steps = list(range(length - 1, -1, -1) if reverse else range(length))

    def tiled(peepholes, like):
        return [_full(p if p.ndim == 1 else wino.to_tiles(p[None]), like.shape) for p in peepholes]

    def inputs(x, h, t):
        return mx.concatenate([_step(x, t), h], axis=-1) if driven else h

    @mx.custom_function
    def run(x, h, c, W, bias, *peepholes):
        U = wino.filters(W)
        U = mx.contiguous(U.reshape(*U.shape[:2], 4, -1).transpose(2, 0, 1, 3))
        c = wino.to_tiles(c)
        bias = _full(bias.reshape(4, 1, 1, 1, -1), (4, *c.shape))
        peepholes = tiled(peepholes, c)
        outputs, kept = [h] * length, []
        for t in steps:
            z = wino.scatter(wino.gather(inputs(x, h, t)) @ U)
            h, c, activations = forward_gates(z, c, bias, *peepholes)
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
        U = wino.filters(W).swapaxes(1, 2)
        before = wino.to_tiles(c0)
        shaped = tiled(peepholes, before)
        dh, dc = mx.zeros_like(before), wino.to_tiles(dc)
        dx: list[mx.array] = [h0] * length
        dU, dbias = mx.zeros(()), mx.zeros(())
        dpeepholes = [mx.zeros(())] * len(peepholes)
        per_product = max(1, ROWS // (N * wino.tiles))
        waiting = []
        for n in range(length - 1, -1, -1):
            t = steps[n]
            *activations, c = kept[5 * n : 5 * n + 5]
            c_before = kept[5 * n - 1] if n else before
            dz, dc, products = backward_gates(wino.to_tiles(_step(douts, t)), dh, dc, activations, c_before, c, *shaped)
            dM = wino.scatter_transposed(dz)
            dxh = wino.gather_transposed(dM @ U)
            if driven:
                dx[t] = wino.from_tiles(dxh[..., :-O])
            dh = mx.contiguous(dxh[..., -O:])
            dbias = dbias + dz
            dpeepholes = [total + product for total, product in zip(dpeepholes, products, strict=True)]
            waiting.append((inputs(x, _step(outputs, steps[n - 1]) if n else h0, t), dM))
            if len(waiting) == per_product or n == 0:
                V = wino.gather(_joined([a for a, _ in waiting], axis=0))
                dU = dU + V.swapaxes(1, 2) @ _joined([b for _, b in waiting], axis=1)
                waiting = []
        for k, total in enumerate(dpeepholes):
            places = total.sum(axis=1, keepdims=True)
            dpeepholes[k] = _column_sums(total) if peepholes[k].ndim == 1 else wino.from_tiles(places)[0]
        dinputs = mx.stack(dx, axis=1) if driven else mx.zeros_like(x)
        return (
            dinputs,
            wino.from_tiles(dh),
            wino.from_tiles(dc),
            wino.filters_transposed(dU),
            _column_sums(dbias),
            *dpeepholes,
        )

    return run


def _step(a: mx.array, t: int) -> mx.array:
    """Time step t of (N, L, ...), a view."""
    return a[:, t : t + 1].squeeze(1)


def _joined(arrays: list[mx.array], axis: int) -> mx.array:
    return arrays[0] if len(arrays) == 1 else mx.concatenate(arrays, axis=axis)


def _full(a: mx.array, shape: tuple[int, ...]) -> mx.array:
    """`a` broadcast to `shape` in memory, so that the kernels that read it have contiguous inputs."""
    return mx.contiguous(mx.broadcast_to(a, shape))


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
    length = x.shape[1] if x is not None else int(length or 0)
    wino = winograd(tuple(W.shape[1:3]), h.shape[1], h.shape[2])
    run = _recurrence(wino, x is not None, length, reverse)
    halves = () if peepholes is None else [0.5 * p for p in peepholes]
    outputs, c, *_ = run(mx.zeros(1) if x is None else x, h, c, halved(W), halved(bias), *halves)
    return outputs, _step(outputs, 0 if reverse else length - 1), c
