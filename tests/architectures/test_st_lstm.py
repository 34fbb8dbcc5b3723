"""The spatiotemporal LSTM cell: by hand, and its kernels against their plain reference."""

from __future__ import annotations

import re

from convlstm.architectures.st_lstm import GridLayerNorm, STLSTMCell
from convlstm.ops import st_lstm
from tests.support.reference import close, doubles, normal, randomise, sigmoid

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten


def test_one_pixel_by_hand():
    cell = STLSTMCell(1, 1, 1, forget_bias=0.5)
    values = {
        "Wx": [0.5, -0.3, 0.8, 0.2, 0.6, -0.7, 0.4],
        "Wh": [0.1, 0.9, -0.2, 0.3],
        "Wm": [-0.4, 0.25, 0.35],
        "Wo": [0.15, -0.65],
        "W1": [1.1, 0.45],
    }
    for name, weights in values.items():
        cell[name] = mx.array(weights).reshape(cell[name].shape)
    x, h, c, m = 0.7, -0.2, 0.4, -0.9
    wx, wh, wm, wo, w1 = (np.array(values[name]) for name in ("Wx", "Wh", "Wm", "Wo", "W1"))
    i, f, g = sigmoid(wx[0] * x + wh[0] * h), sigmoid(wx[1] * x + wh[1] * h + 0.5), np.tanh(wx[2] * x + wh[2] * h)
    new_c = f * c + i * g
    i_, f_, g_ = sigmoid(wx[3] * x + wm[0] * m), sigmoid(wx[4] * x + wm[1] * m + 0.5), np.tanh(wx[5] * x + wm[2] * m)
    new_m = f_ * m + i_ * g_
    o = sigmoid(wx[6] * x + wh[3] * h + wo[0] * new_c + wo[1] * new_m)
    new_h = o * np.tanh(w1[0] * new_c + w1[1] * new_m)
    state = tuple(mx.array(v).reshape(1, 1, 1, 1) for v in (h, c, m))
    after, products, _ = cell.step(mx.full((1, 1, 1, 1), x), state, cell.prepare(), products=True)
    np.testing.assert_allclose(
        [a.item() for a in (*after, *products)], [new_h, new_c, new_m, i * g, i_ * g_], rtol=1e-5
    )


def test_grid_layer_norm_is_of_the_whole_frame(rng):
    norm, x = randomise(GridLayerNorm((3, 4), 5), rng), normal(rng, (2, 3, 4, 5), 3)
    a = np.array(x, np.float64)
    expected = (a - a.mean((1, 2, 3), keepdims=True)) / np.sqrt(a.var((1, 2, 3), keepdims=True) + 1e-5)
    weight, bias = doubles((norm.weight, norm.bias))
    close(norm(x), expected * weight + bias, 1e-5)
    close(GridLayerNorm((3, 4), 5)(x), expected, 1e-5)
    small = GridLayerNorm((3, 4), 5, eps=1e3)(x)
    close(small, (a - a.mean((1, 2, 3), keepdims=True)) / np.sqrt(a.var((1, 2, 3), keepdims=True) + 1e3), 1e-5)


FORMS = {
    "kernels": {},
    "native": {"algorithm": "native"},
    "wide": {"kernel_size": (3, 7)},
    "normed": {"norm_grid": (5, 6)},
}


@pytest.mark.parametrize("form", FORMS)
def test_no_state_is_zeros_and_a_batch_equals_its_samples(form, rng):
    cell = randomise(STLSTMCell(3, 4, **{"kernel_size": 3, **FORMS[form]}), rng)
    x, state = normal(rng, (3, 5, 6, 3)), tuple(normal(rng, (3, 5, 6, 4)) for _ in range(3))
    for a, b in zip(cell(x), cell(x, cell.initial_state(3, 5, 6)), strict=True):
        assert mx.array_equal(a, b)
    whole = cell(x, state)
    for n in range(3):
        for a, b in zip(cell(x[n : n + 1], tuple(s[n : n + 1] for s in state)), whole, strict=True):
            close(a, b[n : n + 1], 2e-6)


