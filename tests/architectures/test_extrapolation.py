"""Advection, and the forecast that the motion goes on."""

import re

from convlstm.architectures.extrapolation import Extrapolation, advect
from convlstm.architectures.motion import motion
from convlstm.evaluation.scoring import evaluate
from tests.support.project import PROJECT
from tests.support.rain_cells import SIZE, cells, grid, moving

import hydra
import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

# Advection


def steady(dy, dx, size):
    return mx.broadcast_to(mx.array([dy, dx], mx.float32), (1, *size, 2))


def test_whole_pixels_move_exactly_and_the_border_repeats(rng):
    field = rng.random((1, 6, 7, 2), np.float32)
    moved = np.array(advect(mx.array(field), steady(1, -2, (6, 7)), 3))
    for lead in (1, 2, 3):
        rows = np.clip(np.arange(6) - lead, 0, 5)
        columns = np.clip(np.arange(7) + 2 * lead, 0, 6)
        np.testing.assert_array_equal(moved[:, lead - 1], field[:, rows][:, :, columns])


def test_border_zero_lets_nothing_in(rng):
    field = rng.random((1, 6, 7, 2), np.float32) + 0.1
    flow = steady(1, -2, (6, 7))
    moved, edge = np.array(advect(mx.array(field), flow, 2, border="zero")), np.array(advect(mx.array(field), flow, 2))
    assert (moved[:, 0, :1] == 0).all()
    assert (moved[:, 0, :, 5:] == 0).all()
    assert (moved[:, 1, :2] == 0).all()
    assert (moved[:, 1, :, 3:] == 0).all()
    np.testing.assert_array_equal(moved[:, 0, 1:, :5], edge[:, 0, 1:, :5])
    np.testing.assert_array_equal(moved[:, 1, 2:, :3], edge[:, 1, 2:, :3])


def test_parts_of_a_pixel_are_interpolated_once(rng):
    field = rng.random((1, 5, 9, 1), np.float32)
    moved = np.array(advect(mx.array(field), steady(0, 0.5, (5, 9)), 4))
    np.testing.assert_allclose(moved[:, 0, :, 1:], (field[:, :, 1:] + field[:, :, :-1]) / 2, rtol=1e-6)
    # Two halves of a pixel make a whole one. A forecast from the forecast before would be a mean of three pixels.
    np.testing.assert_array_equal(moved[:, 1, :, 1:], field[:, :, :-1])
    np.testing.assert_array_equal(moved[:, 3, :, 2:], field[:, :, :-2])


def test_paths_follow_the_flow():
    # For u = a x the midpoint rule goes from x to x (1 - a/2) / (1 + a/2). On a straight line bilinear is exact.
    y, x = (axis.astype(np.float32) for axis in grid((21, 31)))
    a, b = 0.2, -0.1
    flow = mx.array(np.stack([a * (y - 10), b * (x - 15)], axis=-1)[None])
    field = mx.array(np.stack([y - 10, x - 15], axis=-1)[None])
    moved = np.array(advect(field, flow, 5))
    for lead in range(1, 6):
        expected = (y - 10) * ((1 - a / 2) / (1 + a / 2)) ** lead
        np.testing.assert_allclose(moved[0, lead - 1, ..., 0], expected, rtol=1e-3, atol=2e-3)
        expected = np.clip((x - 15) * ((1 - b / 2) / (1 + b / 2)) ** lead, -15, 15)
        np.testing.assert_allclose(moved[0, lead - 1, 5:-5, 6:-6, 1], expected[5:-5, 6:-6], rtol=1e-3, atol=2e-3)


def test_a_turning_flow_turns_the_field():
    y, x = grid((65, 65))
    turn = np.pi / 40
    flow = mx.array(np.stack([-turn * (x - 32), turn * (y - 32)], axis=-1)[None].astype(np.float32))
    blob = np.exp(-((y - 32) ** 2 + (x - 48) ** 2) / 30)
    moved = np.array(advect(mx.array(blob[None, ..., None].astype(np.float32)), flow, 20))[0, ..., 0]
    # Twenty frames are a quarter turn, from the right to the top. A straight path would end 9 pixels further.
    np.testing.assert_allclose(moved[19], np.exp(-((y - 16) ** 2 + (x - 32) ** 2) / 30), atol=0.03)


def test_short_forecasts_start_long_ones_and_types_are_kept(rng):
    field, flow = mx.array(rng.random((2, 8, 9, 3), np.float32)), mx.array(rng.normal(0, 1, (2, 8, 9, 2)))
    np.testing.assert_array_equal(advect(field, flow, 5)[:, :2], advect(field, flow, 2))
    half = advect(field.astype(mx.bfloat16), flow, 2)
    assert half.dtype == mx.bfloat16
    np.testing.assert_allclose(half.astype(mx.float32), advect(field, flow, 2), atol=0.01)


