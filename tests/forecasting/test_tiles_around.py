"""Forecasts of fields whose columns go round: padding and tiles go on over the seam."""

from __future__ import annotations

from convlstm import EncoderForecaster
from convlstm.architectures.advection_residual import AdvectionResidual
from convlstm.architectures.baselines import Persistence
from convlstm.architectures.convlstm_stack import ConvLSTMStack
from convlstm.architectures.extrapolation import Extrapolation
from convlstm.architectures.frame_mover import FrameMover
from convlstm.architectures.perturbation import Perturbation
from convlstm.forecasting.ensemble import EnsembleForecaster
from convlstm.forecasting.forecaster import Forecaster
from convlstm.forecasting.tiles import folded, tiles, unrolled
from tests.support.followed_models import Drift, Last

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st


def ring(height=64, width=90, frames=4):
    """Returns smooth frames in [0, 1] that go round and move to the east, (T, H, W)."""
    rng = np.random.default_rng(0)
    t, y, x = np.arange(frames)[:, None, None], np.arange(height)[:, None] / height, np.arange(width) / width
    values = sum(
        rng.random() * np.sin(2 * np.pi * (k * (x - 0.01 * t) + j * y + rng.random()))
        for k in (1, 2, 5)
        for j in (0, 1)
    )
    return ((values - values.min()) / np.ptp(values)).astype(np.float32)


class Around(Last):
    """A model that forecasts the last frame, whose columns go round."""

    circular = True


class DriftInEights(Drift):
    """A model that moves the last frame round the earth and takes multiples of 8 columns only."""

    circular = True

    def check_input(self, inputs, horizon):
        if inputs.shape[3] % 8:
            raise ValueError("no such columns")


def rolled_alike(forecaster, frames, columns, tolerance):
    """Checks that a roll of the frames is a roll of the forecast, which is returned."""
    forecast = forecaster(frames, 3)
    rolled = forecaster(np.roll(frames, columns, 2), 3)
    np.testing.assert_allclose(rolled, np.roll(forecast, columns, 2), atol=tolerance)
    return forecast


