"""Forecaster: physical frames in, physical frames out."""

from __future__ import annotations

import json

from convlstm.checkpoints import CheckpointError
from convlstm.datasets.transforms import LogRain
from convlstm.forecasting.forecaster import Forecaster
from tests.support.followed_models import Last
from tests.support.forecast_runs import ENCODER, PERSISTENCE, RAIN, write_run

import numpy as np
import pytest


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
