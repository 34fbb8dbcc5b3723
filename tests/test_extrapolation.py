"""Motion, advection, and the model of both."""

import re

from convlstm.evaluation import evaluate
from convlstm.extrapolation import Extrapolation, advect, motion

import hydra
import mlx.core as mx
import numpy as np
import pytest
from conftest import PROJECT
from mlx.utils import tree_flatten

SIZE = (96, 128)


def grid(size=SIZE):
    return np.meshgrid(*(np.arange(n, dtype=np.float64) for n in size), indexing="ij")


def cells(y, x, seed=0, number=60, width=(4, 9)):
    """A smooth field of many rain cells at the places (y, x), those far outside the frame included."""
    rng = np.random.default_rng(seed)
    field = np.zeros(np.broadcast_shapes(y.shape, x.shape))
    for cy, cx, s, a in zip(
        rng.uniform(-60, SIZE[0] + 60, number),
        rng.uniform(-60, SIZE[1] + 60, number),
        rng.uniform(*width, number),
        rng.uniform(0.2, 1, number),
        strict=True,
    ):
        field += a * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * s**2))
    return field


def moving(dy, dx, frames=4, **arguments):
    """(1, T, H, W, 1): the field moved on by (dy, dx) from frame to frame."""
    y, x = grid()
    return mx.array(np.stack([cells(y - t * dy, x - t * dx, **arguments) for t in range(frames)])[None, ..., None])


def inner(flow, margin=16):
    return np.array(flow)[:, margin:-margin, margin:-margin]


# Motion


@pytest.mark.parametrize(
    "shift", [(0.4, -0.3), (1, 0), (0, -2.5), (-4, 3), (7.5, 0), (0, 12), (-12, 0), (8, -9)], ids=str
)
def test_translation_is_found_to_a_tenth_of_a_pixel(shift):
    flow = motion(moving(*shift))
    assert flow.shape == (1, *SIZE, 2)
    assert flow.dtype == mx.float32
    np.testing.assert_allclose(inner(flow), np.broadcast_to(shift, inner(flow).shape), atol=0.1)


@pytest.mark.parametrize("frames", [2, 3, 7])
def test_any_number_of_frames_shows_motion(frames):
    flow = inner(motion(moving(1.5, -2, frames)))
    np.testing.assert_allclose(flow, np.broadcast_to((1.5, -2), flow.shape), atol=0.1)


def test_rotation_is_found():
    y, x = grid()
    cy, cx, turn = 47.5, 63.5, 0.05
    frames = []
    for t in range(4):
        c, s = np.cos(turn * t), np.sin(turn * t)
        frames.append(
            cells(cy + c * (y - cy) + s * (x - cx), cx - s * (y - cy) + c * (x - cx), number=1500, width=(2, 3))
        )
    flow = inner(motion(mx.array(np.stack(frames)[None, ..., None])))
    # What is at x was at x - u: the chord of the turn, not its tangent.
    expected = np.stack(
        [
            (1 - np.cos(turn)) * (y - cy) - np.sin(turn) * (x - cx),
            np.sin(turn) * (y - cy) + (1 - np.cos(turn)) * (x - cx),
        ],
        axis=-1,
    )
    error = flow - inner(expected[None])
    # Up to 4 pixels a frame; within a window motion is taken as one.
    assert np.sqrt((error**2).sum(-1).mean()) < 0.15
    assert np.abs(error).max() < 0.6


def test_without_change_there_is_no_motion():
    frame = moving(0, 0, 1)
    assert not mx.any(motion(mx.repeat(frame, 4, axis=1))).item()
    assert not mx.any(motion(frame)).item()


@pytest.mark.parametrize("value", [0.0, 0.7])
def test_without_texture_there_is_no_motion(value):
    flow = motion(mx.full((2, 3, 40, 70, 1), value))
    np.testing.assert_allclose(flow, np.zeros((2, 40, 70, 2)), atol=1e-3)


def test_where_there_is_no_rain_motion_continues_that_of_the_rain():
    y, x = grid()
    frames = [np.exp(-((y - 20 - 2 * t) ** 2 + (x - 30 - 3 * t) ** 2) / 50) for t in range(4)]
    flow = np.array(motion(mx.array(np.stack(frames)[None, ..., None])))
    np.testing.assert_allclose(flow, np.broadcast_to((2, 3), flow.shape), atol=0.3)


def test_where_motions_meet_each_side_keeps_its_own():
    y, x = grid()
    left, right = cells(y, x, number=120), cells(y, x, seed=1, number=120)
    frames = []
    for t in range(4):
        left, right = cells(y - 2 * t, x, number=120), cells(y + 2 * t, x, seed=1, number=120)
        frames.append(np.where(x < 64, left, right))
    flow = np.array(motion(mx.array(np.stack(frames)[None, ..., None])))[0, 16:-16]
    np.testing.assert_allclose(flow[:, 16:40].mean(axis=(0, 1)), (2, 0), atol=0.1)
    np.testing.assert_allclose(flow[:, 88:112].mean(axis=(0, 1)), (-2, 0), atol=0.1)


@pytest.mark.parametrize("size", [(1, 1), (1, 20), (33, 2), (31, 67), (70, 41)], ids=str)
def test_any_size_of_frame(size, rng):
    x = mx.array(rng.random((2, 3, *size, 1), np.float32))
    flow = motion(x, points=16)
    assert flow.shape == (2, *size, 2)
    assert mx.isfinite(flow).all().item()
    forecast = Extrapolation()(x, 3)
    assert forecast.shape == (2, 3, *size, 1)
    assert (mx.isfinite(forecast) & (forecast >= 0) & (forecast <= 1)).all().item()


