"""Frames whose columns go round: a shift of the input by some columns is a shift of the forecast."""

import convlstm  # noqa: F401  before mlx.core
from convlstm.architectures.convgru import ConvGRU
from convlstm.architectures.extrapolation import Extrapolation
from convlstm.layers import ConvLSTM
from convlstm.models import EncoderForecaster
from convlstm.ops.convolution import conv2d

import mlx.core as mx
import numpy as np
import pytest


def smooth(seed=0, shape=(2, 4, 16, 24), channels=1, speed=1.5):
    """Returns frames in [0, 1] of waves that go round and move to the east, (N, T, H, W, C)."""
    N, T, H, W = shape
    rng = np.random.default_rng(seed)
    t, y, x = np.arange(T)[:, None, None], np.arange(H)[:, None] / H, np.arange(W)
    waves = [
        rng.random((N, channels, 1, 1, 1))
        * np.sin(2 * np.pi * (kx * (x - speed * t) / W + ky * y + rng.random((N, channels, 1, 1, 1))))
        for kx in (1, 2, 3, 4)
        for ky in (0, 1, 2)
    ]
    values = np.moveaxis(sum(waves), 1, -1)
    return mx.array(((values - values.min()) / np.ptp(values)).astype(np.float32))


@pytest.mark.parametrize("kernel", [(3, 3), (5, 5), (1, 3), (4, 4), (7, 5), (3, 31)])
@pytest.mark.parametrize("algorithm", ["auto", "native"])
def test_the_convolution_is_that_of_columns_that_go_round(kernel, algorithm):
    mx.random.seed(0)
    x, weight = mx.random.normal((2, 7, 12, 5)), mx.random.normal((6, *kernel, 5))
    expected = np.zeros((2, 7, 12, 6))
    top, left = (kernel[0] - 1) // 2, (kernel[1] - 1) // 2
    rows = np.pad(np.array(x, np.float64), [(0, 0), (top, kernel[0]), (0, 0), (0, 0)])
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            shifted = np.roll(rows[:, i : i + 7], left - j, axis=2)
            expected += shifted @ np.array(weight, np.float64)[:, i, j].T
    np.testing.assert_allclose(conv2d(x, weight, padding="circular", algorithm=algorithm), expected, atol=1e-4)


def test_strides_keep_the_grid_of_same_padding():
    x, weight = mx.random.normal((1, 8, 12, 2)), mx.random.normal((3, 3, 3, 2))
    whole = conv2d(x, weight, padding="circular")
    strided = conv2d(x, weight, stride=(2, 2), padding="circular")
    assert strided.shape == conv2d(x, weight, stride=(2, 2)).shape == (1, 4, 6, 3)
    # 'same' pads on the right only, so the first kernel stands on the first column.
    np.testing.assert_allclose(strided[:, :-1], whole[:, 1:-1:2, 1::2], atol=1e-5)


@pytest.mark.parametrize("kind", [ConvLSTM, ConvGRU])
@pytest.mark.parametrize("options", [{}, {"kernel_size": (3, 5)}, {"algorithm": "native"}, {"recompute": True}])
def test_layers(kind, options):
    mx.random.seed(1)
    layer = kind(2, 4, **{"kernel_size": 3, "padding": "circular"} | options)
    x = mx.random.normal((2, 3, 8, 12, 2))
    outputs, _ = layer(x)
    for columns in (1, 5, -4):
        np.testing.assert_allclose(layer(mx.roll(x, columns, 3))[0], mx.roll(outputs, columns, 3), atol=1e-5)
    zeros = kind(2, 4, **{"kernel_size": 3} | options)
    zeros.update(layer.parameters())
    # Far from the border, both paddings are the same for one step.
    first, of_zeros = layer(x[:, :1])[0], zeros(x[:, :1])[0]
    np.testing.assert_allclose(of_zeros[:, :, :, 2:-2], first[:, :, :, 2:-2], atol=1e-5)
    assert float(mx.abs(of_zeros - first).max()) > 1e-3


@pytest.mark.parametrize(("cell", "patch_size"), [("convlstm", 1), ("convgru", 1), ("convlstm", 4)])
def test_encoder_forecaster(cell, patch_size):
    mx.random.seed(2)
    options = {"hidden_channels": (4, 3), "cell": cell, "kernel_size": 3, "patch_size": patch_size}
    model, x = EncoderForecaster(**options, padding="circular"), smooth()
    forecast = model(x, 3)
    for columns in (patch_size, -2 * patch_size):
        np.testing.assert_allclose(model(mx.roll(x, columns, 3), 3), mx.roll(forecast, columns, 3), atol=1e-5)


def test_extrapolation():
    x = smooth()
    for border in ("circular", "edge"):
        model = Extrapolation(border=border)
        forecast = model(x, 4)
        shifted = model(mx.roll(x, 7, 3), 4)
        error = float(mx.abs(shifted - mx.roll(forecast, 7, 3)).max())
        assert error < 1e-5 if border == "circular" else error > 1e-2


def test_extrapolation_brings_back_what_leaves_the_frame():
    x = smooth(shape=(1, 9, 16, 24))
    forecast = Extrapolation(border="circular")(x[:, :5], 4)
    np.testing.assert_allclose(forecast, x[:, 5:], atol=0.06)
    assert float(mx.abs(Extrapolation()(x[:, :5], 4) - x[:, 5:]).max()) > 0.1


def test_what_has_zeros_at_its_borders_is_refused():
    down = [{"channels": 2, "kernel_size": 3, "stride": 2, "padding": 1}, None]
    up = [{"channels": 2, "kernel_size": 4, "stride": 2, "padding": 1}, None]
    for options in ({"downsample": down, "upsample": up}, {"head_channels": [3]}, {"padding": "same"}):
        with pytest.raises(ValueError, match="'padding' must be None or, without 'downsample'"):
            EncoderForecaster(**{"hidden_channels": (4, 4), "padding": "circular"} | options)
    with pytest.raises(TypeError, match="cell='trajgru' has layers without 'padding'"):
        EncoderForecaster(hidden_channels=(4,), cell="trajgru", kernel_size=3, padding="circular")