# The model


def test_the_forecast_is_what_comes():
    y, x = grid()
    forecast = np.array(Extrapolation()(moving(1.5, -2), 6))
    for lead in range(1, 7):
        truth = cells(y - (3 + lead) * 1.5, x + (3 + lead) * 2)
        error = np.abs(forecast[0, lead - 1, ..., 0] - truth)[16:-16, 16:-16]
        assert error.max() < 0.06
    assert np.abs(np.array(moving(1.5, -2))[0, -1, ..., 0] - truth)[16:-16, 16:-16].max() > 0.5


def test_what_does_not_move_stays_and_nothing_stays_nothing():
    x = mx.repeat(moving(0, 0, 1), 4, axis=1)
    np.testing.assert_array_equal(Extrapolation()(x, 3), np.repeat(x[:, -1:], 3, axis=1))
    np.testing.assert_array_equal(Extrapolation()(x[:, :1], 2), np.repeat(x[:, :1], 2, axis=1))
    assert not mx.any(Extrapolation()(mx.zeros((2, 4, 33, 40, 2)), 3)).item()


def test_the_model_joins_motion_and_advection():
    x = mx.concatenate([moving(3, 2, 6), moving(3, 2, 6, seed=3)], axis=-1)
    for arguments in ({"frames": 3}, {"points": 24}, {"window": 4.0}, {"iterations": 1}):
        forecast = Extrapolation(**arguments)(x, 2)
        np.testing.assert_array_equal(forecast, advect(x[:, -1], motion(x, **arguments), 2))
        assert np.abs(np.array(forecast - Extrapolation()(x, 2))).max() > 1e-4
    zero = Extrapolation(border="zero")(x, 2)
    np.testing.assert_array_equal(zero, advect(x[:, -1], motion(x), 2, border="zero"))
    assert np.abs(np.array(zero - Extrapolation()(x, 2))).max() > 0.01


def test_batch_equals_its_samples():
    x = mx.concatenate([moving(1, -2), moving(-3, 0, seed=5), mx.zeros((1, 4, *SIZE, 1))])
    whole = np.array(Extrapolation()(x, 3))
    for n in range(3):
        np.testing.assert_allclose(Extrapolation()(x[n : n + 1], 3), whole[n : n + 1], atol=1e-4)


def test_compiled_and_evaluated():
    x = moving(1, 2, 7)
    model = Extrapolation()
    assert tree_flatten(model.parameters()) == []
    forecast = mx.compile(lambda x: model(x, 3))(x[:, :4])
    np.testing.assert_allclose(forecast, model(x[:, :4], 3, key=mx.random.key(0)), atol=1e-4)
    result = evaluate({"model": model}, [{"inputs": x[:, :4], "targets": x[:, 4:]}], ssim=False)
    assert result.scores["model"]["mse_per_pixel"]["overall"] < 0.1 * np.square(np.array(x[:, 4:] - x[:, 3:4])).mean()


def test_the_model_from_its_yaml():
    with hydra.initialize_config_dir(str(PROJECT / "configs"), version_base="1.3"):
        config = hydra.compose("train", ["model=extrapolation", "model.border=zero"])
    model = hydra.utils.instantiate(config.model, _convert_="all")
    default = Extrapolation(border="zero")
    names = ("frames", "points", "window", "iterations", "border")
    assert [getattr(model, name) for name in names] == [getattr(default, name) for name in names]


# Errors


def test_bad_border():
    message = "'border' must be one of edge, zero, circular but got 'wrap'."
    with pytest.raises(ValueError, match=re.escape(f"[advect] {message}")):
        advect(mx.zeros((1, 4, 4, 1)), mx.zeros((1, 4, 4, 2)), 1, border="wrap")
    with pytest.raises(ValueError, match=re.escape(f"[Extrapolation] {message}")):
        Extrapolation(border="wrap")


def test_shapes_and_leads_must_fit():
    message = (
        "[advect] expected a field of shape NHWC and a flow of shape NHW2 but got shapes (1, 4, 5, 1) and (4, 5, 2)."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        advect(mx.zeros((1, 4, 5, 1)), mx.zeros((4, 5, 2)), 1)
    with pytest.raises(ValueError, match=re.escape("[advect] 'leads' must be at least 1 but got 0.")):
        advect(mx.zeros((1, 4, 5, 1)), mx.zeros((1, 4, 5, 2)), 0)
    with pytest.raises(ValueError, match=re.escape("[Extrapolation] 'horizon' must be at least 1 but got 0.")):
        Extrapolation()(mx.zeros((1, 2, 4, 4, 1)), 0)
    message = "[Extrapolation] expected inputs of shape NTHWC but got shape (2, 4, 4, 1)."
    with pytest.raises(ValueError, match=re.escape(message)):
        Extrapolation()(mx.zeros((2, 4, 4, 1)), 2)