def test_a_wet_pixel_that_comes_and_goes_makes_no_nan():
    x = np.zeros((1, 5, 40, 40, 1), np.float32)
    x[0, 1, 3, 4] = x[0, 4, 30, 36] = 1
    assert mx.isfinite(motion(mx.array(x))).all().item()


def test_nan_counts_as_dry():
    x = np.array(moving(1, 2))
    x[..., 10:30, 40:60, :] = 0
    dry = motion(mx.array(x))
    x[..., 10:30, 40:60, :] = np.nan
    np.testing.assert_array_equal(motion(mx.array(x)), dry)


def test_channels_share_the_motion_of_their_mean(rng):
    x = np.array(moving(2, -1))
    noise = rng.normal(0, 0.3, x.shape).astype(np.float32)
    both = mx.array(np.concatenate([x + noise, x - noise], axis=-1))
    np.testing.assert_allclose(motion(both), motion(mx.array(x)), atol=1e-3)


def test_frames_says_how_many_are_looked_at():
    new, old = np.array(moving(1, 2, 3)), np.array(moving(-3, 0, 3, seed=2))
    x = mx.array(np.concatenate([old, new], axis=1))
    np.testing.assert_array_equal(motion(x, frames=3), motion(mx.array(new)))
    assert np.abs(np.array(motion(x, frames=4) - motion(x, frames=3))).max() > 0.01
    np.testing.assert_array_equal(motion(moving(1, 2, 7)), motion(moving(1, 2, 7)[:, 2:]))


def test_points_limit_the_detail_of_the_motion():
    x = moving(1.3, -0.7, number=400, width=(1, 2))
    fine, coarse = (np.abs(inner(motion(x, points=points)) - (1.3, -0.7)).max() for points in (96, 12))
    assert fine < 0.1 < coarse
    # 96 rows are 96 points already.
    np.testing.assert_array_equal(motion(x), motion(x, points=96))


def test_a_wider_window_is_smoother(rng):
    x = np.array(moving(2, -1)) + rng.normal(0, 0.05, (1, 4, *SIZE, 1)).astype(np.float32)
    spread = [inner(motion(mx.array(x), window=window)).std(axis=(1, 2)).max() for window in (1, 2, 6)]
    assert spread[0] > 1.5 * spread[1] > 2 * spread[2]
    np.testing.assert_array_equal(motion(mx.array(x)), motion(mx.array(x), window=2.0))


def test_iterations_come_nearer():
    x = moving(9, -8)
    once, thrice = (np.abs(inner(motion(x, iterations=n)) - (9, -8)).mean() for n in (1, 3))
    assert once > 3 * thrice
    np.testing.assert_array_equal(motion(x), motion(x, iterations=3))


def test_no_gradient_flows_through_the_motion():
    gradient = mx.grad(lambda x: motion(x).sum())(moving(1, 1))
    assert not mx.any(gradient).item()


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
    # Two halves are a whole: had the forecast been made of the one before, this would be a mean of three pixels.
    np.testing.assert_array_equal(moved[:, 1, :, 1:], field[:, :, :-1])
    np.testing.assert_array_equal(moved[:, 3, :, 2:], field[:, :, :-2])


def test_paths_follow_the_flow():
    # Along u = a x the midpoint rule goes from x to x (1 - a/2) / (1 + a/2); along a straight line bilinear is exact.
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
    # Twenty frames are a quarter turn: from the right to the top. A straight path would have ended 9 pixels further.
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"frames": 1}, "'frames' must be a whole number of at least 2 but got 1."),
        ({"points": 0}, "'points' must be a whole number of at least 1 but got 0."),
        ({"iterations": 1.5}, "'iterations' must be a whole number of at least 1 but got 1.5."),
        ({"window": 0}, "'window' must be a finite number above 0 but got 0."),
        ({"window": float("nan")}, "'window' must be a finite number above 0 but got nan."),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=re.escape(f"[motion] {message}")):
        motion(mx.zeros((1, 2, 4, 4, 1)), **arguments)
    with pytest.raises(ValueError, match=re.escape(f"[Extrapolation] {message}")):
        Extrapolation(**arguments)


def test_bad_border():
    message = "'border' must be one of edge, zero but got 'wrap'."
    with pytest.raises(ValueError, match=re.escape(f"[advect] {message}")):
        advect(mx.zeros((1, 4, 4, 1)), mx.zeros((1, 4, 4, 2)), 1, border="wrap")
    with pytest.raises(ValueError, match=re.escape(f"[Extrapolation] {message}")):
        Extrapolation(border="wrap")


@pytest.mark.parametrize("shape", [(2, 4, 4, 1), (1, 0, 4, 4, 1), (1, 2, 4, 0, 1)])
def test_inputs_must_be_sequences(shape):
    message = f"[motion] expected inputs of shape NTHWC, none of them 0, but got shape {shape}."
    with pytest.raises(ValueError, match=re.escape(message)):
        motion(mx.zeros(shape))


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
    message = "[Extrapolation] expected inputs of shape NTHWC with C=1 channels but got shape (2, 4, 4, 1)."
    with pytest.raises(ValueError, match=re.escape(message)):
        Extrapolation()(mx.zeros((2, 4, 4, 1)), 2)
