"""The ConvLSTM recurrence over a whole sequence on the CPU, with its own gradient.

Automatic differentiation would compute a weight gradient at every time step, and use MLX's transposed convolution,
which takes several times as long as the convolution on a CPU. Here a sequence is one operation of MLX's graph, and its
gradient another. `cpu/recurrence.h` walks through the steps with Winograd convolutions, computes the gates while a tile
is in cache, and takes the weights' gradient over many steps at once.

`reference_unroll` is the recurrence in plain MLX, with which tests compare `unroll`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from convlstm.ops.cpu.library import library
from convlstm.ops.gates import Peepholes, reference_gates

import mlx.core as mx


def reference_unroll(x, h, c, Wx, Wh, bias, peepholes=None, *, length=None, reverse=False, recompute=False):
    """Returns the result of `unroll`, step by step with MLX's own convolution, gates and gradients."""
    length = x.shape[1] if x is not None else length
    outputs: list[mx.array] = [h] * length
    pad = (Wh.shape[1] // 2, Wh.shape[2] // 2)
    for t in range(length - 1, -1, -1) if reverse else range(length):
        z = mx.conv2d(h, Wh, padding=pad) + bias
        if x is not None:
            z = z + (x[:, t] if Wx is None else mx.conv2d(x[:, t], Wx, padding=(Wx.shape[1] // 2, Wx.shape[2] // 2)))
        h, c = reference_gates(z, c, peepholes)
        outputs[t] = h
    return mx.stack(outputs, axis=1), h, c


def unroll(
    x: mx.array | None,
    h: mx.array,
    c: mx.array,
    Wx: mx.array | None,
    Wh: mx.array,
    bias: mx.array,
    peepholes: Peepholes | None = None,
    *,
    length: int | None = None,
    reverse: bool = False,
    recompute: bool = False,
) -> tuple[mx.array, mx.array, mx.array]:
    """Returns all steps of a ConvLSTM with stride 1, 'same' padding and no dilation, in float32 on the CPU.

    Args:
        x: Input (N, L, H, W, C), or None for none. Without `Wx`, its part of the pre-activations, (N, L, H, W, 4O).
        h, c: State at the start, each (N, H, W, O).
        Wx, Wh: Kernels of the input, (4O, k, k, C) or None, and of the hidden state, (4O, k, k, O).
        bias: (4O,).
        peepholes: `W_ci, W_cf, W_co`, each (O,) or (H, W, O), or None.
        length: Number of steps if there is no input.
        reverse: If True, the walk goes from the last step to the first. Default: False.
        recompute: If True, the gradient computes the gates again, a few steps at a time, instead of keeping four
            numbers per state and step of the forward walk. Default: False.

    Returns:
        Hidden states (N, L, H, W, O) in the order of the input's time, and the final `h` and `c`. They have their own
        gradient; `mx.jvp`, `mx.vmap` and gradients of gradients need a layer's algorithm='native'.

    Raises:
        ValueError: The shapes do not fit each other.
    """
    _check(x, h, c, None if Wx is None else Wx.shape[-1], Wh.shape[0], bias, peepholes, Wh.shape[-1])
    driven = 0 if x is None else 2 if Wx is None else 1
    walk = _walk(driven, length or 0, _kind(peepholes), Wh.shape[1], reverse, not recompute, 0)
    nothing = mx.zeros(1)
    arguments = (nothing if x is None else x, h, c, nothing if Wx is None else Wx, Wh, bias, *_three(peepholes))
    outputs, _, h, c, *_ = walk(*arguments)
    return outputs, h, c


class Filters(NamedTuple):
    """Kernels as the parts of a longer walk read them.

    Attributes:
        forward: The transformed kernels, or the kernels themselves, which every part then transforms.
        kernels: The kernels themselves, which a gradient transforms in its own way.
        sum: Zeros that the walk passes on from part to part. Their gradient is that of `forward`, the sum over all
            parts. None if gradients are rare; each part then has its own gradient.
    """

    forward: mx.array
    kernels: mx.array
    sum: mx.array | None

    @property
    def transformed(self) -> bool:
        """True if `forward` are transformed kernels."""
        return self.forward.ndim == 1


def prepare(W: mx.array, trains: bool = True, sparing: bool = False) -> Filters:
    """Returns the filters of kernels (4O, k, k, C) for `unroll_prepared`.

    Args:
        W: The kernels.
        trains: True if many gradients will be taken. Default: True.
        sparing: True leaves the kernels as they are, to save memory: transformed kernels and their sum have two and a
            half times the kernels' size. Default: False.
    """
    if trains:
        filters: Any = _carry(W) if sparing else _prepare(W)
        return Filters(filters[0], mx.stop_gradient(W), filters[1])
    return Filters(_transformed("convlstm_prepare_forward", mx.stop_gradient(W)), W, None)


def unroll_prepared(
    x: mx.array | None,
    h: mx.array,
    c: mx.array,
    Ux: Filters | None,
    Uh: Filters,
    bias: mx.array,
    peepholes: Peepholes | None = None,
    *,
    kernel_size: int,
    length: int | None = None,
    recompute: bool = False,
) -> tuple[mx.array, mx.array, mx.array, Filters | None, Filters]:
    """Returns the result of `unroll` for a part of a longer walk, such as a step of a model that reads its own output.

    `prepare` transforms the kernels once. Their gradient is summed in one place if every part is given the filters that
    the part before returned.

    Args:
        x, h, c, bias, peepholes, length, recompute: As in `unroll`.
        Ux, Uh: Filters of the input's kernels, or None, and of the hidden state's.
        kernel_size: Side k of the kernels.

    Returns:
        The result of `unroll`, and the filters for the next part.

    Raises:
        ValueError: The shapes do not fit each other.
    """
    O, C = h.shape[-1], None if x is None or Ux is None else x.shape[-1]
    _check(x, h, c, C, 4 * O, bias, peepholes, O)
    for name, filters, channels in (("Ux", Ux, C), ("Uh", Uh, O)):
        if filters is None or channels is None:
            continue
        sizes = library().filter_floats(kernel_size, channels, _packed(O)), 4 * O * kernel_size**2 * channels
        if filters.forward.size != sizes[0 if filters.transformed else 1]:
            raise ValueError(f"[unroll_prepared] '{name}' was prepared from kernels of another size or other channels.")
    driven = 0 if x is None else 2 if Ux is None else 1
    prepared = 2 if Uh.sum is None else 1 if Uh.transformed else 3
    walk = _walk(driven, length or 0, _kind(peepholes), kernel_size, False, not recompute, prepared)
    nothing = mx.zeros(1)
    ux = Filters(nothing, nothing, None) if Ux is None else Ux
    arguments = (
        nothing if x is None else x,
        h,
        c,
        ux.forward,
        Uh.forward,
        bias,
        *_three(peepholes),
        ux.kernels,
        Uh.kernels,
    )
    if Uh.sum is None:
        outputs, _, h, c, *_ = walk(*arguments)
        return outputs, h, c, Ux, Uh
    outputs, _, h, c, sum_x, sum_h, *_ = walk(*arguments, nothing if Ux is None else Ux.sum, Uh.sum)
    return outputs, h, c, None if Ux is None else Ux._replace(sum=sum_x), Uh._replace(sum=sum_h)


def _check(x, h, c, channels: int | None, gates: int, bias: mx.array, peepholes: Peepholes | None, states: int) -> None:
    """Raises ValueError if a shape does not fit, since the kernels would read beyond the array."""
    N, H, W, O = h.shape
    expected = {"c": (c, h.shape), "bias": (bias, (4 * O,))}
    if x is not None:
        expected["x"] = (x, (N, x.shape[1], H, W, 4 * O if channels is None else channels))
    for n, peephole in enumerate(peepholes or ()):
        expected[("W_ci", "W_cf", "W_co")[n]] = (peephole, (O,) if peephole.ndim == 1 else (H, W, O))
    for name, (array, shape) in expected.items():
        if tuple(array.shape) != tuple(shape):
            raise ValueError(f"[unroll] '{name}' must have shape {tuple(shape)} but got {tuple(array.shape)}.")
    if (gates, states) != (4 * O, O):
        raise ValueError(f"[unroll] 'Wh' must be of shape {(4 * O, 'k', 'k', O)} for states of {O} channels.")


def _kind(peepholes: Peepholes | None) -> int:
    """Returns 0 for no peepholes, 1 for a weight per channel, 2 for a weight per channel and pixel."""
    return 0 if peepholes is None else 1 if peepholes[0].ndim == 1 else 2


def _three(peepholes: Peepholes | None) -> Peepholes:
    """Returns the peepholes, or three arrays that nothing reads."""
    return (mx.zeros(1),) * 3 if peepholes is None else peepholes


@mx.custom_function
def _prepare(W):
    """Returns the transformed kernels, and zeros whose gradient, transformed back, becomes that of the kernels."""
    O, k, _, C = W.shape
    return _transformed("convlstm_prepare_forward", W), mx.zeros((library().filter_floats(k, _packed(O // 4), C),))


@_prepare.vjp
def _(W, cotangents, _):
    O, k, _, C = W.shape
    return library().call("convlstm_prepare_backward", [cotangents[1]], [W.shape], [C, O // 4, 1, k])[0]


@mx.custom_function
def _carry(W):
    """Returns the kernels, and zeros whose gradient becomes that of the kernels."""
    return W, mx.zeros_like(W)


@_carry.vjp
def _(W, cotangents, _):
    return cotangents[1]


def _transformed(name: str, W: mx.array) -> mx.array:
    """Returns filters for the convolution (`convlstm_prepare_forward`) or its gradient (`convlstm_prepare_turned`)."""
    O, k, _, C = W.shape
    sides = (C, _packed(O // 4)) if name.endswith("forward") else (_packed(O // 4), C)
    return library().call(name, [W], [(library().filter_floats(k, *sides),)], [C, O // 4, 1, k])[0]


def _packed(channels: int) -> int:
    """Returns the channels of the four gates, each rounded up to whole vectors."""
    lanes = library().lanes
    return 4 * lanes * -(-channels // lanes)


@lru_cache(maxsize=256)
def _walk(driven: int, length: int, peepholes: int, kernel_size: int, reverse: bool, keep: bool, prepared: int):
    """Returns the custom function for one configuration; its arguments are those of `convlstm_forward` in kernels.cpp.

    Args:
        driven: 0 for no input, 1 for an input to convolve, 2 for the result of a convolution.
        length: Number of steps if there is no input.
        peepholes: Result of `_kind`.
        kernel_size: Side of the kernels.
        reverse: True walks from the last step to the first.
        keep: True keeps the gates for the gradient.
        prepared: 0 for kernels, 1 for transformed `Filters` with a sum, 2 for those without a sum, 3 for `Filters`
            that are not transformed.

    Returns:
        A function that returns outputs, cells, the last h and c, the sums if there are any, and the gates if kept.
    """
    kernels = library()

    def numbers(x, h, filters):
        N, H, W, O = h.shape
        T, C = (x.shape[1], x.shape[-1]) if driven else (length, 1)
        return [N, T, H, W, C, O, int(reverse), peepholes, kernel_size, driven, int(keep), filters]

    @mx.custom_function
    def run(*primals):
        x, h, *_ = primals
        n = numbers(x, h, int(prepared in (1, 2)))
        N, T, H, W, _, O = n[:6]
        sequence = (N, T, H, W, O)
        shapes = [sequence, sequence, h.shape, h.shape, *[(N, T, H, W, _packed(O))] * keep]
        outputs, cells, h, c, *kept = kernels.call("convlstm_forward", list(primals[:9]), shapes, n)
        return outputs, cells, h, c, *primals[11:], *kept

    @run.vjp
    def _(primals, cotangents, results):
        x, h, c, Wx, Wh, bias, *rest = primals
        outputs, cells, *_ = results
        doutputs, _, dh, dc, *dsums = cotangents
        inputs = [*primals[:9], outputs, cells, results[-1] if keep else mx.zeros(1), doutputs, dh, dc]
        shapes = [a.shape for a in primals[:9]]
        reused = {}
        if prepared == 1:  # the filters' gradient, added to that of the later parts
            turned = [_transformed("convlstm_prepare_turned", W) if W.ndim == 4 else W for W in primals[9:11]]
            inputs += [*turned, *dsums[:2]]
            shapes[3:5] = [a.shape for a in primals[11:]]
            reused = {3: 17, 4: 18}
        elif prepared == 2:
            inputs[3:5] = primals[9:11]
            shapes[3:5] = [a.shape for a in primals[9:11]]
        elif prepared == 3:
            inputs += dsums[:2]
            reused = {3: 15, 4: 16}
        gradients = kernels.call("convlstm_backward", inputs, shapes, numbers(x, h, (0, 1, 0, 2)[prepared]), reused)
        if driven == 0:
            gradients[0] = mx.zeros_like(x)
        if driven != 1:
            gradients[3] = mx.zeros(shapes[3])
        if peepholes == 0:
            gradients[6:9] = [mx.zeros_like(p) for p in rest[:3]]
        if prepared == 0:
            return tuple(gradients)
        of_filters = gradients[3:5]
        gradients[3:5] = mx.zeros_like(Wx), mx.zeros_like(Wh)
        of_kernels = of_filters if prepared == 2 else [mx.zeros_like(W) for W in primals[9:11]]
        return *gradients, *of_kernels, *(of_filters if prepared in (1, 3) else ())

    return run
