"""Depthwise convolutions, with and without the CPU's kernel, against MLX's and against a slow one."""

from __future__ import annotations

from convlstm.ops.depthwise import depthwise_conv2d
from tests.support.reference import close, normal

import mlx.core as mx
import numpy as np
import pytest

# Whole blocks of channels and columns, ragged ones, one channel; kernels wider than the grid.
SHAPES = [((2, 6, 8, 16), (5, 5), 1), ((1, 5, 7, 21), (3, 5), 1), ((3, 9, 6, 40), (7, 7), 3), ((2, 1, 4, 1), (3, 3), 2)]


def slow(x, w, dilation):
    """Returns the convolution by its equation, in float64."""
    (_, H, W, _), (kh, kw, _) = x.shape, w.shape
    down, right = dilation * (kh // 2), dilation * (kw // 2)
    padded = np.pad(np.array(x, np.float64), [(0, 0), (down, down), (right, right), (0, 0)])
    y = np.zeros(x.shape)
    for a, b in np.ndindex(kh, kw):
        y += padded[:, a * dilation : a * dilation + H, b * dilation : b * dilation + W] * np.array(w[a, b], np.float64)
    return y


@pytest.mark.parametrize(("shape", "kernel", "dilation"), SHAPES)
@pytest.mark.parametrize("algorithm", ["auto", "native"])
def test_each_channel_is_convolved_on_its_own(shape, kernel, dilation, algorithm, rng):
    x, w = normal(rng, shape), normal(rng, (*kernel, shape[-1]))
    close(depthwise_conv2d(x, w, dilation, algorithm), slow(x, w, dilation), 1e-5)


@pytest.mark.parametrize(("shape", "kernel", "dilation"), SHAPES)
def test_gradients_of_the_kernel_of_the_cpu_are_those_of_mlx(shape, kernel, dilation, kernels, rng):
    x, w, dy = normal(rng, shape), normal(rng, (*kernel, shape[-1])), normal(rng, shape)
    values, gradients = mx.vjp(lambda x, w: depthwise_conv2d(x, w, dilation), [x, w], [dy])
    plain, native = mx.vjp(lambda x, w: depthwise_conv2d(x, w, dilation, "native"), [x, w], [dy])
    for actual, expected in zip((*values, *gradients), (*plain, *native), strict=True):
        close(actual, expected, 2e-5)


def test_other_types_are_convolved_by_mlx(rng):
    x, w = normal(rng, (1, 4, 4, 3)), normal(rng, (3, 3, 3))
    y = depthwise_conv2d(x.astype(mx.bfloat16), w.astype(mx.bfloat16))
    assert y.dtype == mx.bfloat16
    close(y.astype(mx.float32), slow(x, w, 1), 3e-2)


@pytest.mark.parametrize(
    ("shape", "kernel", "text"),
    [
        ((1, 4, 4, 3), (3, 3, 2), r"with the same C but got shapes \(1, 4, 4, 3\) and \(3, 3, 2\)"),
        ((4, 4, 3), (3, 3, 3), "expected an input"),
        ((1, 4, 4, 3), (2, 3, 3), "must have odd sizes but is 2x3"),
    ],
)
def test_shapes_that_do_not_fit(shape, kernel, text):
    with pytest.raises(ValueError, match=text):
        depthwise_conv2d(mx.zeros(shape), mx.zeros(kernel))
