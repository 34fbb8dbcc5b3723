"""The ConvLSTM layer refuses arguments and inputs that do not fit."""

from __future__ import annotations

import re

from convlstm.layers import ConvLSTM

import mlx.core as mx
import pytest

pytestmark = pytest.mark.usefixtures("kernels_for_winograd")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"merge": "max"}, "[ConvLSTM] 'merge' must be one of concat, sum, mul, ave or None but got 'max'."),
        ({"merge": ["sum"]}, "[ConvLSTM] 'merge' must be one of concat, sum, mul, ave or None but got ['sum']."),
        ({"dropout": 1.0}, "[ConvLSTM] 'dropout' must be at least 0 and below 1 but got 1.0."),
        ({"dropout": -0.1}, "[ConvLSTM] 'dropout' must be at least 0 and below 1 but got -0.1."),
        ({"recurrent_dropout": 2}, "[ConvLSTM] 'recurrent_dropout' must be at least 0 and below 1 but got 2."),
        ({"algorithm": "fft"}, "[ConvLSTMCell] 'algorithm' must be one of auto, native, winograd but got 'fft'."),
        ({"kernel_size": 4}, "[ConvLSTMCell] 'kernel_size' must be odd but got 4"),
        ({"stride": -2}, "[ConvLSTMCell] 'stride' must be an int or a pair of ints, at least 1, but got -2."),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        ConvLSTM(1, 2, **arguments)


def test_unknown_argument():
    with pytest.raises(TypeError, match="'strides'"):
        ConvLSTM(1, 2, strides=2)


@pytest.mark.parametrize("algorithm", ["native", "winograd", "auto"])
@pytest.mark.parametrize(
    ("arguments", "x", "state", "message"),
    [
        ({}, (1, 2, 8, 8, 3), None, "expected an input of shape NHWC or HWC with C=2 channels but got"),
        ({}, (2, 8, 8, 3), None, "expected an input of shape NHWC or HWC with C=2 channels but got"),
        ({}, (8, 8, 2), None, "[ConvLSTM] expected an input of shape NLHWC or LHWC but got shape (8, 8, 2)."),
        ({}, None, None, "[ConvLSTMCell] expected an input with 2 channels but got None."),
        ({"in_channels": 0}, None, None, "with in_channels=0, 'x' must be None and a state must be given."),
        ({"in_channels": 0}, None, (1, 8, 8, 4), "[ConvLSTM] a layer without input needs the 'length' to unroll."),
        ({}, (1, 2, 8, 8, 2), (1, 4, 8, 4), "'state' must be (h, c), each of shape (1, 8, 8, 4), but got shapes"),
        ({"grid_size": (8, 9)}, (1, 2, 8, 8, 2), None, "the peepholes were made for a state grid of (8, 9)"),
    ],
)
def test_bad_inputs(arguments, x, state, message, algorithm):
    layer = ConvLSTM(**{"in_channels": 2, "out_channels": 4, "kernel_size": 3, "algorithm": algorithm, **arguments})
    x = None if x is None else mx.zeros(x)
    state = None if state is None else (mx.zeros(state), mx.zeros(state))
    with pytest.raises(ValueError, match=re.escape(message)):
        layer(x, state)


@pytest.mark.parametrize("length", [0, -1])
def test_length_must_be_at_least_one(length):
    state = (mx.zeros((1, 4, 4, 2)), mx.zeros((1, 4, 4, 2)))
    with pytest.raises(ValueError, match=re.escape(f"[ConvLSTM] needs at least 1 time step but got {length}.")):
        ConvLSTM(0, 2, 3)(None, state, length=length)


def test_a_sequence_must_have_a_step():
    with pytest.raises(ValueError, match=re.escape("[ConvLSTM] needs at least 1 time step but got 0.")):
        ConvLSTM(1, 2, 3)(mx.zeros((1, 0, 4, 4, 1)))
