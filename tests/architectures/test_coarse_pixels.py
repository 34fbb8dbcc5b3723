"""Pixels averaged for a model of coarser ones, and its forecasts brought back."""

from __future__ import annotations

from convlstm.architectures.coarse_pixels import CoarsePixels, OnCoarsePixels
from convlstm.architectures.learned_steps import LearnedSTEPS
from convlstm.architectures.members import draws_members
from convlstm.datasets.transforms import Reflectivity

import mlx.core as mx
import numpy as np
import pytest


def rain(*shape, seed=0):
    """Returns smooth rain in mm/h, (..., H, W, 1)."""
    field = np.random.default_rng(seed).gamma(0.5, 4, (*shape, 1)).astype(np.float32)
    for _ in range(3):
        field = (field + np.roll(field, 1, -2) + np.roll(field, 1, -3)) / 3
    return field


@pytest.mark.parametrize(
    ("sides", "factors"),
    [
        ((0.5, 0.5), (4, 4)),
        ((1, 1), (2, 2)),
        ((0.7, 0.7), (3, 3)),
        ((1.5, 1.5), (1, 1)),
        ((1.3, 1.3), (2, 2)),
        ((2, 2), (1, 1)),
        ((4, 4), (1, 1)),
        ((1.11, 0.71), (2, 3)),  # a hundredth of a degree at 50 degrees north
        ((4.4, 2.2), (1, 2)),  # on the way to square blocks
    ],
)
def test_blocks_come_closest_to_the_size_that_is_wanted(sides, factors):
    pixels = CoarsePixels.towards(2.0, *sides)
    assert pixels.factors == factors
    assert pixels.single == (factors == (1, 1))
    assert pixels.side(*sides) == pytest.approx((sides[0] * factors[0] * sides[1] * factors[1]) ** 0.5)


def test_means_are_of_known_pixels():
    frame = np.array([[1, 3, 5], [np.nan, 5, np.inf], [2, 4, np.nan]], np.float32)[..., None]
    means = CoarsePixels(2, 2).averaged(frame)[..., 0]
    np.testing.assert_array_equal(means, [[3, 5], [3, np.nan]])
    assert CoarsePixels().averaged(frame) is frame
    assert CoarsePixels().restored(frame, (3, 3)) is frame


def test_a_row_by_hand():
    # Shares of the neighbours in the mean of a block are 1/8, at the border 0: c + (c - A U c) and then 3/4 and 1/4.
    c = np.array([4, 8, 4], np.float32)
    changed = [4 + 4 - 4.5, 8 + 8 - 7, 4 + 4 - 4.5]
    row = [
        changed[0],
        *(0.75 * changed[a] + 0.25 * changed[b] for a, b in ((0, 1), (1, 0), (1, 2), (2, 1))),
        changed[2],
    ]
    restored = CoarsePixels(1, 2).restored(c[None, :, None], (1, 6))
    np.testing.assert_allclose(restored[0, :, 0], row, rtol=1e-6)


@pytest.mark.parametrize(
    ("factors", "size"), [((2, 2), (40, 48)), ((4, 3), (41, 50)), ((2, 1), (7, 1)), ((4, 4), (3, 3))]
)
def test_fields_keep_their_means_and_constants(factors, size):
    pixels = CoarsePixels(*factors)
    means = pixels.averaged(rain(2, *size))
    fields = pixels.restored(means, size)
    assert fields.shape == (2, *size, 1)
    assert fields.dtype == np.float32
    assert fields.min() >= 0
    # Of such rough fields interpolation alone would change 0.35 of the deviations.
    changed = pixels.averaged(fields) - means
    assert np.abs(changed).mean() <= 0.2 * np.abs(means - means.mean()).mean() + 1e-6
    assert fields.mean() == pytest.approx(means.mean(), rel=0.02)
    np.testing.assert_allclose(pixels.restored(np.full_like(means, 3), size), 3, rtol=1e-6)


def test_unknown_means_do_not_count():
    pixels, size = CoarsePixels(2, 2), (24, 20)
    frames = np.full((1, *size, 1), 3, np.float32)
    frames[:, :9] = np.nan
    fields = pixels.restored(pixels.averaged(frames), size)
    np.testing.assert_allclose(fields[:, 9:], 3, rtol=1e-6)
    assert np.isnan(fields[:, :7]).all()


def test_other_blocks_are_refused():
    with pytest.raises(ValueError, match=r"\[CoarsePixels\] frames of 8x8 have 4x4 blocks but got 3x4"):
        CoarsePixels(2, 2).restored(np.zeros((3, 4, 1)), (8, 8))
    with pytest.raises(ValueError, match="'height_km' must be"):
        CoarsePixels.towards(2, 0, 1)


def test_a_model_runs_on_means():
    mx.random.seed(0)
    model, scale, pixels = LearnedSTEPS(3, hidden_channels=[4], levels=4), Reflectivity(), CoarsePixels(2, 2)
    model.eval()
    finer = OnCoarsePixels(model, scale, pixels)
    assert draws_members(finer)
    assert finer.size == 3
    frames = rain(1, 3, 30, 50)
    frames[frames < 0.5] = 0
    y = scale.forward(frames)
    members = np.array(finer(mx.array(y), 2))
    assert members.shape == (3, 1, 2, 30, 50, 1)
    np.testing.assert_allclose(np.array(finer.mean(mx.array(y), 2)), members.mean(axis=0), atol=1e-6)
    slower = np.array(finer(mx.array(y), 2, minutes=mx.array([10.0])))
    assert np.abs(slower - members).mean() > 1e-3
    # 15 x 25 blocks are padded to a multiple of four.
    means = np.pad(pixels.averaged(scale.inverse(y)), [(0, 0), (0, 0), (0, 1), (0, 3), (0, 0)], mode="edge")
    coarse = scale.inverse(np.array(model(mx.array(scale.forward(means)), 2)))[:, :, :, :15, :25]
    np.testing.assert_allclose(
        scale.inverse(members), np.minimum(pixels.restored(coarse, (30, 50)), 516.677), rtol=1e-3, atol=0.02
    )
