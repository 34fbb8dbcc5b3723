"""Convolutions, including those of `convlstm.ops.cpu`, against MLX's and float64; paddings and sizes."""

from __future__ import annotations

import re

from convlstm.ops.algorithm import takes_winograd
from convlstm.ops.convolution import conv2d, output_size, pads, winograd_conv2d
from tests.support import reference
from tests.support.reference import close, doubles, normal

import mlx.core as mx
import numpy as np
import pytest

# Relative to the largest value.
TOLERANCE = 3e-5


def compare(rng, x, w, function, tolerance=TOLERANCE):
    """Asserts that the value and both gradients equal those of MLX's convolution."""
    half = w.shape[1] // 2
    weights = normal(rng, (*x.shape[:3], w.shape[0]))
    y, gradients = mx.vjp(function, [x, w], [weights])
    plain, native = mx.vjp(lambda x, w: mx.conv2d(x, w, padding=half), [x, w], [weights])
    for actual, expected in zip((*y, *gradients), (*plain, *native), strict=True):
        close(actual, expected, tolerance)


# Whole tiles of 4x4, ragged tiles, less than a tile, a single row, a single column.
@pytest.mark.parametrize("grid", [(8, 12), (7, 9), (2, 3), (1, 6), (9, 1)])
@pytest.mark.parametrize("channels", [(1, 1), (3, 17), (17, 3), (40, 9), (8, 40)])
@pytest.mark.parametrize("k", [3, 5])
def test_winograd_equals_mlx(k, channels, grid, kernels, rng):
    C, O = channels
    for N in (1, 5):
        x, w = normal(rng, (N, *grid, C)), normal(rng, (O, k, k, C), (k * k * C) ** -0.5)
        for function in (winograd_conv2d, conv2d):
            compare(rng, x, w, function)


@pytest.mark.parametrize("k", [3, 5])
def test_winograd_of_more_tiles_than_are_transformed_at_a_time(k, kernels, rng):
    x, w = normal(rng, (30, 30, 33, 20)), normal(rng, (24, k, k, 20), 0.05)
    compare(rng, x, w, winograd_conv2d)


@pytest.mark.parametrize("k", [3, 5])
def test_error_of_winograd_against_float64(k, kernels, rng):
    x, w = normal(rng, (2, 18, 15, 32)), normal(rng, (16, k, k, 32))
    close(winograd_conv2d(x, w), reference.convolve(*doubles((x, w))), 2e-5)


def test_winograd_of_arrays_that_are_not_contiguous(kernels, rng):
    x, w = normal(rng, (2, 6, 5, 3)), normal(rng, (3, 3, 3, 4), 0.2)
    compare(rng, x.transpose(0, 2, 1, 3), w.transpose(3, 1, 0, 2)[:, :, ::-1], winograd_conv2d)
    everywhere = mx.broadcast_to(mx.array(2.0), (2, 6, 5, 3))
    gradients = [
        mx.vjp(f, [x], [everywhere])[1][0]
        for f in (lambda x: winograd_conv2d(x, w[..., :3]), lambda x: mx.conv2d(x, w[..., :3], padding=1))
    ]
    close(*gradients, TOLERANCE)


def test_winograd_compiles_and_takes_new_numbers(kernels, rng):
    gradient = mx.grad(lambda x, w: (winograd_conv2d(x, w) ** 2).sum(), argnums=(0, 1))
    compiled = mx.compile(gradient)
    for shape in ((2, 6, 5, 3), (2, 6, 5, 3), (1, 9, 4, 3)):
        x, w = normal(rng, shape), normal(rng, (4, 3, 3, 3), 0.2)
        for a, b in zip(compiled(x, w), gradient(x, w), strict=True):
            close(a, b, 1e-6)


@pytest.mark.parametrize("where", ["x", "w"])
@pytest.mark.parametrize("k", [3, 5])
def test_nan_reaches_the_outputs_and_no_other_sample(k, where, kernels, rng):
    x, w = np.array(normal(rng, (2, 7, 9, 3))), np.array(normal(rng, (17, k, k, 3)))
    clean = winograd_conv2d(mx.array(x), mx.array(w))
    (x if where == "x" else w).reshape(-1)[0] = np.nan
    y = winograd_conv2d(mx.array(x), mx.array(w))
    assert mx.isnan(y[0, 1, 1, 0])
    apart = (1, slice(None)) if where == "x" else (..., slice(1, None))
    assert mx.array_equal(y[apart], clean[apart])


