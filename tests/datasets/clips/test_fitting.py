"""Frames brought to grey or colour, and to a size."""

from convlstm.datasets.clips.fitting import box_of, coloured, fitted

import numpy as np
import pytest


def test_grey_is_the_weighted_mean_of_the_colours(rng):
    frames = rng.integers(0, 256, (2, 4, 5, 3), np.uint8)
    grey = coloured(frames, 1)
    assert grey.dtype == np.uint8
    np.testing.assert_array_equal(grey[..., 0], np.rint(frames @ np.array([0.299, 0.587, 0.114], np.float32)))
    unit = coloured(frames.astype(np.float32) / 255, 1)
    np.testing.assert_allclose(unit, grey / 255, atol=0.5 / 255 + 1e-6)
    assert coloured(frames, 3) is frames
    np.testing.assert_array_equal(coloured(grey, 3), np.repeat(grey, 3, -1))


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_smaller_pixel_is_the_mean_of_its_area(rng, kind, channels):
    frames = (rng.random((2, 8, 12, channels)) * (255 if kind is np.uint8 else 1)).astype(kind)
    small = fitted(frames, (4, 6), "stretch")
    expected = frames.reshape(2, 4, 2, 6, 2, channels).mean((2, 4))
    assert small.dtype == kind
    np.testing.assert_allclose(small, expected, atol=1.01 if kind is np.uint8 else 1e-6)


def test_crop_keeps_the_shape_and_the_middle():
    frames = np.zeros((1, 8, 16, 1), np.uint8)
    frames[:, :, 4:12] = 200
    np.testing.assert_array_equal(fitted(frames, (4, 4), "crop"), 200)
    assert fitted(frames, (4, 4), "stretch").mean() == 100
    assert box_of((8, 16), (4, 4), "crop") == (4, 0, 12, 8)
    assert box_of((16, 8), (4, 4), "crop") == (0, 4, 8, 12)


def test_cut_takes_the_middle_as_it_is(rng):
    frames = rng.integers(0, 256, (2, 9, 12, 3), np.uint8)
    np.testing.assert_array_equal(fitted(frames, (8, 8), "cut"), frames[:, 0:8, 2:10])
    with pytest.raises(ValueError, match=r"frames of 9x12 cannot be cut to 10x8"):
        fitted(frames, (10, 8), "cut")


def test_larger_frames_are_interpolated():
    frames = np.zeros((1, 2, 2, 1), np.float32)
    frames[0, :, 1] = 1
    large = fitted(frames, (2, 8), "stretch")[0, 0, :, 0]
    assert (np.diff(large) >= 0).all()
    assert len(set(large.tolist())) > 2
    assert fitted(frames, (2, 2), "crop") is frames
