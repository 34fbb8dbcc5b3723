"""The element-wise part of the ConvLSTM: gates, cell state and hidden state.

MLX evaluates `mx.tanh` and `mx.sigmoid` on a CPU at about 45 million elements a second on one thread, which would cost
a small ConvLSTM more than its convolutions. `tanh` below is a rational approximation that the CPU back end vectorises;
on a GPU the built-in functions are used. `reference_gates` is the plain form that the tests hold `gates` to.
"""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx

# Odd numerator of degree 13 over even denominator of degree 6 on [-7.9, 7.9]; largest error 4e-7 in float32.
_NUMERATOR = (
    4.89352455891786e-03,
    6.37261928875436e-04,
    1.48572235717979e-05,
    5.12229709037114e-08,
    -8.60467152213735e-11,
    2.00018790482477e-13,
    -2.76076847742355e-16,
)
_DENOMINATOR = (4.89352518554385e-03, 2.26843463243900e-03, 1.18534705686654e-04, 1.19825839466702e-06)
_BOUND = 7.9


def rational_tanh(x: mx.array) -> mx.array:
    """Hyperbolic tangent as a rational function, to 4e-7 in float32; same shape as `x`."""
    x = mx.minimum(mx.maximum(x, -_BOUND), _BOUND)
    square = x * x
    numerator, denominator = _NUMERATOR[-1], _DENOMINATOR[-1]
    for coefficient in _NUMERATOR[-2::-1]:
        numerator = numerator * square + coefficient
    for coefficient in _DENOMINATOR[-2::-1]:
        denominator = denominator * square + coefficient
    return x * numerator / denominator


def rational_sigmoid(x: mx.array) -> mx.array:
    """Logistic function through `rational_tanh`."""
    return 0.5 * rational_tanh(0.5 * x) + 0.5


def _gates(
    z: mx.array,
    c: mx.array,
    peepholes: tuple[mx.array, mx.array, mx.array] | None,
    sigmoid: Callable[[mx.array], mx.array],
    tanh: Callable[[mx.array], mx.array],
) -> tuple[mx.array, mx.array]:
    i, f, g, o = mx.split(z, 4, axis=-1)
    if peepholes is None:
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        return sigmoid(o) * tanh(c), c
    Wci, Wcf, Wco = peepholes
    c = sigmoid(f + Wcf * c) * c + sigmoid(i + Wci * c) * tanh(g)
    return sigmoid(o + Wco * c) * tanh(c), c


def reference_gates(
    z: mx.array, c: mx.array, peepholes: tuple[mx.array, mx.array, mx.array] | None = None
) -> tuple[mx.array, mx.array]:
    """The gates as the equations state them, with MLX's own functions. Arguments as in `gates`."""
    return _gates(z, c, peepholes, mx.sigmoid, mx.tanh)


@mx.compile
def _cpu_gates(z: mx.array, c: mx.array) -> tuple[mx.array, mx.array]:
    return _gates(z, c, None, rational_sigmoid, rational_tanh)


@mx.compile
def _cpu_peephole_gates(
    z: mx.array, c: mx.array, Wci: mx.array, Wcf: mx.array, Wco: mx.array
) -> tuple[mx.array, mx.array]:
    return _gates(z, c, (Wci, Wcf, Wco), rational_sigmoid, rational_tanh)


def gates(
    z: mx.array, c: mx.array, peepholes: tuple[mx.array, mx.array, mx.array] | None = None
) -> tuple[mx.array, mx.array]:
    r"""From pre-activations and the cell state to the next hidden and cell states.

        i = sigmoid(z_i + W_ci o c)
        f = sigmoid(z_f + W_cf o c)
        c' = f o c + i o tanh(z_g)
        o = sigmoid(z_o + W_co o c')
        h' = o o tanh(c')

    Args:
        z: Pre-activations (..., H, W, 4O), the gates in the order i, f, g, o.
        c: Cell state (..., H, W, O).
        peepholes: `W_ci, W_cf, W_co`, each (O,) or (H, W, O), or None for none.

    Returns:
        `h'` and `c'`, each (..., H, W, O).
    """
    if mx.default_device() != mx.Device(mx.cpu):
        return reference_gates(z, c, peepholes)
    return _cpu_gates(z, c) if peepholes is None else _cpu_peephole_gates(z, c, *peepholes)
