"""Missing pixels and frames are interpolated in time, or missing from the forecast."""

from __future__ import annotations

import re
import warnings

from convlstm.datasets.transforms import LogRain
from convlstm.forecasting.forecaster import Forecaster
from convlstm.gaps import fill
from tests.support.followed_models import Last

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp


def test_missing_pixels_are_interpolated_in_time_or_missing_from_the_forecast():
    model = Last()
    frames = np.full((4, 2, 2), 0.8, np.float32)
    frames[:, 0, 0] = [0.2, np.nan, np.nan, 0.5]
    frames[:, 0, 1] = [np.nan, 0.3, 0.4, np.nan]
    frames[:, 1, 1] = np.nan
    forecaster = Forecaster(model)
    forecast = forecaster(frames, 2)
    np.testing.assert_allclose(model.given[0, :, 0, 0, 0], [0.2, 0.3, 0.4, 0.5], rtol=1e-6)
    np.testing.assert_allclose(model.given[0, :, 0, 1, 0], [0.3, 0.3, 0.4, 0.4], rtol=1e-6)
    assert (model.given[0, :, 1, 1] == 0).all()
    assert np.isnan(forecast[:, 1, 1]).all()
    assert np.isfinite(forecast[:, 0]).all()
    assert forecaster.missing.share == 8 / 16
    assert forecaster.missing.never.sum() == 1
    assert forecaster.missing.frames == ()


def test_infinite_values_are_missing(rain):
    rain[1, 3, 4] = np.inf
    forecaster = Forecaster(model := Last(), LogRain())
    forecaster(rain, 1)
    assert forecaster.missing.share == pytest.approx(1 / rain.size)
    expected = LogRain().forward(rain[[0, 2], 3, 4]).mean()
    assert model.given[0, 1, 3, 4, 0] == pytest.approx(expected, rel=1e-5)


def test_a_missing_frame_is_filled_with_a_warning():
    frames = np.stack([np.full((3, 3), v, np.float32) for v in (0.1, 0.2, np.nan, 0.4)])
    model = Last()
    forecaster = Forecaster(model)
    text = "[Forecaster] of 4 input frames, these are missing and interpolated in time: 3."
    with pytest.warns(UserWarning, match=re.escape(text)):
        forecaster(frames, 1)
    np.testing.assert_allclose(model.given[0, 2], 0.3, rtol=1e-6)
    assert forecaster.missing.frames == (2,)


@given(data=st.data(), length=st.integers(1, 6))
def test_a_pixel_is_interpolated_as_by_numpy(data, length):
    """Also at the ends, where the nearest value is repeated; a pixel without any value is 0."""
    values = st.floats(-100, 100, width=32) | st.just(np.nan)
    frames = data.draw(hnp.arrays(np.float32, (1, length, 2, 2, 1), elements=values))
    filled, missing = fill(frames)
    for pixel, result in zip(frames.reshape(length, 4).T, filled.reshape(length, 4).T, strict=True):
        times = np.flatnonzero(np.isfinite(pixel))
        expected = np.interp(np.arange(length), times, pixel[times]) if len(times) else np.zeros(length)
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-4)
    assert missing.share == pytest.approx(np.isnan(frames).mean())
    assert missing.frames == tuple(np.flatnonzero(np.isnan(frames).all(axis=(0, 2, 3, 4))))
    np.testing.assert_array_equal(missing.never, np.isnan(frames).all(axis=1))


def test_fill_of_whole_frames_is_the_frames():
    frames = np.random.default_rng(0).random((1, 3, 2, 2, 1), np.float32)
    filled, missing = fill(frames)
    assert filled is frames
    assert missing.share == 0
    assert not missing.never.any()


def test_whole_frames_give_no_warning(rain):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Forecaster(Last(), LogRain())(rain, 1)
