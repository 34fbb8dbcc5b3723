"""The motion in a sequence of frames."""

import re

from convlstm.architectures.extrapolation import Extrapolation
from convlstm.architectures.motion import motion
from tests.support.rain_cells import SIZE, cells, grid, inner, moving

import mlx.core as mx
import numpy as np
import pytest


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
    # The content of x was at x - u: u is the chord of the turn, not its tangent.
    expected = np.stack(
        [
            (1 - np.cos(turn)) * (y - cy) - np.sin(turn) * (x - cx),
            np.sin(turn) * (y - cy) + (1 - np.cos(turn)) * (x - cx),
        ],
        axis=-1,
    )
    error = flow - inner(expected[None])
    # Up to 4 pixels per frame. A window has a single motion.
    assert np.sqrt((error**2).sum(-1).mean()) < 0.15
    assert np.abs(error).max() < 0.6


def test_without_change_there_is_no_motion():
    frame = moving(0, 0, 1)
    assert not mx.any(motion(mx.repeat(frame, 4, axis=1))).item()
    assert not mx.any(motion(frame)).item()


def test_a_straight_edge_moves_across_itself():
    y, x = grid()
    frames = [np.exp(-(((x + y) / np.sqrt(2) - 70 - 3 * t) ** 2) / 50) for t in range(4)]
    flow = np.array(motion(mx.array(np.stack(frames)[None, ..., None])))[0][np.abs(x + y - 110) < 10]
    np.testing.assert_allclose(flow.sum(axis=-1), np.full(len(flow), 3 * np.sqrt(2)), atol=0.15)
    # The frames do not show the motion along the edge; the result is small.
    assert abs(np.median(flow[:, 0] - flow[:, 1])) < 0.3


@pytest.mark.parametrize("value", [0.0, 0.7])
def test_without_texture_there_is_no_motion(value):
    flow = motion(mx.full((2, 3, 40, 70, 1), value))
    np.testing.assert_allclose(flow, np.zeros((2, 40, 70, 2)), atol=1e-3)


def test_without_rain_the_motion_continues_that_of_the_rain():
    y, x = grid()
    frames = [np.exp(-((y - 20 - 2 * t) ** 2 + (x - 30 - 3 * t) ** 2) / 50) for t in range(4)]
    flow = np.array(motion(mx.array(np.stack(frames)[None, ..., None])))
    np.testing.assert_allclose(flow, np.broadcast_to((2, 3), flow.shape), atol=0.3)


def test_opposite_motions_keep_their_sides():
    y, x = grid()
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


def test_frames_is_the_number_of_frames_used():
    new, old = np.array(moving(1, 2, 3)), np.array(moving(-3, 0, 3, seed=2))
    x = mx.array(np.concatenate([old, new], axis=1))
    np.testing.assert_array_equal(motion(x, frames=3), motion(mx.array(new)))
    assert np.abs(np.array(motion(x, frames=4) - motion(x, frames=3))).max() > 0.01
    np.testing.assert_array_equal(motion(moving(1, 2, 7)), motion(moving(1, 2, 7)[:, 2:]))


def test_points_limit_the_detail_of_the_motion():
    x = moving(1.3, -0.7, number=400, width=(1, 2))
    fine, coarse = (np.abs(inner(motion(x, points=points)) - (1.3, -0.7)).max() for points in (96, 12))
    assert fine < 0.1 < coarse
    # 96 rows have only 96 points.
    np.testing.assert_array_equal(motion(x), motion(x, points=96))


def test_a_wider_window_is_smoother(rng):
    x = np.array(moving(2, -1)) + rng.normal(0, 0.05, (1, 4, *SIZE, 1)).astype(np.float32)
    spread = [inner(motion(mx.array(x), window=window)).std(axis=(1, 2)).max() for window in (1, 2, 6)]
    assert spread[0] > 1.5 * spread[1] > 2 * spread[2]
    np.testing.assert_array_equal(motion(mx.array(x)), motion(mx.array(x), window=2.0))


def test_more_iterations_are_more_exact():
    x = moving(9, -8)
    once, thrice = (np.abs(inner(motion(x, iterations=n)) - (9, -8)).mean() for n in (1, 3))
    assert once > 3 * thrice
    np.testing.assert_array_equal(motion(x), motion(x, iterations=3))


def test_no_gradient_flows_through_the_motion():
    gradient = mx.grad(lambda x: motion(x).sum())(moving(1, 1))
    assert not mx.any(gradient).item()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"frames": 1}, "'frames' must be a whole number of at least 2 but got 1."),
        ({"points": 0}, "'points' must be a whole number of at least 1 but got 0."),
        ({"iterations": 1.5}, "'iterations' must be a whole number of at least 1 but got 1.5."),
        ({"window": 0}, "'window' must be above 0 but got 0."),
        ({"window": float("nan")}, "'window' must be a finite number but got nan."),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=re.escape(f"[motion] {message}")):
        motion(mx.zeros((1, 2, 4, 4, 1)), **arguments)
    with pytest.raises(ValueError, match=re.escape(f"[Extrapolation] {message}")):
        Extrapolation(**arguments)


@pytest.mark.parametrize("shape", [(2, 4, 4, 1), (1, 0, 4, 4, 1), (1, 2, 4, 0, 1)])
def test_inputs_must_be_sequences(shape):
    message = f"[motion] expected inputs of shape NTHWC, no side 0, but got shape {shape}."
    with pytest.raises(ValueError, match=re.escape(message)):
        motion(mx.zeros(shape))