@pytest.mark.parametrize(
    ("kernel_size", "dtype", "options"),
    [
        ((1, 1), mx.float32, {}),
        ((7, 7), mx.float32, {}),
        ((3, 5), mx.float32, {}),
        ((3, 3), mx.float32, {"stride": (2, 2), "padding": (1, 1)}),
        ((3, 3), mx.float32, {"dilation": (2, 2)}),
        ((5, 5), mx.float32, {"padding": "valid"}),
        ((5, 5), mx.float32, {"padding": (1, 1)}),
        ((3, 3), mx.float32, {"padding": (2, 1)}),
        ((3, 3), mx.float16, {}),
        ((3, 3), mx.bfloat16, {}),
        ((3, 3), mx.float32, {"algorithm": "native"}),
        ((5, 5), mx.float32, {"algorithm": "native"}),
    ],
)
def test_other_convolutions_are_mlx_s(kernel_size, dtype, options, rng):
    x, w = normal(rng, (2, 8, 9, 3)).astype(dtype), normal(rng, (4, *kernel_size, 3), 0.2).astype(dtype)
    options = {"stride": (1, 1), "padding": "same", "dilation": (1, 1), **options}
    stride, padding, dilation = options["stride"], options["padding"], options["dilation"]
    (top, bottom), (left, right) = pads((8, 9), kernel_size, stride, padding, dilation)
    assert (top, left) == (bottom, right)
    for algorithm in ("auto", "winograd", "native"):
        y = conv2d(x, w, **{"algorithm": algorithm, **options})
        assert y.dtype == dtype
        assert mx.array_equal(y, mx.conv2d(x, w, stride, (top, left), dilation))
    exact = reference.convolve(*doubles((x.astype(mx.float32), w.astype(mx.float32))), stride, padding, dilation)
    close(y.astype(mx.float32), exact, {mx.float32: 2e-6, mx.float16: 2e-3, mx.bfloat16: 2e-2}[dtype])


def test_more_zeros_on_one_side(rng):
    x, w = normal(rng, (2, 8, 10, 3)), normal(rng, (4, 3, 5, 3))
    close(conv2d(x, w, (2, 2)), reference.convolve(*doubles((x, w)), 2), 1e-6)


def test_types_that_differ_are_promoted(rng):
    x, w = normal(rng, (1, 5, 6, 3)), normal(rng, (4, 3, 3, 3))
    y = conv2d(x.astype(mx.bfloat16), w)
    assert y.dtype == mx.float32
    close(y, mx.conv2d(x, w, padding=1), 0.02)


@pytest.mark.parametrize(
    ("algorithm", "kernel_size", "dtype", "expected"),
    [
        ("auto", (3, 3), mx.float32, True),
        ("auto", (5, 5), mx.float32, True),
        ("auto", (1, 1), mx.float32, False),
        ("auto", (7, 7), mx.float32, False),
        ("auto", (3, 5), mx.float32, False),
        ("auto", (3, 3), mx.float16, False),
        ("auto", (3, 3), mx.bfloat16, False),
        ("native", (3, 3), mx.float32, False),
        ("winograd", (3, 3), mx.float32, True),
        ("winograd", (5, 5), mx.float32, True),
    ],
)
def test_takes_winograd(algorithm, kernel_size, dtype, expected, kernels):
    assert takes_winograd("It", algorithm, kernel_size, dtype) is expected


@pytest.mark.parametrize(
    ("kernel_size", "dtype", "reason"),
    [
        ((7, 7), mx.float32, "a kernel of 3x3 or 5x5 but got 7x7"),
        ((3, 5), mx.float32, "a kernel of 3x3 or 5x5 but got 3x5"),
        ((3, 3), mx.float16, "float32 but got float16"),
        ((5, 5), mx.bfloat16, "float32 but got bfloat16"),
    ],
)
def test_winograd_says_what_it_needs(kernel_size, dtype, reason):
    message = f"[It] algorithm='winograd' needs {reason}. Use algorithm='auto'."
    with pytest.raises(ValueError, match=re.escape(message)):
        takes_winograd("It", "winograd", kernel_size, dtype)


def test_winograd_needs_the_cpu(monkeypatch):
    monkeypatch.setattr("convlstm.ops.algorithm.on_cpu", lambda: False)
    assert takes_winograd("It", "auto", (3, 3), mx.float32) is False
    with pytest.raises(ValueError, match=r"needs the CPU but MLX's device is Device\("):
        takes_winograd("It", "winograd", (3, 3), mx.float32)


@pytest.mark.parametrize(
    ("length", "kernel", "stride", "dilation", "expected"),
    [(4, 3, 2, 1, (0, 1)), (5, 3, 2, 1, (1, 1)), (7, 5, 2, 1, (2, 2)), (8, 5, 3, 1, (1, 2)), (6, 3, 1, 2, (2, 2)),
     (9, 1, 2, 1, (0, 0)), (3, 3, 5, 1, (0, 0))],
)  # fmt: skip
def test_same_pads(length, kernel, stride, dilation, expected):
    rows, columns = pads((length, 1), (kernel, 1), (stride, 1), "same", (dilation, 1))
    assert rows == expected == reference.same_pads(length, kernel, stride, dilation)
    assert columns == (0, 0)


def test_conv2d_defaults_to_a_convolution_that_keeps_the_grid(rng):
    x, w = normal(rng, (2, 5, 6, 3)), normal(rng, (4, 3, 5, 3))
    close(conv2d(x, w), reference.convolve(*doubles((x, w))), 1e-6)


def test_output_size_names_its_owner_and_the_input():
    assert output_size("It", (7, 8), (3, 5), (2, 1), "valid") == (3, 4)
    message = (
        "[It] an input of 4x9 is too small for kernel_size=(3, 3), dilation=(2, 2), padding='valid': no output is left."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        output_size("It", (4, 9), (3, 3), (1, 1), "valid", (2, 2))


def test_channels_must_be_the_kernel_s():
    message = (
        "[conv2d] expected an input (N, H, W, C) and a kernel (O, kh, kw, C) with the same C but got shapes "
        "(1, 4, 4, 2) and (3, 3, 3, 5)."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        conv2d(mx.zeros((1, 4, 4, 2)), mx.zeros((3, 3, 3, 5)))
