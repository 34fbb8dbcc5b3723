"""Normalisation and activations, with and without the CPU's kernels, against MLX's and against NumPy in float64."""

from __future__ import annotations

import math

from convlstm.ops.activations import gated_halves, gelu
from convlstm.ops.norms import ACTIVATIONS, BatchNorm, batch_norm, group_norm
from tests.support.reference import close, normal

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

erf = np.vectorize(math.erf)
# Whole vectors and ragged ones, groups of one channel, one group.
GROUPED = [((2, 8, 9, 64), 2), ((3, 5, 7, 18), 3), ((1, 4, 4, 5), 5), ((2, 16, 16, 40), 1)]


def both(function, inputs, dy):
    """Returns values and gradients of function(..., algorithm), with the kernels and without."""
    results = []
    for algorithm in ("auto", "native"):
        values, gradients = mx.vjp(lambda *a, algorithm=algorithm: function(*a, algorithm=algorithm), inputs, [dy])
        results.append([*values, *gradients])
    return zip(*results, strict=True)


def test_gelu_is_the_exact_one(rng):
    x = mx.array(np.concatenate([np.linspace(-9, 9, 4001), [0.0, 1e-8, -1e-30, 60, -60]]).astype(np.float32))
    z, dy = np.array(x, np.float64), normal(rng, x.shape)
    share = (1 + erf(z / 2**0.5)) / 2
    for algorithm in ("auto", "native"):
        (y,), (dx,) = mx.vjp(lambda x, a=algorithm: gelu(x, a), [x], [dy])
        close(y, z * share, 1e-7)
        slope = share + z * np.exp(-z * z / 2) / (2 * np.pi) ** 0.5
        close(dx, np.array(dy, np.float64) * slope, 1e-6)


@pytest.mark.parametrize("shape", [(2, 3, 5, 8), (4, 42), (3,), ()])
def test_gelu_takes_any_shape(shape, rng):
    x = normal(rng, shape)
    assert gelu(x).shape == shape
    close(gelu(x), nn.gelu(x), 1e-6)


def test_gelu_keeps_nan():
    assert np.isnan(np.array(gelu(mx.array([float("nan")] * 9)))).all()


