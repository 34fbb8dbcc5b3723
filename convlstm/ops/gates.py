"""The element-wise part of the ConvLSTM: gates, cell state and hidden state.

On a CPU MLX computes `mx.tanh` and `mx.sigmoid` at about 45 million elements a second, on one thread. A small ConvLSTM
would spend more time on them than on its convolutions. `rational_tanh` is a quotient of polynomials that the compiler
turns into vector instructions, more than ten times as fast. `lstm_gates` uses it on a CPU and MLX's functions
elsewhere; `reference_gates` is the same equations with MLX's functions everywhere, for the tests.

g++ vectorises a fused kernel of MLX's CPU back end only if its inputs are contiguous and few, and if at most about ten
operations follow each other: MLX cuts longer chains at an arbitrary operation. `_cut` ends a kernel at a good one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps

from convlstm.ops.algorithm import on_cpu
from convlstm.ops.compilation import elementwise

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
    """Returns `x` itself, but ends a fused kernel here and begins another."""
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
    """Returns the hyperbolic tangent, exact to 4e-7 in float32, of the shape of `x`. Call it in a compiled function."""
    return _quotient(_cut(_clamp(x)))


def rational_sigmoid(x: mx.array) -> mx.array:
    """Returns the logistic function by `rational_tanh`."""
    return 0.5 * rational_tanh(0.5 * x) + 0.5


def fast_on_cpu(equations: Callable) -> Callable:
    """Decorates element-wise equations: on a CPU, in float32, they are compiled and use the rational functions.

    Elsewhere they run as they are written, which is also what the result's `__wrapped__` does.

    Args:
        equations: A function of arrays whose keywords `sigmoid` and `tanh` have MLX's functions as their defaults.
    """
    fast = elementwise(partial(equations, sigmoid=rational_sigmoid, tanh=rational_tanh))

    @wraps(equations)
    def run(z: mx.array, *others):
        return (fast if on_cpu() and z.dtype == mx.float32 else equations)(z, *others)

    return run


@fast_on_cpu
def lstm_gates(
    z: mx.array,
    c: mx.array,
    peepholes: Peepholes | None = None,
    *,
    sigmoid: Callable = mx.sigmoid,
    tanh: Callable = mx.tanh,
) -> tuple[mx.array, mx.array]:
    r"""Returns the next hidden state and cell state of a ConvLSTM.

        i = sigmoid(z_i + W_ci . c)
        f = sigmoid(z_f + W_cf . c)
        g = tanh(z_g)
        c' = f . c + i . g
        o = sigmoid(z_o + W_co . c')
        h' = o . tanh(c')

    Args:
        z: Pre-activations (..., H, W, 4O), the gates in the order i, f, g, o.
        c: Cell state (..., H, W, O).
        peepholes: `W_ci, W_cf, W_co`, each (O,) or (H, W, O), or None for none.

    Returns:
        `h'` and `c'`, each (..., H, W, O).
    """
    i, f, g, o = mx.split(z, 4, axis=-1)
    if peepholes is not None:
        Wci, Wcf, Wco = peepholes
        i, f = i + Wci * c, f + Wcf * c
    i, f, g = sigmoid(i), sigmoid(f), tanh(g)
    c = f * c + i * g
    if peepholes is not None:
        o = o + Wco * c
    o = sigmoid(o)
    h = o * tanh(c)
    return h, c


reference_gates = lstm_gates.__wrapped__  # type: ignore[attr-defined]


def candidate_gates(
    z: mx.array,
    c: mx.array,
    peepholes: Peepholes | None = None,
    *,
    sigmoid: Callable = mx.sigmoid,
    tanh: Callable = mx.tanh,
) -> tuple[mx.array, mx.array]:
    """Returns the next states as `lstm_gates` does, but with h' = o . g: the output is the gated candidate."""
    _, c = reference_gates(z, c, peepholes, sigmoid=sigmoid, tanh=tanh)
    _, _, g, o = mx.split(z, 4, axis=-1)
    if peepholes is not None:
        o = o + peepholes[2] * c
    return sigmoid(o) * tanh(g), c
