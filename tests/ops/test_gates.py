"""The gates and their hyperbolic tangent against float64 and their plain reference."""

from __future__ import annotations

from convlstm.ops.gates import lstm_gates, rational_tanh, reference_gates
from tests.support.reference import close, normal

import mlx.core as mx
import numpy as np
import pytest


@pytest.mark.parametrize("compiled", [False, True])
def test_rational_tanh(compiled):
    function = mx.compile(rational_tanh) if compiled else rational_tanh
    x = np.linspace(-20, 20, 400_001, dtype=np.float32)
    error = np.abs(np.array(function(mx.array(x)), np.float64) - np.tanh(x.astype(np.float64)))
    assert error.max() < 5e-7
    small = np.array([1e-8, -1e-20, 0, 1e-4], np.float32)
    np.testing.assert_allclose(function(mx.array(small)), small, rtol=1e-6, atol=0)
    ends = np.array(function(mx.array([np.inf, -np.inf, 1e30, -1e30])))
    np.testing.assert_allclose(ends, [1, -1, 1, -1], rtol=0, atol=5e-7)


@pytest.mark.parametrize("compiled", [False, True])
def test_rational_tanh_is_a_function_of_each_value(compiled):
    function = mx.compile(rational_tanh) if compiled else rational_tanh
    # Lengths that fill vector registers, and others.
    for shape in ((1,), (7,), (3, 5), (33, 2, 5)):
        x = mx.random.normal(shape, key=mx.random.key(0))
        close(function(x), np.tanh(np.array(x, np.float64)), 1e-6)


@pytest.mark.parametrize("compiled", [False, True])
def test_nan_stays_nan_in_rational_tanh(compiled):
    function = mx.compile(rational_tanh) if compiled else rational_tanh
    x = np.zeros(37, np.float32)
    x[[0, 11, 36]] = np.nan
    assert np.array_equal(np.isnan(np.array(function(mx.array(x)))), np.isnan(x))


@pytest.mark.parametrize("gate", range(4))
def test_nan_in_any_gate_reaches_the_hidden_state(gate, rng):
    z, c = np.array(normal(rng, (2, 3, 4, 8))), normal(rng, (2, 3, 4, 2))
    z[1, 2, 3, 2 * gate] = np.nan
    for function in (lstm_gates, reference_gates):
        h, after = function(mx.array(z), c)
        lost = np.zeros((2, 3, 4, 2), bool)
        lost[1, 2, 3, 0] = True
        assert np.array_equal(np.isnan(np.array(h)), lost)
        assert np.array_equal(np.isnan(np.array(after)), lost if gate < 3 else np.zeros_like(lost))


@pytest.mark.parametrize("peepholes", ["none", "channel", "place"])
def test_gates_equal_their_reference(peepholes, rng):
    shape = {"none": None, "channel": (3,), "place": (5, 7, 3)}[peepholes]
    z, c = normal(rng, (2, 5, 7, 12), 3), normal(rng, (2, 5, 7, 3), 3)
    W = [] if shape is None else [normal(rng, shape) for _ in range(3)]
    weights = [normal(rng, c.shape) for _ in "hc"]

    def total(function, z, c, *W):
        return sum((w * a).sum() for w, a in zip(weights, function(z, c, tuple(W) or None), strict=True))

    for actual, expected in zip(
        lstm_gates(z, c, tuple(W) or None), reference_gates(z, c, tuple(W) or None), strict=True
    ):
        close(actual, expected, 2e-6)
    numbers = tuple(range(2 + len(W)))
    gradients, plain = (
        mx.grad(lambda *a, f=f: total(f, *a), argnums=numbers)(z, c, *W) for f in (lstm_gates, reference_gates)
    )
    for a, b in zip(gradients, plain, strict=True):
        close(a, b, 5e-6)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_gates_in_half_precision_are_the_reference_s(dtype, rng):
    z, c = normal(rng, (1, 2, 2, 8)).astype(dtype), normal(rng, (1, 2, 2, 2)).astype(dtype)
    for actual, expected in zip(lstm_gates(z, c), reference_gates(z, c), strict=True):
        assert actual.dtype == dtype
        assert mx.array_equal(actual, expected)
