"""Operations over columns that go round, against those over a frame that is wrapped widely, and cut."""

from __future__ import annotations

import convlstm  # noqa: F401  before mlx.core
from convlstm.architectures.resample import Resample
from convlstm.ops.circular import circular_conv_transpose2d, go_round, is_circular, over_seam
from convlstm.ops.convolution import conv2d, grouped_conv2d
from convlstm.ops.depthwise import depthwise_conv2d
from convlstm.ops.warp import reference_warp, warp_product
from tests.support.reference import close, normal

import mlx.core as mx
import numpy as np
import pytest

W = 12


def wrapped(x, times=3):
    return mx.concatenate([x] * times, axis=2)


def cut(y, stride=1.0):
    """Returns the middle one of the three frames that `wrapped` has put side by side."""
    width = round(W * stride)
    return y[:, :, width : 2 * width]


def check(run, reference, *arrays, stride=1.0):
    """Checks `run` and its gradients against the reference on the wrapped frame, and its behaviour under rolls."""
    expected = cut(reference(wrapped(arrays[0]), *arrays[1:]), stride)
    y = run(*arrays)
    close(y, expected, 2e-5)
    weight = mx.random.normal(y.shape, key=mx.random.key(3))

    numbers = list(range(len(arrays)))
    mine = mx.grad(lambda *a: (run(*a) * weight).sum(), numbers)(*arrays)
    theirs = mx.grad(lambda x, *a: (cut(reference(wrapped(x), *a), stride) * weight).sum(), numbers)(*arrays)
    for a, b in zip(mine, theirs, strict=True):
        close(a, b, 1e-4)


@pytest.mark.parametrize(("left", "right"), [(0, 0), (2, 0), (0, 3), (12, 12), (30, 1), (-2, 5), (-3, -4)])
def test_columns_beyond_the_seam(rng, left, right):
    x = np.array(normal(rng, (2, 3, W, 2)))
    expected = x[:, :, np.arange(-left, W + right) % W]
    np.testing.assert_array_equal(go_round(mx.array(x), left, right), expected)
    turned = go_round(mx.array(x.swapaxes(2, 3)), left, right, axis=-1)
    np.testing.assert_array_equal(turned, expected.swapaxes(2, 3))