@pytest.mark.parametrize("options", [{"forget_bias": 3.0}, {"kernel_size": 5}, {"norm_grid": (5, 6)}])
def test_options_change_the_step(options, rng):
    plain = randomise(STLSTMCell(3, 4, 3), rng)
    cell = randomise(STLSTMCell(3, 4, **{"kernel_size": 3, **options}), np.random.default_rng(0))
    x, state = normal(rng, (1, 5, 6, 3)), tuple(normal(rng, (1, 5, 6, 4)) for _ in range(3))
    assert mx.abs(cell(x, state)[1] - plain(x, state)[1]).max().item() > 1e-3


def test_shapes_and_start_of_the_parameters():
    cell = STLSTMCell(16, 24, (3, 5), norm_grid=(8, 9))
    shapes = {name: a.shape for name, a in tree_flatten(cell.parameters())}
    expected = {"Wx": (168, 3, 5, 16), "Wh": (96, 3, 5, 24), "Wm": (72, 3, 5, 24), "Wo": (24, 3, 5, 48)}
    expected["W1"] = (24, 1, 1, 48)
    for name, channels in (("x", 168), ("h", 96), ("m", 72), ("o", 24)):
        expected |= {f"norm_{name}.{part}": (8, 9, channels) for part in ("weight", "bias")}
        bound = cell[f"W{name}"][0].size ** -0.5  # as in PyTorch
        assert 0.97 * bound < mx.abs(cell[f"W{name}"]).max().item() <= bound * (1 + 1e-6)
    assert shapes == expected
    assert "kernel_size=(3, 5), norm_grid=(8, 9), forget_bias=1.0" in repr(cell)


def drawn(rng, N, H, W, C, O, k):
    """Returns x, h, c, m and the four kernels of a step."""
    states = [normal(rng, (N, H, W, channels)) for channels in (C, O, O, O)]
    shapes = [(7 * O, C), (4 * O, O), (3 * O, O), (O, 2 * O)]
    return [*states, *(normal(rng, (o, k, k, i), (k * k * i) ** -0.5) for o, i in shapes)]


def assert_equals(given, function, expected, cotangents, tolerance=4e-5):
    values, gradients = mx.vjp(function, given, cotangents)
    plain, native = mx.vjp(expected, given, cotangents)
    for a, b in zip((*values, *gradients), (*plain, *native), strict=True):
        close(a, b, tolerance)


# Whole tiles of 4x4, ragged tiles, less than a tile; channels of less than a vector, several vectors, a part of one.
SIZES = [(2, 8, 12, 3, 4), (1, 7, 9, 17, 33), (3, 2, 3, 16, 8), (1, 1, 6, 1, 1), (5, 4, 5, 40, 24)]


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("k", [3, 5])
@pytest.mark.parametrize("size", SIZES)
def test_a_step_equals_its_reference(size, k, rng):
    given = drawn(rng, *size, k)
    cotangents = [normal(rng, given[1].shape) for _ in range(5)]

    def step(x, h, c, m, *W):
        options = {"kernel_size": k, "forget_bias": 0.3, "products": True}
        c, m, zo, products, _ = st_lstm.step(x, h, c, m, st_lstm.prepare(*W), **options)
        return c, m, zo, *products

    def plain(x, h, c, m, *W):
        return st_lstm.step(x, h, c, m, st_lstm.prepare(*W, trains=False), kernel_size=k)[:3]

    assert_equals(given, step, lambda *a: st_lstm.reference_step(*a, forget_bias=0.3), cotangents)
    assert_equals(given, plain, lambda *a: st_lstm.reference_step(*a)[:3], cotangents[:3])


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(("compiles", "trains"), [(False, True), (True, True), (False, False)])
def test_the_gradient_is_summed_over_the_steps(compiles, trains, rng):
    given = drawn(rng, 2, 5, 6, 4, 4, 3)
    cotangents = [normal(rng, given[1].shape) for _ in range(3)]

    def walk(x, h, c, m, *W):
        filters = st_lstm.prepare(*W, trains=trains)
        for _ in range(3):
            c, m, h, _, filters = st_lstm.step(x, h, c, m, filters, kernel_size=3)
        return h, c, m

    def plain(x, h, c, m, *W):
        for _ in range(3):
            c, m, h = st_lstm.reference_step(x, h, c, m, *W)[:3]
        return h, c, m

    if compiles:
        compiled = mx.compile(lambda given, cotangents: mx.vjp(walk, given, cotangents))
        for _ in range(2):
            values, gradients = compiled(given, cotangents)
        expected = mx.vjp(plain, given, cotangents)
        for a, b in zip((*values, *gradients), (*expected[0], *expected[1]), strict=True):
            close(a, b, 5e-5)
    else:
        assert_equals(given, walk, plain, cotangents, 5e-5)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("shape", [(1,), (3, 5), (2, 33, 7, 9), (70_000,)])
