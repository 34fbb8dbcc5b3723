"""The encoder-forecaster refuses arguments and inputs that do not fit."""

from __future__ import annotations

import re

from convlstm.models import EncoderForecaster
from tests.support.models import NETWORKS, STRIDED

import mlx.core as mx
import pytest


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden_channels": []}, "'hidden_channels' must name at least one level but got none."),
        ({"patch_size": 0}, "'patch_size' must be a whole number of at least 1 but got 0."),
        ({"patch_size": 2.0}, "'patch_size' must be a whole number of at least 1 but got 2.0."),
        ({"activation": "relu"}, "'activation' must be one of sigmoid, linear but got 'relu'."),
        (
            {"kernel_size": [3]},
            "'kernel_size' must have one entry for each of the 2 levels of 'hidden_channels' but got 1",
        ),
        ({"recurrent_kernel_size": [3, 3, 3]}, "'recurrent_kernel_size' must have one entry for each of the 2 levels"),
        (
            {"downsample": [None]},
            "'downsample' must have one entry for each of the 2 levels of 'hidden_channels' but got 1",
        ),
        ({"upsample": []}, "'upsample' must have one entry for each of the 2 levels of 'hidden_channels' but got 0."),
        ({**STRIDED, "concatenate": True}, "'concatenate' needs all levels on one grid, but there is resampling."),
        ({"next_frame_weight": -1}, "'next_frame_weight' must be at least 0, and 0 if input and output have"),
        ({"next_frame_weight": 1.0, "out_channels": 2}, "different channels (1 and 2), but got 1.0."),
        ({"output_mean": 0.0}, "'output_mean' must be between 0 and 1 for a sigmoid but got 0.0."),
        ({"output_mean": 1.5}, "'output_mean' must be between 0 and 1 for a sigmoid but got 1.5."),
        ({"bidirectional": True}, "'bidirectional' is not for a forecaster's layers: leave it out."),
        ({"reverse": True}, "'reverse' is not for a forecaster's layers: leave it out."),
        ({"return_sequences": False}, "'return_sequences' is not for a forecaster's layers: leave it out."),
        ({"merge": "sum"}, "'merge' is not for a forecaster's layers: leave it out."),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=re.escape(f"{message}")) as caught:
        EncoderForecaster(**{"in_channels": 1, "hidden_channels": [2, 2], **arguments})
    assert str(caught.value).startswith("[EncoderForecaster] ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": 4}, "[ConvLSTMCell] 'kernel_size' must be odd but got 4"),
        ({"stride": -1}, "[ConvLSTMCell] 'stride' must be an int or a pair of ints, at least 1, but got -1."),
        ({"dropout": 1}, "[ConvLSTM] 'dropout' must be at least 0 and below 1 but got 1."),
        (
            {"downsample": [{"channels": 2, "kernel_size": 0}, None]},
            "[Resample] 'kernel_size' must be an int or a pair",
        ),
        ({"downsample": [{"channels": 2, "kernel_size": 3, "stride": -2}, None]}, "[Resample] 'stride' must be an int"),
        ({"upsample": [{"channels": 2, "kernel_size": 3, "padding": "same"}, None]}, "[Resample] 'padding' must be an"),
    ],
)
def test_bad_arguments_of_the_parts(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        EncoderForecaster(1, hidden_channels=[2, 2], **arguments)


def test_unknown_argument():
    with pytest.raises(TypeError, match="'hidden'"):
        EncoderForecaster(1, hidden=3)


@pytest.mark.parametrize(
    ("network", "shape", "horizon", "message"),
    [
        ("patches", (1, 2, 9, 8, 1), 1, "frames of 9x8 cannot be cut into patches of 2x2: height and width must be"),
        ("patches", (1, 2, 8, 7, 1), 1, "frames of 8x7 cannot be cut into patches of 2x2"),
        (
            "patches",
            (1, 2, 8, 8, 3),
            1,
            "expected inputs of shape NTHWC with C=1 channels but got shape (1, 2, 8, 8, 3).",
        ),
        ("patches", (2, 8, 8, 1), 1, "expected inputs of shape NTHWC with C=1 channels but got shape (2, 8, 8, 1)."),
        ("patches", (1, 2, 8, 8, 1), 0, "'horizon' must be at least 1 but got 0."),
        ("patches", (1, 2, 8, 8, 1), -2, "'horizon' must be at least 1 but got -2."),
        (
            "strided",
            (1, 2, 9, 8, 1),
            1,
            "frames of 9x8 change their size at level 1: 9x8 becomes 5x4 on the way down and 10x8 on the way up.",
        ),
    ],
)
def test_bad_inputs(network, shape, horizon, message):
    model = EncoderForecaster(1, **NETWORKS[network])
    with pytest.raises(ValueError, match=re.escape(f"[EncoderForecaster] {message}")):
        model(mx.zeros(shape), horizon)


def test_every_level_must_restore_the_grid():
    message = "'padding' must be None or 'circular' but got 'valid'."
    with pytest.raises(ValueError, match=re.escape(message)):
        EncoderForecaster(1, hidden_channels=[2], kernel_size=3, padding="valid")


def test_frames_too_small_for_a_resampling():
    model = EncoderForecaster(
        1, hidden_channels=[2], kernel_size=3, downsample=[{"channels": 2, "kernel_size": 7, "stride": 5}]
    )
    with pytest.raises(ValueError, match=re.escape("[Resample] an input of 4x9 is too small for kernel_size=(7, 7)")):
        model(mx.zeros((1, 2, 4, 9, 1)), 1)