@pytest.mark.parametrize("algorithm", ["auto", "native"])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [
        ((3, 3), 1, "same", 1),
        ((5, 5), 1, "same", 1),
        ((4, 4), 1, "same", 1),
        ((1, 7), 1, "same", 1),
        ((3, 3), 1, "same", 2),
        ((3, 3), 2, (1, 1), 1),
        ((7, 7), 3, (2, 2), 1),
        ((3, 3), 4, (0, 1), 1),
        ((2, 2), 2, (0, 0), 1),
        ((3, 1), 3, (1, 0), 1),
    ],
)
def test_convolution(rng, kernel, stride, padding, dilation, algorithm):
    x, weight = normal(rng, (2, 9, W, 5)), normal(rng, (6, *kernel, 5))
    strides, dilations = (stride, stride), (dilation, dilation)

    def plain(x, weight):
        if padding == "same" or stride == 1:
            return conv2d(x, weight, strides, padding, dilations, "native")
        return mx.conv2d(x, weight, strides, padding)

    def run(x, weight):
        return conv2d(x, weight, strides, padding, dilations, algorithm, circular=True)

    check(run, plain, x, weight, stride=1 / stride)
    rolled = run(mx.roll(x, 2 * stride, 2), weight)
    close(rolled, mx.roll(run(x, weight), 2, 2), 1e-5)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(4, 2, 1), (7, 5, 1), (5, 3, 1), (3, 3, 0), (2, 3, 0), (3, 1, 1), (9, 2, 0)]
)
def test_transposed_convolution(rng, kernel, stride, padding):
    x, weight = normal(rng, (2, 5, W, 3)), normal(rng, (4, kernel, kernel, 3))
    strides, paddings = (stride, stride), (padding, padding)

    def plain(x, weight):
        # Without padding of the columns, the column i of the result is i + padding.
        y = mx.conv_transpose2d(x, weight, strides, (padding, 0))
        return y[:, :, padding : padding + 3 * stride * W]

    def run(x, weight):
        return circular_conv_transpose2d(x, weight, strides, paddings)

    check(run, plain, x, weight, stride=stride)
    close(run(mx.roll(x, -5, 2), weight), mx.roll(run(x, weight), -5 * stride, 2), 1e-5)
    # It is the gradient of the convolution that goes round.
    if run(x, weight).shape[1] == 5 * stride:
        y = normal(rng, (2, 5 * stride, W * stride, 4))
        turned = weight.transpose(3, 1, 2, 0)
        down = conv2d(y, turned, strides, paddings, algorithm="native", circular=True)
        assert float((down * x).sum()) == pytest.approx(float((run(x, weight) * y).sum()), rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("algorithm", ["auto", "native"])
@pytest.mark.parametrize("dilation", [1, 3])
def test_depthwise_convolution(rng, algorithm, dilation):
    x, weight = normal(rng, (2, 9, W, 5)), normal(rng, (5, 3, 5))
    check(
        lambda *a: depthwise_conv2d(*a, dilation, algorithm, circular=True),
        lambda *a: depthwise_conv2d(*a, dilation, "native"),
        *(x, weight),
    )


@pytest.mark.parametrize("algorithm", ["auto", "native"])
def test_grouped_convolution(rng, algorithm):
    x, weight = normal(rng, (2, 9, W, 6)), normal(rng, (4, 5, 5, 3))
    check(
        lambda *a: grouped_conv2d(*a, 2, algorithm, circular=True),
        lambda *a: grouped_conv2d(*a, 2, "native"),
        x,
        weight,
    )


@pytest.mark.parametrize("algorithm", ["auto", "native"])
def test_fields_read_along_flows(rng, algorithm):
    h, flow, weight = normal(rng, (2, 6, W, 3)), 4 * normal(rng, (2, 6, W, 4)), normal(rng, (5, 6))

    def run(h, flow, weight):
        return warp_product(h, flow, weight, algorithm, circular=True)

    def plain(h, flow, weight):
        return reference_warp(h, mx.concatenate([flow] * 3, axis=2)) @ weight.T

    assert 3 < float(mx.abs(flow[..., 1::2]).max()) < W  # within the wrapped frame
    check(run, plain, h, flow, weight)
    for columns in (1, -5):
        rolled = run(mx.roll(h, columns, 2), mx.roll(flow, columns, 2), weight)
        close(rolled, mx.roll(run(h, flow, weight), columns, 2), 1e-5)
    # A flow once more round the earth is the same flow.
    farther = flow + mx.array([0.0, W] * 2) * mx.array([1.0, 1.0, -3.0, -3.0])
    close(run(h, farther, weight), run(h, flow, weight), 1e-4)


@pytest.mark.parametrize(
    ("up", "kernel", "stride", "padding"), [(False, 7, 3, 1), (False, 3, 2, 1), (True, 4, 2, 1), (True, 7, 3, 2)]
)
def test_resample(rng, up, kernel, stride, padding):
    plain = Resample(2, 3, kernel, stride=stride, padding=padding, up=up)
    plain.conv.bias = normal(rng, (3,))
    layer = Resample(2, 3, kernel, stride=stride, padding=padding, up=up, circular=True)
    layer.update(plain.parameters())
    x = normal(rng, (1, 2, 12, W, 2))
    y = layer(x)
    assert y.shape[2:4] == layer.output_size((12, W))
    assert y.shape[3] == (W * stride if up else W // stride)
    assert y.shape[2] == plain(x).shape[2]
    whole = plain(mx.concatenate([x] * 5, axis=3))
    scale = y.shape[3]
    close(whole[:, :, :, 2 * scale : 3 * scale], y, 1e-5)


def test_what_a_padding_of_a_model_may_be():
    assert is_circular("Model", "circular")
    assert not is_circular("Model", None)
    with pytest.raises(ValueError, match=r"\[Model\] 'padding' must be None or 'circular' but got 'same'\."):
        is_circular("Model", "same")


def test_over_seam_reads_as_far_as_told(rng):
    x = normal(rng, (1, 2, W, 1))

    def shifted(x):
        return mx.concatenate([mx.zeros((1, 2, 2, 1)), x[:, :, :-2]], axis=2)

    close(over_seam(shifted, x, 2), mx.roll(x, 2, 2), 0)


def test_flows_over_the_seam_in_a_narrow_type(rng):
    h, flow, weight = normal(rng, (1, 3, 300, 2)), normal(rng, (1, 3, 300, 2)), normal(rng, (2, 2))
    narrow = [a.astype(mx.bfloat16) for a in (h, flow, weight)]
    y = warp_product(*narrow, circular=True)
    assert y.dtype == mx.bfloat16
    close(y.astype(mx.float32), warp_product(*(a.astype(mx.float32) for a in narrow), circular=True), 0.02)