def test_gated_equals_its_reference(shape, rng):
    z, a, dh = (normal(rng, shape, 3) for _ in range(3))
    expected = mx.vjp(lambda z, a: mx.sigmoid(z) * mx.tanh(a), [z, a], [dh])
    for kernels in (False, True):
        values, gradients = mx.vjp(lambda z, a, k=kernels: st_lstm.gated(z, a, kernels=k), [z, a], [dh])
        for x, y in zip((*values, *gradients), (*expected[0], *expected[1]), strict=True):
            close(x, y, 2e-6)


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
def test_gates_in_either_precision(dtype, rng):
    given = [normal(rng, (2, 3, 4, n * 5)) for n in (4, 3, 1, 1)]
    expected = st_lstm.gates.__wrapped__(*given, 0.7)
    for a, b in zip(st_lstm.gates(*(x.astype(dtype) for x in given), mx.array(0.7, dtype)), expected, strict=True):
        assert a.dtype == dtype
        close(a.astype(mx.float32), b, 2e-6 if dtype == mx.float32 else 0.03)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_channels": 0}, "[STLSTMCell] 'in_channels' must be a whole number of at least 1 but got 0."),
        ({"out_channels": 2.5}, "[STLSTMCell] 'out_channels' must be a whole number of at least 1 but got 2.5."),
        ({"kernel_size": 4}, "[STLSTMCell] 'kernel_size' must be odd but got 4"),
        (
            {"norm_grid": (0, 4)},
            "[STLSTMCell] 'norm_grid' must be an int or a pair of ints, at least 1, but got (0, 4).",
        ),
        ({"forget_bias": float("nan")}, "[STLSTMCell] 'forget_bias' must be a finite number but got nan."),
        ({"algorithm": "fft"}, "[STLSTMCell] 'algorithm' must be one of auto, native, winograd but got 'fft'."),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        STLSTMCell(**{"in_channels": 3, "out_channels": 4, **arguments})


def test_bad_inputs():
    cell, x = STLSTMCell(3, 4, 3), mx.zeros((1, 5, 6, 3))
    message = "[STLSTMCell] expected an input of shape NHWC with C=3 channels but got shape (1, 5, 6, 2)."
    with pytest.raises(ValueError, match=re.escape(message)):
        cell(x[..., :2])
    h = mx.zeros((1, 5, 6, 4))
    message = (
        "[STLSTMCell] 'state' must be (h, c, m), each of shape (1, 5, 6, 4), but got shapes [(1, 5, 6, 4), "
        "(1, 5, 6, 4), (1, 5, 5, 4)]."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        cell(x, (h, h, h[:, :, :5]))
    message = (
        "[STLSTMCell] the normalisation was made for a grid of (6, 5) but this input's is (5, 6). Leave 'norm_grid' "
        "out for a cell that works on any grid."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        STLSTMCell(3, 4, 3, norm_grid=(6, 5))(x)
    with pytest.raises(ValueError, match=re.escape("[STLSTMCell] algorithm='winograd' needs a kernel of 3x3 or 5x5")):
        STLSTMCell(3, 4, 7, algorithm="winograd")(x)


@pytest.mark.usefixtures("kernels")
def test_the_kernels_get_the_arrays_that_they_read(rng):
    x, h, c, m, *W = drawn(rng, 1, 5, 6, 3, 4, 3)
    filters = st_lstm.prepare(*W)
    message = "[st_lstm.step] 'filters' were prepared from kernels of another size or other channels."
    for given, size in (((x[..., :2], h, c, m), 3), ((x, h, c, m), 5), ((x, *(mx.zeros((1, 5, 6, 40)),) * 3), 3)):
        with pytest.raises(ValueError, match=re.escape(message)):
            st_lstm.step(*given, filters, kernel_size=size)
    for name, given in (("x", (x[:, :4], h, c, m)), ("c", (x, h, c[..., :3], m)), ("m", (x, h, c, m[:, :3]))):
        with pytest.raises(ValueError, match=re.escape(f"[st_lstm.step] '{name}' must have shape (1, 5, 6,")):
            st_lstm.step(*given, filters, kernel_size=3)
