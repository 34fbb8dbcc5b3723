"""The activations that are written out, against those of MLX, which compiles them."""

from __future__ import annotations

from convlstm.ops.activations import leaky_relu, relu, silu, softmax
from tests.support.reference import close, normal

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest


def test_they_are_those_of_mlx():
    x = mx.linspace(-4, 4, 201)
    np.testing.assert_array_equal(relu(x), nn.relu(x))
    np.testing.assert_allclose(leaky_relu(x, 0.3), nn.leaky_relu(x, 0.3), rtol=1e-6)
    np.testing.assert_allclose(silu(x), nn.silu(x), rtol=1e-5, atol=1e-6)


def test_worked_values():
    x = mx.array([-2.0, 0.0, 3.0])
    np.testing.assert_array_equal(relu(x), [0, 0, 3])
    np.testing.assert_allclose(leaky_relu(x, 0.25), [-0.5, 0, 3])
    np.testing.assert_allclose(silu(x), [-0.2384058, 0, 2.8577224], rtol=1e-5)


@pytest.mark.parametrize("shape", [(7, 1), (300, 5), (2, 3, 16), (4, 1, 81), (2, 300), (3,)])
def test_softmax_and_its_gradient_are_those_of_mlx(shape, kernels, rng):
    x, dy = 5 * normal(rng, shape), normal(rng, shape)
    (y,), (dx,) = mx.vjp(softmax, [x], [dy])
    (expected,), (gradient,) = mx.vjp(lambda x: mx.softmax(x, axis=-1), [x], [dy])
    close(y, expected, 1e-6)
    np.testing.assert_allclose(np.array(y).sum(axis=-1), 1, rtol=1e-6)
    np.testing.assert_allclose(dx, gradient, rtol=0, atol=1e-6)


def test_softmax_of_extreme_values(kernels):
    x = mx.array([[1e30, -1e30, 0], [-1e30, -1e30, -1e30], [500.0, 499.0, -500.0], [1.0, float("nan"), 0.0]])
    y = np.array(softmax(x))
    np.testing.assert_allclose(y[:2], [[1, 0, 0], [1 / 3] * 3], atol=1e-30)
    np.testing.assert_allclose(y[2], [1 / (1 + np.exp(-1)), 1 - 1 / (1 + np.exp(-1)), 0], rtol=1e-6, atol=1e-30)
    assert np.isnan(y[3]).all()
    np.testing.assert_array_equal(softmax(x, "native"), mx.softmax(x, axis=-1))


def test_softmax_of_nothing():
    assert softmax(mx.zeros((0, 3))).shape == (0, 3)
