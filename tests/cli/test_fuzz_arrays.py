"""Arrays that are not as they must be are refused in our own words, or computed with; never a fault inside."""

import re

from convlstm.architectures.extrapolation import advect
from convlstm.architectures.motion import motion
from convlstm.losses import MeanSquaredError
from convlstm.models import EncoderForecaster
from tests.support.fuzz_arrays import ArrayCase, array_cases, takers, told

import mlx.core as mx
import numpy as np
import pytest


@pytest.fixture(scope="module")
def known():
    mx.random.seed(0)
    return takers()


def test_wrong_arrays_are_refused_in_our_words(known):
    failed = [f"{case}: {text}" for case in array_cases(400, 0) if (text := told(case, known[case.taker]))]
    assert failed == []


def test_right_arrays_are_taken(known):
    for name, taker in known.items():
        arrays = [np.full(shape, 0.5, np.float32) for shape in taker[1]]
        assert told(ArrayCase(0, name, "none", arrays), taker) == "", name


def test_what_others_raise_is_told():
    def broken(x):
        raise ValueError("shapes do not fit")

    assert told(ArrayCase(0, "broken", "size", [np.zeros(1)]), (broken, ((1,),), True)) == (
        "ValueError: shapes do not fit"
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_a_value_that_is_none_shows_no_motion(value):
    inputs = np.random.default_rng(0).random((1, 3, 16, 16, 1), np.float32)
    inputs[0, 1, 3, 4] = value
    without = inputs.copy()
    without[0, 1, 3, 4] = 0
    assert mx.array_equal(motion(mx.array(inputs)), motion(mx.array(without)))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_a_motion_that_is_none_counts_as_none(value):
    field = mx.random.uniform(shape=(1, 8, 8, 1), key=mx.random.key(0))
    flow = np.zeros((1, 8, 8, 2), np.float32)
    still = advect(field, mx.array(flow), 2)
    flow[0, 2, 3, 1] = value
    assert mx.array_equal(advect(field, mx.array(flow), 2), still)


def test_a_mask_of_another_shape():
    text = (
        "[loss] 'mask' must have the shape of the target, (1, 2, 4, 4, 1), or broadcast to it but got (1, 3, 4, 4, 1)."
    )
    x = mx.zeros((1, 2, 4, 4, 1))
    with pytest.raises(ValueError, match=re.escape(text)):
        MeanSquaredError()(x, x, mx.zeros((1, 3, 4, 4, 1)))


@pytest.mark.parametrize("shape", [(0, 3, 8, 8, 1), (1, 0, 8, 8, 1), (1, 3, 0, 8, 1)])
def test_no_frames(shape):
    text = f"[EncoderForecaster] expected inputs of shape NTHWC, none of them 0, but got {shape}."
    with pytest.raises(ValueError, match=re.escape(text)):
        EncoderForecaster(hidden_channels=[2], kernel_size=3, patch_size=2)(mx.zeros(shape), 1)
