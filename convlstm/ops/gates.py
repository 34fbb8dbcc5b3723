"""The element-wise part of the ConvLSTM: gates, cell state and hidden state.

On a CPU MLX evaluates `mx.tanh` and `mx.sigmoid` at about 45 million elements a second on one thread, which would cost
a small ConvLSTM more than its convolutions. `rational_tanh` is a quotient of polynomials that the compiler turns into
vector instructions, more than ten times as fast. `lstm_gates` uses it on a CPU, and the built-in functions elsewhere;
`reference_gates` is the plain form that the tests hold it to.

What the fused kernels of MLX's CPU back end ask for, so that g++ vectorises them: contiguous inputs, few arrays in one
kernel, and not more than about ten operations in a row, else they are cut at an unlucky place. `_cut` cuts them.
"""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx

Peepholes = tuple[mx.array, mx.array, mx.array]

# x p(x^2) / q(x^2) with p of degree 6 and q of degree 3 on [-7.9, 7.9]; largest error 4e-7 in float32.
_P = (
    4.89352455891786e-03,
    6.37261928875436e-04,
    1.48572235717979e-05,
    5.12229709037114e-08,
    -8.60467152213735e-11,
    2.00018790482477e-13,
    -2.76076847742355e-16,
)
_Q = (4.89352518554385e-03, 2.26843463243900e-03, 1.18534705686654e-04, 1.19825839466702e-06)
_BOUND = 7.9


def _cut(x: mx.array) -> mx.array:
    """`x` itself, at a place where a fused kernel ends and another begins."""
    return x.reshape(1, -1).reshape(x.shape)


def _clamp(x: mx.array) -> mx.array:
    # Not mx.clip: its test for NaN keeps the loop from being vectorised. NaN passes here too.
    x = mx.where(x > _BOUND, _BOUND, x)
    return mx.where(x < -_BOUND, -_BOUND, x)


def _quotient(x: mx.array) -> mx.array:
    # Estrin's scheme: as many multiplications as Horner's, but half as deep, which keeps it in one kernel.
    y = x * x
    y2 = y * y
    p = (_P[0] + _P[1] * y) + y2 * ((_P[2] + _P[3] * y) + y2 * ((_P[4] + _P[5] * y) + y2 * _P[6]))
    q = (_Q[0] + _Q[1] * y) + y2 * (_Q[2] + _Q[3] * y)
    return x * p / q


def rational_tanh(x: mx.array) -> mx.array:
    """Hyperbolic tangent, to 4e-7 in float32; same shape as `x`. Made to be called in a compiled function."""
    return _quotient(_cut(_clamp(x)))


def _lstm_gates(
    z: mx.array, c: mx.array, peepholes: Peepholes | None, sigmoid: Callable, tanh: Callable
) -> tuple[mx.array, mx.array]:
    i, f, g, o = mx.split(z, 4, axis=-1)
    if peepholes is not None:
        Wci, Wcf, Wco = peepholes
        i, f = i + Wci * c, f + Wcf * c
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    if peepholes is not None:
        o = o + Wco * c
    return sigmoid(o) * tanh(c), c


def reference_gates(z: mx.array, c: mx.array, peepholes: Peepholes | None = None) -> tuple[mx.array, mx.array]:
    """The gates as the equations state them, with MLX's own functions. Arguments as in `lstm_gates`."""
    return _lstm_gates(z, c, peepholes, mx.sigmoid, mx.tanh)


def _cpu_sigmoid(x: mx.array) -> mx.array:
    return 0.5 * rational_tanh(0.5 * x) + 0.5


@mx.compile
def _cpu_gates(z: mx.array, c: mx.array, *peepholes: mx.array) -> tuple[mx.array, mx.array]:
    return _lstm_gates(z, c, peepholes or None, _cpu_sigmoid, rational_tanh)  # type: ignore[arg-type]


def on_cpu() -> bool:
    """Whether arrays are computed on the CPU."""
    return mx.default_device() == mx.Device(mx.cpu)


