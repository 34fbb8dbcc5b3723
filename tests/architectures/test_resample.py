"""The convolutions between the levels of an encoder-forecaster."""

from __future__ import annotations

from convlstm.architectures.resample import Resample

import mlx.core as mx
import pytest


def test_resample_is_a_convolution_with_a_leaky_relu(rng):
    down = Resample(1, 1, (2, 1), stride=(2, 1), negative_slope=0.5)
    down.conv.weight, down.conv.bias = mx.array([1.0, 1.0]).reshape(1, 2, 1, 1), mx.array([-3.0])
    x = mx.array([[1.0, 2.0], [1.0, 3.0]]).reshape(1, 1, 2, 2, 1)
    assert down(x).reshape(-1).tolist() == [-0.5, 2.0]
    assert down.output_size((2, 2)) == (1, 2)
    assert Resample(1, 1, 1).negative_slope == 0.2


@pytest.mark.parametrize(
    "arguments",
    [
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": (3, 5), "stride": (1, 2), "padding": (0, 2)},
        {"kernel_size": 4},
        {"kernel_size": 7, "stride": 5, "padding": 1},
    ],
)
@pytest.mark.parametrize("up", [False, True])
def test_resample_s_output_size_is_its_output_s_size(arguments, up):
    resample = Resample(2, 3, **arguments, up=up)
    for size in ((9, 11), (10, 8)):
        assert resample(mx.zeros((1, 2, *size, 2))).shape == (1, 2, *resample.output_size(size), 3)


def test_resample_up_undoes_the_size_of_down():
    for kernel_size, stride, padding, size in ((7, 5, 1, 480), (5, 3, 1, 96), (4, 2, 1, 32)):
        arguments = {"kernel_size": kernel_size, "stride": stride, "padding": padding}
        down, up = Resample(1, 1, **arguments), Resample(1, 1, **arguments, up=True)
        assert up.output_size(down.output_size((size, size))) == (size, size)
