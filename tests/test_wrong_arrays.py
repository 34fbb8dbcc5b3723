"""Wrong arrays are refused in our own words, or computed with; they never lead to a fault inside."""

from __future__ import annotations

import re

from convlstm.architectures.extrapolation import advect
from convlstm.architectures.motion import motion
from convlstm.losses import MeanSquaredError
from convlstm.models import EncoderForecaster
from tests.support.wrong_arrays import TAKERS, Taker, wrong_arrays

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

HUGE = float(np.float32(1e30))
# For each of the twenty takers.
fewer = settings(max_examples=settings().max_examples // 4)


@pytest.mark.parametrize("name", TAKERS)
@fewer
@given(data=st.data())
def test_wrong_arrays_are_refused_in_our_words(name, data):
    arrays = data.draw(wrong_arrays(TAKERS[name].shapes))
    assert TAKERS[name].refusal(arrays) == "", [(a.dtype, a.shape) for a in arrays]


@pytest.mark.parametrize("name", TAKERS)
def test_right_arrays_are_taken(name):
    assert TAKERS[name].refusal([np.full(shape, 0.5, np.float32) for shape in TAKERS[name].shapes]) == ""


def test_errors_of_others_are_found():
    def broken(x):
        raise ValueError("shapes do not fit")

    assert Taker(lambda: broken).refusal([np.zeros(1)]) == "ValueError: shapes do not fit"


@given(value=st.floats(min_value=HUGE, width=32) | st.floats(max_value=-HUGE, width=32) | st.just(np.nan))
def test_an_impossible_value_shows_no_motion(value):
    inputs = np.random.default_rng(0).random((1, 3, 16, 16, 1), np.float32)
    inputs[0, 1, 3, 4] = value
    without = inputs.copy()
    without[0, 1, 3, 4] = 0
    assert mx.array_equal(motion(mx.array(inputs)), motion(mx.array(without)))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_an_impossible_motion_counts_as_none(value):
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
    text = f"[EncoderForecaster] expected inputs of shape NTHWC, no side 0, but got {shape}."
    with pytest.raises(ValueError, match=re.escape(text)):
        EncoderForecaster(hidden_channels=[2], kernel_size=3, patch_size=2)(mx.zeros(shape), 1)