def lstm_gates(z: mx.array, c: mx.array, peepholes: Peepholes | None = None) -> tuple[mx.array, mx.array]:
    r"""From pre-activations and the cell state to the next hidden and cell states.

        i = sigmoid(z_i + W_ci . c)
        f = sigmoid(z_f + W_cf . c)
        c' = f . c + i . tanh(z_g)
        o = sigmoid(z_o + W_co . c')
        h' = o . tanh(c')

    Args:
        z: Pre-activations (..., H, W, 4O), the gates in the order i, f, g, o.
        c: Cell state (..., H, W, O).
        peepholes: `W_ci, W_cf, W_co`, each (O,) or (H, W, O), or None for none.

    Returns:
        `h'` and `c'`, each (..., H, W, O).
    """
    if on_cpu() and z.dtype == mx.float32:
        return _cpu_gates(z, c, *(peepholes or ()))
    return reference_gates(z, c, peepholes)


def halved(a: mx.array) -> mx.array:
    """Weights or biases, gates first, with those of i, f and o halved: sigmoid(z) = (tanh(z / 2) + 1) / 2."""
    half, whole = mx.full((a.shape[0] // 4, *[1] * (a.ndim - 1)), 0.5), mx.ones((a.shape[0] // 4, *[1] * (a.ndim - 1)))
    return a * mx.concatenate([half, half, whole, half])


def _each_gate(a: mx.array) -> list[mx.array]:
    # Slices are views where an index would be a copy.
    return [part.reshape(a.shape[1:]) for part in mx.split(a, 4)]


@mx.compile
def forward_gates(
    z: mx.array, c: mx.array, bias: mx.array, *peepholes: mx.array
) -> tuple[mx.array, mx.array, list[mx.array]]:
    """The gates of a step whose weights were `halved`: (h', c', tanh of each pre-activation).

    `z` and `bias` are (4, ...), the gates first, `c` and the peepholes (...), all of them contiguous and of full size.
    """
    if not peepholes:
        ti, tf, tg, to = _each_gate(_quotient(_cut(_clamp(z + bias))))
    else:
        Wci, Wcf, Wco = peepholes
        (zi, zf, zg, zo), (bi, bf, bg, bo) = _each_gate(z), _each_gate(bias)
        ti = _cut(_quotient(_cut(_clamp(zi + bi + Wci * c))))
        tf = _cut(_quotient(_cut(_clamp(zf + bf + Wcf * c))))
        tg = _cut(_quotient(_cut(_clamp(zg + bg))))
    c = _cut(0.5 * ((1 + tf) * c + (1 + ti) * tg))
    if peepholes:
        to = _cut(_quotient(_cut(_clamp(zo + bo + Wco * c))))
    tanh_c = _cut(_quotient(_cut(_clamp(c))))
    return 0.5 * (1 + to) * tanh_c, c, [ti, tf, tg, to]


@mx.compile
def backward_gates(
    dh: mx.array,
    dh_next: mx.array,
    dc: mx.array,
    t: list[mx.array],
    c_before: mx.array,
    c: mx.array,
    *peepholes: mx.array,
) -> tuple[mx.array, mx.array, list[mx.array]]:
    """The gradient of `forward_gates`.

    `dh`, from the outputs, and `dh_next`, from the next step, are added.

    Returns:
        The gradient of `z`, the gates side by side (..., 4O); that of the cell state before the step; those of the
        peepholes, each of the size of `c`.
    """
    ti, tf, tg, to = t
    tanh_c = _cut(_quotient(_cut(_clamp(c))))
    dh = _cut(dh + dh_next)
    do = _cut(0.5 * dh * tanh_c * (1 - to * to))
    dc = dc + 0.5 * dh * (1 + to) * (1 - tanh_c * tanh_c)
    dc = _cut(dc + peepholes[2] * do if peepholes else dc)
    di = _cut(0.5 * dc * tg * (1 - ti * ti))
    df = _cut(0.5 * dc * c_before * (1 - tf * tf))
    dg = _cut(0.5 * dc * (1 + ti) * (1 - tg * tg))
    dc = 0.5 * dc * (1 + tf)
    dpeepholes = []
    if peepholes:
        dc = dc + peepholes[0] * di + peepholes[1] * df
        dpeepholes = [di * c_before, df * c_before, do * c]
    return mx.concatenate([di, df, dg, do], axis=-1), dc, dpeepholes
