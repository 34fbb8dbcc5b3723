"""PredRNN refuses arguments and inputs that do not fit."""

from __future__ import annotations

import re

from convlstm.architectures.predrnn import PredRNN

import mlx.core as mx
import pytest

SMALL = {"hidden_channels": (4, 4), "kernel_size": 3, "patch_size": 2}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_channels": 0}, "'in_channels' must be a whole number of at least 1 but got 0."),
        (
            {"hidden_channels": []},
            "'hidden_channels' must be one number or more, all equal, since a memory passes through all layers, but "
            "got [].",
        ),
        ({"hidden_channels": [3, 4]}, "'hidden_channels' must be one number or more, all equal"),
        ({"patch_size": 0}, "'patch_size' must be a whole number of at least 1 but got 0."),
        ({"decoupling": 0.0}, "'decoupling' must be above 0, or None for none, but got 0.0."),
        ({"decoupling": float("inf")}, "'decoupling' must be a finite number but got inf."),
        ({"recompute": None}, "'recompute' must be True or False but got None."),
        ({"hidden_channels": [0]}, "'hidden_channels' must be a whole number of at least 1 but got 0."),
        (
            {"in_channels": 2**19, "patch_size": 2},
            "a patch has 'in_channels' times the square of 'patch_size' channels",
        ),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=re.escape(f"[PredRNN] {message}")):
        PredRNN(**{**SMALL, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": 4}, "[STLSTMCell] 'kernel_size' must be odd but got 4"),
        ({"algorithm": "fft"}, "[STLSTMCell] 'algorithm' must be one of"),
        ({"norm_grid": 0}, "[STLSTMCell] 'norm_grid' must be an int or a pair of ints, at least 1, but got 0."),
    ],
)
def test_bad_arguments_of_the_cells(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        PredRNN(**{**SMALL, **arguments})


@pytest.mark.parametrize(
    ("shape", "horizon", "message"),
    [
        ((1, 2, 9, 8, 1), 1, "frames of 9x8 cannot be cut into patches of 2x2"),
        ((1, 2, 8, 8, 3), 1, "expected inputs of shape NTHWC with C=1 channels but got shape (1, 2, 8, 8, 3)."),
        ((1, 2, 4, 6, 1), 0, "'horizon' must be at least 1 but got 0."),
        (
            (1, 2, 8, 6, 1),
            1,
            "the normalisation was made for 2x3 patches ('norm_grid') but these frames have 4x3.",
        ),
    ],
)
def test_bad_inputs(shape, horizon, message):
    with pytest.raises(ValueError, match=re.escape(f"[PredRNN] {message}")):
        PredRNN(1, **SMALL, norm_grid=(2, 3))(mx.zeros(shape), horizon)