@pytest.mark.parametrize("shape", [(2, 3, 4, 32), (5, 14), (1, 2), (3000, 6)])
def test_half_of_the_channels_is_a_gate_of_the_other(shape, kernels, rng):
    x, dy = normal(rng, shape, 3), normal(rng, (*shape[:-1], shape[-1] // 2))
    for actual, expected in both(gated_halves, [x], dy):
        close(actual, expected, 2e-6)
    f, g = np.split(np.array(x, np.float64), 2, axis=-1)
    close(gated_halves(x), f / (1 + np.exp(-g)), 2e-6)


def test_an_odd_number_of_channels_has_no_halves():
    with pytest.raises(
        ValueError, match=r"\[gated_halves\] expected an even number of channels but got shape \(2, 3\)"
    ):
        gated_halves(mx.zeros((2, 3)))


def parameters(rng, C):
    return [normal(rng, (C,)) for _ in range(3)]


@pytest.mark.parametrize(("shape", "groups"), GROUPED)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("algorithm", ["auto", "native"])
def test_group_norm_is_its_equation(shape, groups, activation, algorithm, rng):
    N, _, _, C = shape
    x, (bias, weight, shift) = normal(rng, shape) + 3, parameters(rng, C)
    z = (np.array(x, np.float64) + np.array(bias)).reshape(N, -1, groups, C // groups)
    z = (z - z.mean((1, 3), keepdims=True)) / np.sqrt(z.var((1, 3), keepdims=True) + 1e-5)
    z = z.reshape(shape) * np.array(weight) + np.array(shift)
    z = {"none": z, "silu": z / (1 + np.exp(-z)), "leaky_relu": np.where(z > 0, z, 0.2 * z)}[activation]
    close(group_norm(x, bias, weight, shift, groups, activation, algorithm=algorithm), z, 1e-5)


# The bias of a group of one channel has a gradient of 0, of which only rounding errors remain.
@pytest.mark.parametrize(("shape", "groups"), [g for g in GROUPED if g[0][-1] != g[1]])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_group_norm_has_the_gradients_of_mlx(shape, groups, activation, kernels, rng):
    x, dy = normal(rng, shape) + 1, normal(rng, shape)

    def norm(*a, algorithm):
        return group_norm(*a, groups, activation, epsilon=1e-3, algorithm=algorithm)

    for actual, expected in both(norm, [x, *parameters(rng, shape[-1])], dy):
        close(actual, expected, 1e-4)


def test_a_gradient_that_is_used_twice_is_not_written_over(kernels, rng):
    x, (bias, weight, shift) = normal(rng, (1, 4, 4, 8)), parameters(rng, 8)
    dy = normal(rng, (1, 4, 4, 8))
    _, (dx, other) = mx.vjp(lambda x, z: group_norm(x, bias, weight, shift, 2) + z, [x, x], [dy])
    mx.eval(dx, other)
    assert mx.array_equal(other, dy)
    assert not mx.array_equal(dx, dy)


def test_epsilon_is_added_to_the_variance(rng):
    x, one, zero = normal(rng, (2, 4, 4, 6)), mx.ones(6), mx.zeros(6)
    for algorithm in ("auto", "native"):
        y = group_norm(x, zero, one, zero, 1, epsilon=3.0, algorithm=algorithm)
        z = np.array(x, np.float64)
        mean, variance = z.mean((1, 2, 3), keepdims=True), z.var((1, 2, 3), keepdims=True)
        close(y, (z - mean) / np.sqrt(variance + 3), 1e-5)
        y, mean, variance = batch_norm(x, one, zero, epsilon=3.0, algorithm=algorithm)
        close(y, (z - z.mean((0, 1, 2))) / np.sqrt(z.var((0, 1, 2)) + 3), 1e-5)
        close(mean, z.mean((0, 1, 2)), 1e-5)
        close(variance, z.var((0, 1, 2)), 1e-5)


@pytest.mark.parametrize("shape", [(2, 4, 5, 32), (3, 2, 2, 37), (2, 10, 9, 3)])
def test_batch_norm_has_the_values_and_gradients_of_mlx(shape, kernels, rng):
    x, (weight, shift, _), dy = normal(rng, shape) + 2, parameters(rng, shape[-1]), normal(rng, shape)
    for actual, expected in both(lambda *a, algorithm: batch_norm(*a, algorithm=algorithm)[0], [x, weight, shift], dy):
        close(actual, expected, 1e-5)


def test_batch_norm_has_the_running_statistics_of_mlx(rng):
    ours, plain = BatchNorm(6), nn.BatchNorm(6)
    assert set(ours.trainable_parameters()) == {"weight", "bias"}
    for _ in range(2):
        x = normal(rng, (2, 3, 4, 6), 2) + 1
        close(ours(x), plain(x), 1e-5)
    close(ours.running_mean, plain.running_mean, 1e-5)
    close(ours.running_var, plain.running_var, 1e-5)
    ours.eval(), plain.eval()
    close(ours(x), plain(x), 1e-5)
    ours.train()
    with pytest.raises(ValueError, match="more than one value per channel"):
        ours(mx.zeros((1, 1, 1, 6)))


def test_other_types_are_those_of_mlx(rng):
    x, arrays = normal(rng, (1, 4, 4, 4)).astype(mx.bfloat16), [a.astype(mx.bfloat16) for a in parameters(rng, 4)]
    assert gelu(x).dtype == gated_halves(x).dtype == group_norm(x, *arrays, 2).dtype == mx.bfloat16
    assert batch_norm(x, *arrays[:2])[0].dtype == mx.bfloat16


@pytest.mark.parametrize(
    ("groups", "activation", "text"),
    [
        (3, "silu", "'groups' must divide the 4 channels but got 3"),
        (0, "silu", "'groups' must divide the 4 channels but got 0"),
        (2, "relu", "'activation' must be one of none, silu, leaky_relu but got 'relu'"),
    ],
)
def test_arguments_that_do_not_fit(groups, activation, text):
    x, zeros = mx.zeros((1, 2, 2, 4)), mx.zeros(4)
    with pytest.raises(ValueError, match=text):
        group_norm(x, zeros, zeros, zeros, groups, activation)
