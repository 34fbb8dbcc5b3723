"""Checks of arguments, and what does not fit into memory."""

import re

from convlstm.architectures.advection_residual import AdvectionResidual
from convlstm.architectures.convlstm_stack import ConvLSTMStack
from convlstm.architectures.motion import check_motion
from convlstm.architectures.resample import Resample
from convlstm.arguments import MOST, check_flags, check_number, check_numbers, check_whole, check_wholes
from convlstm.backend.memory import TRAINED, check_parameters, memory
from convlstm.datasets.moving_mnist import MovingMNIST
from convlstm.datasets.radar_echo import RadarEcho
from convlstm.layers import ConvLSTM, ConvLSTMCell
from convlstm.losses import WeightedSum
from convlstm.models import EncoderForecaster
from convlstm.training.schedules import constant, cosine, one_cycle

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest


def refuses(text):
    return pytest.raises(ValueError, match=re.escape(text))


def test_whole_numbers():
    assert check_whole("A", "n", 3) == 3
    assert check_whole("A", "n", 0, least=0) == 0
    assert check_whole("A", "n", 1 << 40, most=None) == 1 << 40
    assert type(check_whole("A", "n", np.int64(3))) is int
    for value in (0, 1.0, True, "1", None):
        with refuses(f"[A] 'n' must be a whole number of at least 1 but got {value!r}."):
            check_whole("A", "n", value)
    with refuses("[A] 'n' must be at most 1,048,576 but got 1,048,577."):
        check_whole("A", "n", MOST + 1)
    with refuses("[A] 'n' must be at most 5 but got 6."):
        check_whole("A", "n", 6, most=5)


def test_numbers():
    assert check_number("A", "x", 3) == 3.0
    assert isinstance(check_number("A", "x", 3), float)
    for value in (float("nan"), float("inf"), True, "1", None):
        with refuses(f"[A] 'x' must be a finite number but got {value!r}."):
            check_number("A", "x", value)
    with refuses("[A] 'x' must be at least 0 but got -1."):
        check_number("A", "x", -1, 0)
    with refuses("[A] 'x' must be at most 1 but got 2."):
        check_number("A", "x", 2, 0, 1)
    with refuses("[A] 'x' must be between 0 and 1 but got 1."):
        check_number("A", "x", 1, above=0, below=1)
    with refuses("[A] 'x' must be at least 0 and below 1 but got 1."):
        check_number("A", "x", 1, 0, below=1)
    with refuses("[A] 'x' must be a finite number but got 1000"):
        check_number("A", "x", 10**400)


def test_lists_of_numbers():
    assert check_numbers("A", "x", (1, 2.5)) == check_numbers("A", "x", np.array([1, 2.5])) == [1.0, 2.5]
    assert check_wholes("A", "x", [1, 2]) == [1, 2]
    for check in (check_numbers, check_wholes):
        for value in (3, "12", None, {"a": 1}):
            with refuses("[A] 'x' must be a list of "):
                check("A", "x", value)
        with refuses("[A] 'x' must be a "):
            check("A", "x", [1, "2"])


