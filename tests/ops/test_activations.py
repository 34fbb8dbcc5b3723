"""The activations that are written out, against those of MLX, which compiles them."""

from __future__ import annotations

from convlstm.ops.activations import leaky_relu, relu, silu

import mlx.core as mx
import mlx.nn as nn
import numpy as np


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
