"""Convolutions with strides, with few channels and in groups, against MLX's own."""

from __future__ import annotations

from convlstm.ops.convolution import conv2d, grouped_conv2d
from convlstm.ops.cpu.library import library
from tests.support.reference import close, normal

import mlx.core as mx
import pytest


@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "padding"),
    [
        ((2, 8, 12, 16), (3, 3), (2, 2), (1, 1)),
        ((1, 9, 7, 11), (3, 5), (2, 3), (0, 2)),
        ((2, 6, 6, 8), (4, 4), (2, 2), (1, 1)),
        ((1, 4, 5, 9), (1, 1), (3, 2), (0, 0)),
        ((1, 3, 2, 8), (7, 7), (1, 2), (3, 3)),
        ((2, 5, 6, 1), (3, 3), (1, 1), (1, 1)),
        ((1, 8, 8, 3), (5, 5), (1, 1), (2, 2)),
        ((1, 6, 6, 1), (3, 3), (2, 2), (1, 1)),
    ],
)
def test_convolutions_with_strides_or_few_channels_are_those_of_mlx(shape, kernel, stride, padding, kernels, rng):
    x, w = normal(rng, shape), normal(rng, (6, *kernel, shape[-1]))
    close(conv2d(x, w, stride, padding), mx.conv2d(x, w, stride, padding), 1e-5)
    dy = normal(rng, mx.conv2d(x, w, stride, padding).shape)
    _, ours = mx.vjp(lambda x, w: conv2d(x, w, stride, padding), [x, w], [dy])
    _, native = mx.vjp(lambda x, w: slow_convolution(x, w, stride, padding), [x, w], [dy])
    for actual, expected in zip(ours, native, strict=True):
        close(actual, expected, 1e-5)


def slow_convolution(x, w, stride, padding):
    """Returns the convolution as a sum over the taps of the kernel."""
    x = mx.pad(x, [(0, 0), (padding[0],) * 2, (padding[1],) * 2, (0, 0)])
    rows, columns = ((n - k) // s + 1 for n, k, s in zip(x.shape[1:3], w.shape[1:3], stride, strict=True))
    return sum(
        x[:, a : a + stride[0] * (rows - 1) + 1 : stride[0], b : b + stride[1] * (columns - 1) + 1 : stride[1]]
        @ w[:, a, b].T
        for a in range(w.shape[1])
        for b in range(w.shape[2])
    )


@pytest.mark.parametrize(("channels", "groups"), [(16, 2), (15, 5), (8, 1), (72, 2)])
@pytest.mark.parametrize("kernel", [(3, 3), (7, 7), (1, 9)])
def test_convolutions_in_groups_are_those_of_each_group(channels, groups, kernel, kernels, rng):
    x, w = normal(rng, (2, 6, 7, channels)), normal(rng, (2 * channels, *kernel, channels // groups))
    dy = normal(rng, (2, 6, 7, 2 * channels))
    results = [mx.vjp(lambda x, w, a=a: grouped_conv2d(x, w, groups, a), [x, w], [dy]) for a in ("auto", "native")]
    for actual, expected in zip(*([*values, *gradients] for values, gradients in results), strict=True):
        close(actual, expected, 2e-5)
    whole = mx.conv2d(x, w, padding=(kernel[0] // 2, kernel[1] // 2), groups=groups)
    close(results[0][0][0], whole, 2e-5)


@pytest.mark.parametrize("side", [3, 5, 7, 9, 11, 13])
@pytest.mark.parametrize(
    ("shape", "inputs", "outputs"),
    [((2, 16, 16), 8, 8), ((3, 13, 18), 12, 40), ((1, 9, 30), 35, 9)],
)
def test_large_groups_by_winograd_are_those_of_each_group(side, shape, inputs, outputs, kernels, rng):
    groups = 2
    x, w = normal(rng, (*shape, groups * inputs)), normal(rng, (groups * outputs, side, side, inputs))
    dy = normal(rng, (*shape, groups * outputs))
    calls = [lambda x, w: grouped_conv2d(x, w, groups), lambda x, w: mx.conv2d(x, w, padding=side // 2, groups=groups)]
    ours, theirs = ([*values, *gradients] for values, gradients in (mx.vjp(call, [x, w], [dy]) for call in calls))
    for actual, expected in zip(ours, theirs, strict=True):
        close(actual, expected, 5e-5)


def test_groups_of_large_kernels_need_fewer_multiplications(kernels, rng):
    x, w = normal(rng, (2, 16, 16, 64)), normal(rng, (64, 11, 11, 32))
    before = library().multiplications
    mx.eval(grouped_conv2d(x, w, 2))
    # 9 blocks of 4 x 4 taps: 64 products for 16 pixels each, instead of 121 for each pixel.
    assert library().multiplications - before == 9 * 64 // 16 * x.size * 32


def test_large_images_in_groups_are_convolved_in_strips(kernels, rng):
    for shape in ((2, 90, 84, 16), (9, 32, 28, 16)):
        x, w = normal(rng, shape), normal(rng, (16, 5, 5, 8))
        dy = normal(rng, shape)
        results = [mx.vjp(lambda x, w, a=a: grouped_conv2d(x, w, 2, a), [x, w], [dy]) for a in ("auto", "native")]
        for actual, expected in zip(*([*values, *gradients] for values, gradients in results), strict=True):
            close(actual, expected, 1e-4)


@pytest.mark.parametrize(
    ("shape", "kernel", "groups"),
    [((1, 4, 4, 6), (6, 3, 3, 2), 2), ((1, 4, 4, 6), (5, 3, 3, 3), 2), ((1, 4, 4, 6), (6, 4, 3, 3), 2)],
)
def test_groups_that_do_not_fit(shape, kernel, groups):
    with pytest.raises(ValueError, match=r"\[grouped_conv2d\] expected an input .* a multiple of 2, but got shapes"):
        grouped_conv2d(mx.zeros(shape), mx.zeros(kernel), groups)