def test_flags():
    check_flags("A", one=True, two=False)
    with refuses("[A] 'two' must be True or False but got 0."):
        check_flags("A", one=True, two=0)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: ConvLSTMCell(MOST + 1, 1), "[ConvLSTMCell] 'in_channels' must be at most 1,048,576"),
        (lambda: ConvLSTMCell(1, 10**9), "[ConvLSTMCell] 'out_channels' must be at most 1,048,576"),
        (lambda: ConvLSTMCell(1, 1, 4099), "[ConvLSTMCell] 'kernel_size' must be at most 4,096 but got 4,099."),
        (lambda: ConvLSTMCell(1, 1, bias=1), "[ConvLSTMCell] 'bias' must be True or False but got 1."),
        (lambda: ConvLSTMCell(1, 1, peepholes=None), "'peepholes' must be True or False but got None."),
        (lambda: ConvLSTMCell(1, 1, forget_bias="a"), "'forget_bias' must be a finite number but got 'a'."),
        (lambda: ConvLSTM(1, 1, dropout="a"), "[ConvLSTM] 'dropout' must be at least 0 and below 1 but got 'a'."),
        (lambda: ConvLSTM(1, 1, recompute=1), "[ConvLSTM] 'recompute' must be True or False but got 1."),
        (lambda: ConvLSTM(1, 1, reverse=1), "[ConvLSTM] 'reverse' must be True or False but got 1."),
        (lambda: Resample(1, 0, 3), "[Resample] 'channels' must be a whole number of at least 1 but got 0."),
        (lambda: Resample(0, 1, 3), "[Resample] 'in_channels' must be a whole number of at least 1 but got 0."),
        (lambda: Resample(1, 1, 3, up=1), "[Resample] 'up' must be True or False but got 1."),
        (lambda: Resample(1, 1, 3, negative_slope=None), "'negative_slope' must be a finite number but got None."),
        (
            lambda: EncoderForecaster(hidden_channels=[4, 0]),
            "'hidden_channels' must be a whole number of at least 1 but got 0.",
        ),
        (
            lambda: EncoderForecaster(out_channels=0),
            "[EncoderForecaster] 'out_channels' must be a whole number of at least 1 but got 0.",
        ),
        (
            lambda: EncoderForecaster(head_channels=[0]),
            "'head_channels' must be a whole number of at least 1 but got 0.",
        ),
        (lambda: EncoderForecaster(concatenate=1), "'concatenate' must be True or False but got 1."),
        (lambda: EncoderForecaster(next_frame_weight=float("nan")), "'next_frame_weight' must be a finite number"),
        (lambda: EncoderForecaster(output_mean="a"), "'output_mean' must be a finite number but got 'a'."),
        (lambda: EncoderForecaster(patch_size=257), "'patch_size' must be at most 256 but got 257."),
        (
            lambda: EncoderForecaster(in_channels=17, patch_size=256),
            "a patch has 'in_channels' times the square of 'patch_size' channels, at most 1,048,576, but got 17 and",
        ),
        (
            lambda: EncoderForecaster(hidden_channels=[4], downsample=["a"], upsample=[None]),
            "an entry of 'downsample' or 'upsample' needs 'channels' and 'kernel_size' but got 'a'.",
        ),
        (
            lambda: EncoderForecaster(hidden_channels=[4], downsample=[{"channels": 0, "kernel_size": 3}]),
            "'channels' must be a whole number of at least 1 but got 0.",
        ),
        (
            lambda: EncoderForecaster(hidden_channels=[4], upsample=[{"channels": 1, "kernel_size": 3, "wide": 1}]),
            "[EncoderForecaster] 'upsample' has an entry {'channels': 1, 'kernel_size': 3, 'wide': 1}: ",
        ),
        (
            lambda: ConvLSTMStack(hidden_channels=["a"]),
            "'hidden_channels' must be a whole number of at least 1 but got 'a'.",
        ),
        (lambda: AdvectionResidual(lead_scale=float("inf")), "'lead_scale' must be a finite number but got inf."),
        (lambda: AdvectionResidual(matches=1), "[AdvectionResidual] 'matches' must be True or False but got 1."),
        (lambda: check_motion("A", 5, 10**9, 2.0, 3), "[A] 'points' must be at most 1,048,576"),
        (lambda: check_motion("A", 5, 128, 2.0, 101), "[A] 'iterations' must be at most 100 but got 101."),
        (lambda: constant(float("inf")), "[constant] 'learning_rate' must be a finite number but got inf."),
        (lambda: cosine(1.0, 10, final_share=-1), "[cosine] 'final_share' must be at least 0 but got -1."),
        (lambda: one_cycle(1.0, 10, div=0), "[one_cycle] 'div' must be above 0 but got 0."),
        (lambda: one_cycle(1.0, 10, final_div=0), "[one_cycle] 'final_div' must be above 0 but got 0."),
        (lambda: WeightedSum([]), "[WeightedSum] 'losses' must be at least one loss but got []."),
        (lambda: WeightedSum([abs], [float("nan")]), "[WeightedSum] 'weights' must be a finite number but got nan."),
        (lambda: MovingMNIST(num_digits=1001), "[MovingMNIST] 'num_digits' must be at most 1,000 but got 1,001."),
        (lambda: MovingMNIST(input_frames=10**9), "[MovingMNIST] 'input_frames' must be at most 100,000"),
        (lambda: MovingMNIST(train_sequences=10**9), "[MovingMNIST] 'train_sequences' must be at most 10,000,000"),
        (lambda: MovingMNIST(frame_size=10**9), "[MovingMNIST] 'frame_size' must be at most 65,536"),
        (lambda: MovingMNIST(prefetch=10**9), "[MovingMNIST] 'prefetch' must be at most 1,000"),
        (lambda: RadarEcho(threads=10**9), "[RadarEcho] 'threads' must be at most 1,000"),
        (lambda: RadarEcho(test_sequences=10**9), "[RadarEcho] 'test_sequences' must be at most 10,000,000"),
    ],
)
def test_wrong_arguments_are_refused(make, text):
    with refuses(text):
        make()


def test_too_many_parameters(monkeypatch):
    model = nn.Linear(100, 100, bias=False)
    monkeypatch.setattr("convlstm.backend.memory.memory", lambda: 10_000 * TRAINED)
    check_parameters(model)
    monkeypatch.setattr("convlstm.backend.memory.memory", lambda: 10_000 * TRAINED - 1)
    with refuses("the model has 10,000 parameters, which take 0 GB, but this machine has 0 GB of memory. Choose fewer"):
        check_parameters(model)
    check_parameters(model, bytes_each=4)


def test_nothing_is_computed_for_a_model_that_is_too_large():
    before = mx.get_active_memory()
    with refuses("parameters, which take"):
        check_parameters(EncoderForecaster(hidden_channels=[MOST]))
    assert mx.get_active_memory() - before < 1 << 20


def test_the_memory_of_this_machine():
    assert memory() > 1 << 28


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: MovingMNIST(frame_size=65536, digits="builtin"), "[MovingMNIST] a sequence of 'input_frames' and"),
        (
            lambda: RadarEcho(frame_size=65536),
            "[RadarEcho] a sequence of 'input_frames' and 'target_frames' of 'fram",
        ),
    ],
)
def test_sequences_that_are_too_large(make, text, monkeypatch):
    monkeypatch.setattr("convlstm.backend.memory.memory", lambda: 1 << 30)
    with refuses(text):
        make()


def test_digits_that_are_too_large(monkeypatch):
    from tests.support.tiny import blots

    monkeypatch.setattr("convlstm.backend.memory.memory", lambda: 100_000)
    with refuses("[MovingMNIST] all images at 'digit_size' would take 0 GB of memory but this machine has 0 GB."):
        MovingMNIST(digits=blots(), frame_size=64, digit_size=64, input_frames=1, target_frames=1)
