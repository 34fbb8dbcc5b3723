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

from convlstm.ops.algorithm import on_cpu

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


def candidate_gates(z: mx.array, c: mx.array, peepholes: Peepholes | None = None) -> tuple[mx.array, mx.array]:
    """As `reference_gates`, but for h' = o . tanh(z_g): the candidate goes out, not the cell state."""
    _, next_c = reference_gates(z, c, peepholes)
    _, _, g, o = mx.split(z, 4, axis=-1)
    if peepholes is not None:
        o = o + peepholes[2] * next_c
    return mx.sigmoid(o) * mx.tanh(g), next_c
