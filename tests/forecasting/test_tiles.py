"""Grids that a model does not accept are padded, and large frames are forecast in tiles."""

from __future__ import annotations

from convlstm import EncoderForecaster
from convlstm.architectures.advection_residual import AdvectionResidual
from convlstm.datasets.transforms import LogRain
from convlstm.forecasting.forecaster import Forecaster
from convlstm.forecasting.tiles import accepted, ramp, tiles
from tests.support.followed_models import Drift, Last

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st


def test_a_grid_that_the_model_does_not_take_is_padded_and_cropped(rain):
    model = Last(multiple=8)
    forecast = Forecaster(model, LogRain())(rain, 2)
    assert model.shapes == [(1, 6, 24, 24, 1)]
    np.testing.assert_allclose(forecast[0], rain[-1], rtol=1e-5)
    # The padding repeats the border.
    np.testing.assert_array_equal(model.given[0, -1, 17:, :23, 0], np.repeat(model.given[0, -1, 16:17, :23, 0], 7, 0))


def test_a_model_of_one_size_is_given_tiles_of_that_size(rain):
    model = Last(size=(12, 16))
    forecast = Forecaster(model, LogRain(), grid=(12, 16))(rain, 2)
    assert {shape[2:4] for shape in model.shapes} == {(12, 16)}
    np.testing.assert_allclose(forecast[1], rain[-1], rtol=1e-5)
    small = Last(size=(64, 64))
    forecast = Forecaster(small, LogRain(), grid=(64, 64))(rain, 1)
    assert small.shapes == [(1, 6, 64, 64, 1)]
    np.testing.assert_allclose(forecast[0], rain[-1], rtol=1e-5)
    assert (small.given[0, :, 17:] == 0).all()


def test_a_model_that_takes_no_such_frames_says_why(rain):
    with pytest.raises(ValueError, match="no frames of 17x23"):
        Forecaster(Last(size=(12, 16)), LogRain())(rain, 1)


def test_a_tiled_forecast_is_the_whole_one_without_a_seam(rng):
    frames = rng.random((2, 96, 128)).astype(np.float32)
    whole = Forecaster(Drift())(frames, 4)
    tiled = Forecaster(Drift(), tile=48, overlap=24)(frames, 4)
    # Without the borders, where the rolls of the whole frame come in from the other side.
    inner = (slice(None), slice(8, -8), slice(8, -8))
    np.testing.assert_allclose(tiled[inner], whole[inner], atol=1e-6)
    # With too little overlap it is not.
    poor = Forecaster(Drift(), tile=48, overlap=0)(frames, 4)
    assert np.abs(poor[inner] - whole[inner]).max() > 1e-2


@pytest.mark.parametrize(("tile", "overlap"), [(30, 14), (48, 19), (50, 24)])
def test_tiles_lie_on_the_patches_of_a_frame_that_the_model_takes_as_it_is(rng, tile, overlap):
    mx.random.seed(0)
    model = EncoderForecaster(in_channels=1, hidden_channels=(4,), kernel_size=3, patch_size=4)
    frames = rng.random((2, 96, 96)).astype(np.float32)
    whole = Forecaster(model)(frames, 2)
    np.testing.assert_allclose(Forecaster(model, tile=tile, overlap=overlap)(frames, 2), whole, atol=5e-3)


def test_an_encoder_forecaster_in_tiles_is_the_whole_to_a_thousandth(rng):
    mx.random.seed(0)
    model = EncoderForecaster(in_channels=1, hidden_channels=(8,), kernel_size=3, patch_size=4)
    frames = rng.random((3, 96, 96)).astype(np.float32)
    whole = Forecaster(model)(frames, 3)
    tiled = Forecaster(model, tile=64, overlap=32)(frames, 3)
    assert whole.std() > 1e-3
    difference = np.abs(tiled - whole)
    assert 0 < difference.max() < 1e-3


def test_large_frames_are_tiled_and_small_ones_are_not(monkeypatch):
    import convlstm.forecasting.forecaster as module

    monkeypatch.setattr(module, "LARGEST", 64 * 64)
    monkeypatch.setattr(module, "TILE", 32)
    monkeypatch.setattr(module, "OVERLAP", 8)
    for side, weight, shapes in ((64, True, {(64, 64)}), (72, True, {(32, 32)}), (72, False, {(72, 72)})):
        model = Last()
        if weight:
            model.weight = mx.zeros(1)
        Forecaster(model)(np.zeros((1, side, side)), 1)
        assert {shape[2:4] for shape in model.shapes} == shapes


def test_an_advection_moves_in_the_whole_frame_and_is_corrected_in_tiles(rng):
    mx.random.seed(1)
    model = AdvectionResidual(hidden_channels=(4,), points=32, matches=False)
    model.output.weight = mx.random.normal(model.output.weight.shape) * 0.05
    model.eval()
    fields = np.zeros((4, 96, 96), np.float32)
    for t in range(4):
        fields[t, 20 + 3 * t : 50 + 3 * t, 25 + 2 * t : 60 + 2 * t] = 0.6
    fields = fields + rng.random(fields.shape).astype(np.float32) * 0.1
    whole = Forecaster(model)(fields, 3)
    tiled = Forecaster(model, tile=64, overlap=32)(fields, 3)
    np.testing.assert_allclose(tiled, whole, atol=1e-3)
    assert np.abs(whole - fields[-1]).max() > 0.1


@given(data=st.data(), multiple=st.integers(1, 8))
def test_tiles_cover_a_frame_and_start_at_multiples(data, multiple):
    size, tile = [], []
    for _ in "hw":
        side = data.draw(st.integers(-(-8 // multiple), 40))
        size.append(multiple * data.draw(st.integers(side, 60)))
        tile.append(multiple * side)
    overlap = data.draw(st.integers(0, min(tile) // 2))
    total = np.zeros(size)
    for rows, columns, weights in tiles(tuple(size), tuple(tile), overlap, multiple):
        assert rows.start % multiple == columns.start % multiple == 0
        assert weights.shape == total[rows, columns].shape == tuple(tile)
        total[rows, columns] += weights
    assert total.min() > 0.2


def test_a_ramp_falls_where_there_is_a_neighbour():
    both = ramp(30, 9, True, True)
    np.testing.assert_array_equal(both, both[::-1])
    np.testing.assert_array_equal(both[:3], 0)
    assert both[15] == 1
    np.testing.assert_array_equal(ramp(30, 9, False, True)[:15], 1)
    np.testing.assert_allclose(ramp(30, 9, True, False)[:9] + ramp(30, 9, False, True)[-9:], 1, atol=1e-6)
    np.testing.assert_array_equal(ramp(30, 0, True, True), 1)


def test_the_accepted_size_is_the_smallest():
    assert accepted((17, 23), lambda size: size[0] % 8 == 0 and size[1] % 8 == 0) == ((24, 24), 8)
    assert accepted((17, 23), lambda size: True) == ((17, 23), 1)
    assert accepted((17, 23), lambda size: False, most=9) is None
