"""Forecaster: physical frames in, physical frames out; gaps, grids and tiles."""

import json
import re
import warnings
from itertools import pairwise

from convlstm import EncoderForecaster
from convlstm.architectures.advection_residual import AdvectionResidual
from convlstm.checkpoints import CheckpointError
from convlstm.datasets.transforms import LogRain
from convlstm.forecasting.forecaster import Forecaster
from convlstm.forecasting.gaps import fill
from convlstm.forecasting.tiles import accepted, ramp, starts, tiles
from tests.support.forecast_runs import ENCODER, PERSISTENCE, RAIN, write_run

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest


class Last(nn.Module):
    """A model that repeats the last frame, and keeps its inputs and their shapes."""

    def __init__(self, multiple=1, size=None):
        super().__init__()
        self.multiple, self.size, self.shapes = multiple, size, []
        self.given = None

    def check_input(self, inputs, horizon):
        size = inputs.shape[2:4]
        if size[0] % self.multiple or size[1] % self.multiple or (self.size and size != self.size):
            raise ValueError(f"no frames of {size[0]}x{size[1]}")

    def __call__(self, inputs, horizon):
        self.check_input(inputs, horizon)
        self.shapes.append(inputs.shape)
        self.given = np.array(inputs)
        return mx.repeat(inputs[:, -1:], horizon, axis=1)


class Drift(nn.Module):
    """A model that blurs and moves the last frame a little more with each lead time."""

    def __call__(self, inputs, horizon):
        frames, x = [], inputs[:, -1]
        for _ in range(horizon):
            x = (mx.roll(x, 1, axis=1) + x + mx.roll(x, 2, axis=2)) / 3
            frames.append(x)
        return mx.stack(frames, axis=1)


@pytest.fixture
def rain(rng):
    """Returns six frames of 17x23 in mm/h within the range of LogRain()."""
    return rng.uniform(0.2, 50, (6, 17, 23)).astype(np.float32)


def test_frames_come_back_in_physical_units(rain):
    scale, model = LogRain(), Last()
    forecast = Forecaster(model, scale)(rain, 4)
    assert forecast.shape == (4, 17, 23)
    assert forecast.dtype == np.float32
    np.testing.assert_allclose(forecast, np.repeat(rain[-1:], 4, 0), rtol=1e-5)
    np.testing.assert_allclose(model.given[0, ..., 0], scale.forward(rain), rtol=1e-6)


def test_shapes_with_channels_and_batches_are_kept(rain):
    forecaster = Forecaster(Last(), LogRain())
    assert forecaster(rain[..., None], 2).shape == (2, 17, 23, 1)
    batch = np.stack([rain, rain[::-1]])[..., None]
    forecast = forecaster(batch, 2)
    assert forecast.shape == (2, 2, 17, 23, 1)
    np.testing.assert_allclose(forecast[1], forecaster(batch[1], 2))


def test_horizon_is_that_of_the_call_or_of_the_forecaster(rain):
    assert len(Forecaster(Last(), LogRain())(rain)) == 10
    assert len(Forecaster(Last(), LogRain(), horizon=3)(rain)) == 3
    assert len(Forecaster(Last(), LogRain(), horizon=3)(rain, 25)) == 25


def test_the_last_input_frames_count(rain):
    model = Last()
    Forecaster(model, LogRain(), input_frames=2)(rain, 1)
    np.testing.assert_allclose(model.given[0, ..., 0], LogRain().forward(rain[-2:]))


def test_without_a_scale_values_are_in_0_to_1():
    frames = np.array([0.0, 0.25, 1.0], np.float32).reshape(1, 1, 3)
    np.testing.assert_array_equal(Forecaster(Last())(frames, 1), [[[0, 0.25, 1]]])
    for value, text in ((-1, r"reach from -1 to 1"), (60, r"reach from 0.25 to 60")):
        frames[0, 0, 0] = value
        with pytest.raises(ValueError, match=rf"\[Forecaster\] 'frames' must be in \[0, 1\], as .* {text}. Scale them"):
            Forecaster(Last())(frames, 1)


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


def test_fill_of_whole_frames_is_the_frames():
    frames = np.random.default_rng(0).random((1, 3, 2, 2, 1), np.float32)
    filled, missing = fill(frames)
    assert filled is frames
    assert missing.share == 0
    assert not missing.never.any()


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


@pytest.mark.parametrize(("length", "tile", "stride"), [(100, 40, 24), (40, 40, 10), (64, 40, 24), (65, 40, 24)])
def test_tiles_cover_a_side(length, tile, stride):
    at = starts(length, tile, stride)
    assert at[0] == 0
    assert at[-1] == length - tile
    assert all(0 < b - a <= stride for a, b in pairwise(at))


def test_weights_cover_all_and_start_at_multiples():
    total = np.zeros((88, 72))
    for rows, columns, weights in tiles((88, 72), (40, 32), 12, 8):
        assert rows.start % 8 == 0
        assert columns.start % 8 == 0
        assert weights.shape == (40, 32)
        total[rows, columns] += weights
    assert total.min() > 0.3


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


def test_load_brings_the_scale_and_the_lengths_of_training(tmp_path, rain):
    run = write_run(tmp_path / "run")
    forecaster = Forecaster.load(run)
    assert forecaster.scale == LogRain()
    assert (forecaster.input_frames, forecaster.horizon, forecaster.grid) == (3, 4, (40, 48))
    assert (forecaster.units, forecaster.frame_interval, forecaster.pixel_km) == ("mm/h", 5.0, None)
    np.testing.assert_allclose(forecaster(rain), np.repeat(rain[-1:], 4, 0), rtol=1e-5)