@given(
    st.integers(4, 40),
    st.integers(4, 64),
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(0, 20),
    st.integers(1, 5),
)
def test_tiles_cover_a_ring(height, width, tall, wide, overlap, multiple):
    tile = (min(-(-tall // multiple) * multiple, height), -(-wide // multiple) * multiple)
    overlap = min(overlap, min(tile) // 2)
    y = np.arange(height * width, dtype=np.float32).reshape(1, 1, height, width, 1)
    wider = unrolled(y, tile, overlap, multiple)
    total, weight = np.zeros(wider.shape), np.zeros(wider.shape)
    for rows, columns, w in tiles((height, width), tile, overlap, multiple, circular=True):
        assert columns.stop - columns.start == tile[1]
        total[:, :, rows, columns] += wider[:, :, rows, columns] * w[..., None]
        weight[:, :, rows, columns] += w[..., None]
    np.testing.assert_allclose(folded(total, width, 3) / folded(weight, width, 3), y, rtol=1e-6)


def test_columns_of_a_number_that_the_model_takes_stay_as_they_are():
    model = Around(multiple=2)
    Forecaster(model)(ring(height=63), 2)
    assert model.shapes == [(1, 4, 64, 90, 1)]
    np.testing.assert_array_equal(model.given[0, -1, 63, :, 0], ring(height=63)[-1, 62])


def test_other_numbers_of_columns_go_on_over_the_seam():
    model = Around(multiple=8)
    forecast = Forecaster(model)(ring(), 2)
    # A tile from the first column on, round the earth and as far again as tiles overlap, 90 + 32 columns.
    assert model.shapes == [(1, 4, 64, 128, 1)]
    np.testing.assert_array_equal(model.given[0, ..., 0], ring().take(np.arange(128) % 90, 2))
    np.testing.assert_allclose(forecast[1], ring()[-1], atol=1e-6)


def test_what_leaves_over_the_seam_comes_in_on_the_other_side():
    frames = ring()
    expected = np.array(Drift()(mx.array(frames[None, ..., None]), 5))[0, ..., 0]
    for options in ({}, {"tile": 64, "overlap": 32}):
        np.testing.assert_allclose(Forecaster(DriftInEights(), **options)(frames, 5), expected, atol=1e-5)


@pytest.mark.parametrize("size", [(12, 16), (64, 100)])
def test_a_model_of_one_size_gets_tiles_round_the_earth(size):
    model = Around(size=size)
    forecast = Forecaster(model, grid=size)(ring(), 1)
    assert {shape[2:4] for shape in model.shapes} == {size}
    np.testing.assert_allclose(forecast[0], ring()[-1], atol=1e-6)


@pytest.mark.parametrize("kind", [EncoderForecaster, ConvLSTMStack, FrameMover, AdvectionResidual])
def test_tiled_and_padded_forecasts_have_no_seam(kind):
    options = {"hidden_channels": (4,), "kernel_size": 3, "patch_size": 4, "padding": "circular"}
    mx.random.seed(0)
    model = kind(**options | ({"points": 64, "matches": False} if kind is AdvectionResidual else {}))
    if kind is AdvectionResidual:
        model.output.weight = 0.1 * mx.random.normal(model.output.weight.shape)
    frames = ring(width=96)
    whole = rolled_alike(Forecaster(model), frames, 12, 1e-4)
    tiled = rolled_alike(Forecaster(model, tile=64, overlap=32), frames, 32, 2e-3)
    np.testing.assert_allclose(tiled, whole, atol=2e-3)


def test_the_forecast_at_the_seam_is_as_good_as_elsewhere():
    mx.random.seed(0)
    options = {"hidden_channels": (4,), "kernel_size": 3, "patch_size": 4}
    around, zeros = EncoderForecaster(**options, padding="circular"), EncoderForecaster(**options)
    zeros.update(around.parameters())
    frames = ring(width=96)
    # The reference is a wider frame, in which the seam is far from the border.
    wide = Forecaster(zeros)(np.concatenate([frames] * 3, axis=2), 3)[:, :, 96 : 2 * 96]
    for options in ({}, {"tile": 64, "overlap": 32}):
        np.testing.assert_allclose(Forecaster(around, **options)(frames, 3), wide, atol=2e-3)
        assert np.abs(Forecaster(zeros, **options)(frames, 3) - wide)[:, :, -4:].max() > 1e-2


def test_members_move_round_the_earth():
    frames = ring(width=96)
    perturbation = Perturbation(motion=5.0, field=0.0)
    moved, plain = (
        perturbation(frames[None, ..., None], 1, circular=circular)[0, ..., 0] for circular in (True, False)
    )
    np.testing.assert_array_equal(moved[:, :, 40:56], plain[:, :, 40:56])
    step = np.abs(np.diff(moved, axis=2)).max()
    assert np.abs(moved[:, :, 0] - moved[:, :, -1]).max() <= step
    assert np.abs(plain[:, :, 0] - plain[:, :, -1]).max() > 2 * step

    forecasts = []
    for border in ("edge", "circular"):
        forecaster = Forecaster(Extrapolation(border=border))
        ensemble = EnsembleForecaster([forecaster], perturbed=2, perturbation=perturbation)
        forecasts.append(np.array(list(ensemble.members(frames, 1))))
    seam = np.abs(forecasts[1][..., 0] - forecasts[1][..., -1]).max()
    assert seam <= 2 * np.abs(np.diff(forecasts[1], axis=-1)).max()
    assert np.abs(forecasts[0] - forecasts[1]).max() > 1e-2
    assert len(list(EnsembleForecaster([Forecaster(Persistence())], perturbed=2).members(frames, 1))) == 2
