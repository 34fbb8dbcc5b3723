"""The frame mover, which moves the frame that it has read."""

from __future__ import annotations

import re

import convlstm
from convlstm.architectures.frame_mover import FrameMover
from convlstm.losses import BinaryCrossEntropy
from convlstm.training.optimizers import Muon
from convlstm.training.step import make_step
from tests.support import reference
from tests.support.project import PROJECT
from tests.support.reference import close, doubles, randomise, sigmoid
from tests.support.tiny import OVERRIDES, call

import hydra
import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

SMALL = {"hidden_channels": (3, 4), "kernel_size": 3, "patch_size": 2, "motion_size": 3}
FORMS = {
    "winograd": {},
    "native": {"algorithm": "native"},
    "wide": {"motion_size": 5, "kernel_size": (3, 5)},
    "blurred": {"sharp": False},
    "blurred, native": {"sharp": False, "algorithm": "native"},
}


def small(rng, in_channels=1, **arguments):
    return randomise(FrameMover(in_channels, **{**SMALL, **arguments}), rng)


def unit(rng, shape):
    return mx.array(rng.uniform(0, 1, shape).astype(np.float32))


def of_patch(values, p):
    """Returns the pixels (N, H, W, C) of patches as channels (N, H/p, W/p, ppC), pixel by pixel."""
    N, H, W, channels = values.shape
    frame = np.zeros((N, H * p, W * p, channels // p**2))
    for place, part in enumerate(np.split(values, p * p, axis=-1)):
        frame[:, place // p :: p, place % p :: p] = part
    return frame


def slow(model, inputs, horizon):
    """Returns the predictions in NumPy, step by step and pixel by pixel."""
    p, K, weights = model.patch_size, model.motion_size, doubles(model.parameters())
    inputs = np.array(inputs, np.float64)
    N, T_in, H, W, C = inputs.shape
    states = [(np.zeros((N, H // p, W // p, n["cell"]["Wh"].shape[-1])),) * 2 for n in weights["layers"]]
    frames = []
    for t in range(T_in + horizon - 1):
        frame = inputs[:, t] if t < T_in else frames[-1]
        pixels = [frame[:, place // p :: p, place % p :: p] for place in range(p * p)]
        x, hidden = np.concatenate(pixels, axis=-1), []
        for n, layer in enumerate(weights["layers"]):
            states[n] = reference.cell(x, *states[n], layer["cell"])
            x = states[n][0]
            hidden.append(x)
        y = reference.convolve(np.concatenate(hidden, axis=-1), weights["output"]["weight"]) + weights["output"]["bias"]
        painted = of_patch(y[..., : C * p * p], p)
        share = sigmoid(of_patch(y[..., C * p * p : (C + 1) * p * p], p))
        kernels = np.exp(y[..., (C + 1) * p * p :])
        kernels = (kernels / kernels.sum(axis=-1, keepdims=True)).reshape(N, H // p, W // p, K, K)
        if t < T_in:
            way = np.zeros((N, H, W, 2))
        moved, before = np.zeros((N, H, W, C)), way.copy()
        for n, i, j in np.ndindex(N, H, W):
            kernel = kernels[n, i // p, j // p]
            if model.training or not model.sharp:
                padded = np.pad(frame[n], [(K // 2,) * 2, (K // 2,) * 2, (0, 0)])
                moved[n, i, j] = np.einsum("ab,abc->c", kernel, padded[i : i + K, j : j + K])
                continue
            v = -np.array([(kernel.sum(axis=1 - axis) * (np.arange(K) - K // 2)).sum() for axis in (0, 1)])
            way[n, i, j] = v + bilinear(before[n], i - v[0], j - v[1])
            source = inputs[n, min(t, T_in - 1)]
            moved[n, i, j] = bilinear(source, i - way[n, i, j, 0], j - way[n, i, j, 1])
        frames.append(share * moved + (1 - share) * sigmoid(painted))
    return np.stack(frames, axis=1)


def bilinear(field, row, column):
    """Returns a field (H, W, C) at a place between its pixels, with zeros around it."""
    value = np.zeros(field.shape[-1])
    for m, n in np.ndindex(field.shape[:2]):
        value += max(0, 1 - abs(row - m)) * max(0, 1 - abs(column - n)) * field[m, n]
    return value


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("training", [True, False])
def test_equals_the_slow_form(form, channels, training, rng):
    model, x = small(rng, channels, **FORMS[form]), unit(rng, (2, 3, 6, 8, channels))
    model.train(training)
    expected = slow(model, x, 3)
    close(model.unroll_frames(x, 3), expected, 2e-5)
    close(model(x, 3), expected[:, -3:], 2e-5)


@pytest.mark.parametrize("training", [True, False])
def test_a_digit_that_only_moves_keeps_its_shape(training, rng):
    model = FrameMover(1, (2,), patch_size=4, motion_size=5)
    model.output.weight = mx.zeros_like(model.output.weight)
    bias = np.zeros(16 + 16 + 25, np.float32)
    bias[16:32] = 40.0  # everything is moved
    bias[32 + 5 * 1 + 4] = 40.0  # from one row above and two columns to the right
    model.output.bias = mx.array(bias)
    model.train(training)
    frame = np.zeros((12, 16), np.float32)
    frame[2:6, 6:11] = rng.uniform(0, 1, (4, 5))
    forecast = np.array(model(mx.array(frame).reshape(1, 1, 12, 16, 1), 3))[0, ..., 0]
    for t in range(3):
        np.testing.assert_allclose(forecast[t], np.roll(frame, (t + 1, -2 * (t + 1)), (0, 1)), atol=1e-6)


def test_an_uncertain_motion_blurs_in_training_alone(rng):
    model = FrameMover(1, (2,), patch_size=4, motion_size=3)
    model.output.weight = mx.zeros_like(model.output.weight)
    bias = np.full(16 + 16 + 9, -40.0, np.float32)
    bias[16:32] = 40.0
    bias[32 + 3 : 32 + 5] = 0.0  # from the left or from here: half a pixel on average
    model.output.bias = mx.array(bias)
    frame = np.zeros((8, 12), np.float32)
    frame[:, 2] = 1
    x, rows = mx.array(frame).reshape(1, 1, 8, 12, 1), {}
    for training in (True, False):
        model.train(training)
        rows[training] = np.array(model(x, 4))[0, 3, 4, 2:7, 0]
    np.testing.assert_allclose(rows[True], np.array([1, 4, 6, 4, 1]) / 16, atol=1e-5)
    np.testing.assert_allclose(rows[False], [0, 0, 1, 0, 0], atol=1e-5)
    model.sharp = False
    np.testing.assert_allclose(np.array(model(x, 4))[0, 3, 4, 2:7, 0], rows[True], atol=1e-6)


def test_output_mean_is_where_painted_values_start(rng):
    x = unit(rng, (1, 2, 8, 8, 1))
    for mean, expected in ((None, 0.5), (0.1, 0.1)):
        model = FrameMover(**{**SMALL, "output_mean": mean})
        model.output.weight = mx.zeros_like(model.output.weight)
        model.output.bias[4:8] = -40.0  # everything is painted
        np.testing.assert_allclose(model(x, 2), expected, rtol=1e-5)


def test_forecasts_lie_between_0_and_1(rng):
    forecast = small(rng)(unit(rng, (2, 2, 8, 8, 1)), 6)
    assert 0 <= forecast.min().item() < forecast.max().item() <= 1


def test_extreme_shares_do_not_overflow():
    model = FrameMover(1, (2,), patch_size=4, motion_size=3, sharp=False)
    model.output.weight = mx.zeros_like(model.output.weight)
    bias = np.zeros(16 + 16 + 9, np.float32)
    bias[:16], bias[32 + 4] = -1e4, 1e4  # black paint, and no motion
    x = mx.full((1, 2, 8, 8, 1), 0.25)
    for share, expected in ((1e4, 0.25), (-1e4, 0)):
        bias[16:32] = share
        model.output.bias = mx.array(bias)
        np.testing.assert_allclose(model(x, 3), expected, rtol=1e-5)


def test_it_learns_a_motion():
    frames = np.zeros((4, 6, 8, 8, 1), np.float32)
    for n, row in enumerate((0, 2, 4, 5)):
        for t in range(6):
            frames[n, t, row : row + 2, t : t + 2] = 1
    batch = {"inputs": mx.array(frames[:, :3]), "targets": mx.array(frames[:, 3:])}
    mx.random.seed(0)
    model, optimizer = FrameMover(**SMALL, output_mean=0.06), Muon(0.02)
    optimizer.init(model.trainable_parameters())
    step = make_step(model, optimizer, BinaryCrossEntropy())
    losses = [step(batch, mx.random.key(n))[0].item() for n in range(40)]
    assert losses[-1] < 0.3 * losses[0]


def test_the_argument_sharp_is_kept():
    assert [FrameMover(**SMALL, sharp=sharp).sharp for sharp in (True, False)] == [True, False]


def test_yaml_is_the_default_but_for_the_mean_of_the_data():
    with hydra.initialize_config_dir(str(PROJECT / "configs"), version_base="1.3"):
        config = hydra.compose("train", ["model=frame_mover"])
    model, plain = hydra.utils.instantiate(config.model, _convert_="all"), FrameMover()
    shapes = [{name: a.shape for name, a in tree_flatten(m.parameters())} for m in (model, plain)]
    assert shapes[0] == shapes[1]
    for name in ("patch_size", "motion_size", "sharp"):
        assert getattr(model, name) == getattr(plain, name)
    assert model.output.bias[0].item() == pytest.approx(np.log(0.05 / 0.95))


def test_train_py_trains_it(tmp_path, monkeypatch, capsys):
    arguments = ["model=frame_mover", "optimizer=muon", "trainer.max_steps=2", f"output={tmp_path}", "name=a"]
    status, out, err = call("train", monkeypatch, capsys, *OVERRIDES, *arguments)
    assert status == 0, err
    assert "FrameMover" in out
    assert convlstm.load(tmp_path / "a")(mx.zeros((1, 3, 16, 20, 1)), 7).shape == (1, 7, 16, 20, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden_channels": []}, "'hidden_channels' must name at least one layer but got none."),
        ({"in_channels": 0}, "'in_channels' must be a whole number of at least 1 but got 0."),
        ({"motion_size": 4}, "'motion_size' must be odd but got 4."),
        ({"motion_size": 0}, "'motion_size' must be a whole number of at least 1 but got 0."),
        ({"motion_size": 257}, "'motion_size' must be at most 255 but got 257."),
        ({"sharp": 1}, "'sharp' must be True or False but got 1."),
        ({"output_mean": 1.0}, "'output_mean' must be between 0 and 1 but got 1.0."),
        ({"reverse": True}, "'reverse' is not for a forecaster's layers: leave it out."),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=re.escape(f"[FrameMover] {message}")):
        FrameMover(**{**SMALL, **arguments})


def test_frames_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=re.escape("[FrameMover] frames of 6x9 cannot be cut into patches of 2x2")):
        FrameMover(**SMALL)(mx.zeros((1, 2, 6, 9, 1)), 1)