def test_the_configuration_decides_the_scale(tmp_path):
    section = {"transform": {"_target_": "convlstm.datasets.transforms.LogRain", "minimum": 0.5, "maximum": 10.0}}
    assert Forecaster.load(write_run(tmp_path / "run", section=section)).scale == LogRain(0.5, 10.0)


def test_a_checkpoint_of_data_in_0_to_1_has_no_scale(tmp_path):
    run = write_run(tmp_path / "run", trained={"name": "moving_mnist", "input_frames": 2, "target_frames": 5})
    forecaster = Forecaster.load(run)
    assert (forecaster.units, forecaster.input_frames, forecaster.horizon) == ("", 2, 5)
    frames = np.random.default_rng(0).random((2, 4, 4), np.float32)
    np.testing.assert_array_equal(forecaster(frames, 1)[0], frames[-1])


def test_load_takes_options_and_another_scale(tmp_path):
    run = write_run(tmp_path / "run", ENCODER)
    scale = LogRain(1, 2)
    forecaster = Forecaster.load(run, scale=scale, tile=16, overlap=4, input_frames=2, horizon=9)
    assert forecaster.scale is scale
    assert (forecaster.tile, forecaster.overlap, forecaster.input_frames, forecaster.horizon) == (16, 4, 2, 9)


def test_a_stranger_s_scale_runs_no_code(tmp_path):
    section = {"transform": {"_target_": "os.system", "command": f"touch {tmp_path}/ran"}}
    run = write_run(tmp_path / "run", section=section)
    with pytest.raises(ValueError, match=r"'_target_: os.system' is outside the trusted packages"):
        Forecaster.load(run)
    assert not (tmp_path / "ran").exists()


def test_a_scale_that_cannot_be_built_asks_for_one(tmp_path):
    run = write_run(tmp_path / "run", trained={**RAIN, "transform": {"name": "Cube", "side": 3}})
    with pytest.raises(ValueError, match=r"\[Forecaster\] the scale of the checkpoint's data cannot be built .*scale="):
        Forecaster.load(run)
    assert Forecaster.load(run, scale=LogRain()).scale == LogRain()


def test_load_without_a_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="nothing"):
        Forecaster.load(tmp_path / "nothing")


def test_provenance_names_checkpoint_step_commit_and_configuration(tmp_path):
    run = write_run(tmp_path / "run")
    (run / "run.json").write_text(json.dumps({"starts": [{"code": {"commit": "abc123", "changed": False}}]}))
    provenance = Forecaster.load(run).provenance()
    assert provenance["checkpoint"] == str(run / "checkpoints" / "best")
    assert (provenance["step"], provenance["commit"], provenance["model"]) == (7, "abc123", "Persistence")
    assert provenance["config"]["model"] == PERSISTENCE
    assert provenance["data"]["units"] == "mm/h"
    assert json.dumps(provenance)


@pytest.mark.parametrize("text", ["", "{", '{"starts": []}', '{"starts": [{"code": null}]}'])
def test_a_damaged_record_of_a_run_is_ignored(tmp_path, text):
    run = write_run(tmp_path / "run")
    (run / "run.json").write_text(text)
    assert Forecaster.load(run).provenance()["commit"] is None


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"tile": 4}, r"\[Forecaster\] 'tile' must be a whole number of at least 8 but got 4"),
        ({"overlap": -1}, r"\[Forecaster\] 'overlap' must be a whole number of at least 0 but got -1"),
        ({"tile": 16, "overlap": 9}, r"\[Forecaster\] 'overlap' must be at most half of 'tile' \(16\) but got 9"),
        ({"input_frames": 0}, r"\[Forecaster\] 'input_frames' must be a whole number of at least 1 but got 0"),
        ({"horizon": 0}, r"\[Forecaster\] 'horizon' must be a whole number of at least 1 but got 0"),
        ({"scale": "LogRain"}, r"\[Forecaster\] 'scale' must have forward and inverse but got str"),
    ],
)
def test_arguments_that_do_not_fit(arguments, text):
    with pytest.raises(ValueError, match=text):
        Forecaster(Last(), **arguments)


@pytest.mark.parametrize(
    ("frames", "text"),
    [
        (
            np.zeros((4, 4)),
            r"\[Forecaster\] 'frames' must be numbers of shape \(T, H, W\).* but got float64 of \(4, 4\)",
        ),
        (np.zeros((2, 4, 4)), r"\[Forecaster\] 'frames' must be 3 or more, as in training, but got 2"),
        (np.full((3, 4, 4), np.nan), r"\[Forecaster\] 'frames' must have values but got none"),
        (np.full((3, 4, 4), "a"), r"\[Forecaster\] 'frames' must be numbers"),
    ],
)
def test_frames_that_do_not_fit(frames, text):
    with pytest.raises(ValueError, match=text):
        Forecaster(Last(), input_frames=3)(frames, 1)


def test_a_horizon_below_one_is_refused(rain):
    with pytest.raises(ValueError, match=r"\[Forecaster\] 'horizon' must be a whole number of at least 1 but got 0"):
        Forecaster(Last(), LogRain())(rain, 0)


def test_whole_frames_give_no_warning(rain):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Forecaster(Last(), LogRain())(rain, 1)
