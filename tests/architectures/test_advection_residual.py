"""The model that corrects an extrapolation."""

from __future__ import annotations

from convlstm.architectures.advection_residual import AdvectionResidual, match, smooth
from convlstm.architectures.extrapolation import advect
from convlstm.architectures.input_frames import depth_to_space, space_to_depth
from convlstm.architectures.motion import motion
from convlstm.losses import MeanSquaredError
from convlstm.training.step import make_step
from tests.support import reference
from tests.support.project import PROJECT
from tests.support.reference import close, doubles, randomise

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest
from mlx.utils import tree_flatten
from omegaconf import OmegaConf

SMALL = {"hidden_channels": (3, 4), "patch_size": 2, "matches": False}


def small(rng, in_channels=1, **arguments):
    return randomise(AdvectionResidual(in_channels, **{**SMALL, **arguments}), rng)


def rain(N=2, T=4, H=24, W=32, C=1):
    """Returns a smooth field that moves to the right by two pixels per frame."""
    y, x = np.mgrid[:H, :W]
    field = [[np.exp(-((y - 10 - n) ** 2 + (x - 8 - 2 * t) ** 2) / 20) for t in range(T)] for n in range(N)]
    return mx.array(np.repeat(np.array(field, np.float32)[..., None], C, axis=-1))


def test_untrained_it_is_the_extrapolation():
    x = rain()
    advected = advect(x[:, -1], motion(x, points=32), 3)
    assert np.array_equal(np.array(AdvectionResidual(1, **SMALL)(x, 3)), np.array(advected))
    # The rain moves: the error of persistence is as large as the rain itself.
    assert float(mx.abs(advected[:, -1] - x[:, -1]).max()) > 0.3


@pytest.mark.parametrize(
    "arguments", [{}, {"lead_scale": 2.0}, {"points": 8}, {"peepholes": False}, {"kernel_size": 5}]
)
def test_the_correction_equals_a_slow_walk_through_input_and_extrapolated_frames(arguments, rng):
    model, x, horizon, p = small(rng, 2, **arguments), rain(C=2), 3, SMALL["patch_size"]
    advected = advect(x[:, -1], motion(x, points=arguments.get("points", 32)), horizon)
    weights = doubles(model.parameters())
    patches = np.array(space_to_depth(mx.concatenate([x, advected], axis=1), p), np.float64)
    N, T, H, W, _ = patches.shape
    states = [(np.zeros((N, H, W, n["cell"]["Wh"].shape[-1])),) * 2 for n in weights["layers"]]
    corrections = []
    for t in range(T):
        lead = max(t - x.shape[1] + 1, 0) / arguments.get("lead_scale", 10.0)
        h = np.concatenate([patches[:, t], np.full((N, H, W, 1), lead)], axis=-1)
        for n, layer in enumerate(weights["layers"]):
            states[n] = reference.cell(h, *states[n], layer["cell"])
            h = states[n][0]
        corrections.append(reference.convolve(h, weights["output"]["weight"]) + weights["output"]["bias"])
    expected = mx.array(np.stack(corrections[-horizon:], axis=1).astype(np.float32))
    close(model(x, horizon) - advected, smooth(depth_to_space(expected, p), p), 3e-5)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_smoothing_is_a_mean_over_a_window_as_wide_as_a_patch(width, rng):
    x = rng.random((2, 3, 8, 12, 2), np.float32)
    half = width / 2
    reach = width // 2
    padded = np.pad(x.astype(np.float64), [(0, 0), (0, 0), (reach, reach), (reach, reach), (0, 0)], mode="edge")
    # A pixel that is half inside the window counts half.
    weights = [min(half, n + 0.5) - max(-half, n - 0.5) for n in range(-reach, reach + 1)]
    expected = np.zeros(x.shape)
    for a, b in np.ndindex(2 * reach + 1, 2 * reach + 1):
        expected += weights[a] * weights[b] * padded[:, :, a : a + 8, b : b + 12] / width**2
    close(smooth(mx.array(x), width), mx.array(expected.astype(np.float32)), 1e-6)


@pytest.mark.parametrize("width", [2, 3, 4])
def test_smoothing_removes_what_repeats_from_patch_to_patch(width, rng):
    patch = rng.random((1, 1, width, width, 1), np.float32)
    frames = np.array(smooth(mx.array(np.tile(patch, (1, 1, 6, 6, 1))), width))
    assert np.ptp(frames[:, :, width:-width, width:-width]) < 1e-6


def test_matching_gives_the_values_of_one_field_in_the_order_of_another(rng):
    forecast = mx.array([[3.0, 1.0], [2.0, 0.0]]).reshape(1, 1, 2, 2, 1)
    reference = mx.array([[10.0, 40.0], [20.0, 30.0]]).reshape(1, 1, 2, 2, 1)
    expected = [[40.0, 20.0], [30.0, 10.0]]
    assert match(forecast, reference).reshape(2, 2).tolist() == expected
    # Each frame and channel on its own.
    a, b = (mx.array(rng.random((2, 3, 5, 4, 2), np.float32)) for _ in range(2))
    whole = np.array(match(a, b))
    for n, t, c in np.ndindex(2, 3, 2):
        one = match(a[n : n + 1, t : t + 1, ..., c : c + 1], b[n : n + 1, t : t + 1, ..., c : c + 1])
        assert np.array_equal(np.array(one).squeeze(), whole[n, t, ..., c])


def test_an_exponent_spreads_values_and_rare_ones_most(rng):
    H, W = 20, 25
    forecast, reference = (mx.array(rng.random((2, 2, H, W, 1), np.float32)) for _ in range(2))
    spread = np.array(match(forecast, reference, mx.array([1.0, 1.5])))
    assert np.array_equal(spread[:, 0], np.array(match(forecast, reference))[:, 0])
    for n in range(2):
        for share in (0.01, 0.1, 0.5):
            threshold = np.quantile(np.array(reference)[n, 1], 1 - share)
            assert np.mean(spread[n, 1] >= threshold) == pytest.approx(share ** (1 / 1.5), abs=2.5 / (H * W) + 0.01)
        order = np.argsort(np.array(forecast)[n, 1].ravel())
        assert (np.diff(spread[n, 1].ravel()[order]) >= 0).all()


def test_forecasts_spread_with_lead_time_outside_training(rng):
    model, x = small(rng, matches=True, spread=0.4, lead_scale=2.0), rain()
    model.eval()
    advected, spread = advect(x[:, -1], motion(x, points=32), 3), model(x, 3)
    model.matches = False
    expected = match(model(x, 3), advected, mx.array([1.2, 1.4, 1.6]))
    assert np.array_equal(np.array(spread), np.array(expected))
    assert float(spread[:, 2].mean()) > 1.1 * float(advected[:, 2].mean())


def test_forecasts_have_the_distribution_of_the_extrapolation_outside_training(rng):
    model, x = small(rng, matches=True, spread=0.0), rain()
    advected = np.array(advect(x[:, -1], motion(x, points=32), 3))
    model.train()
    plain = np.array(model(x, 3))
    assert np.abs(np.sort(plain.reshape(6, -1)) - np.sort(advected.reshape(6, -1))).max() > 1e-2
    model.eval()
    matched = np.array(model(x, 3))
    model.matches = False
    plain = np.array(model(x, 3))
    assert np.array_equal(np.sort(matched.reshape(2, 3, -1)), np.sort(advected.reshape(2, 3, -1)))
    assert not np.array_equal(matched, advected)
    for a, b in zip(plain.reshape(6, -1), matched.reshape(6, -1), strict=True):
        assert (np.diff(b[np.lexsort((b, a))]) >= 0).all()  # equal pixels may have any order


def test_any_horizon_and_grid_and_a_batch_is_its_samples(rng):
    model = small(rng)
    for H, W, horizon in ((24, 32, 1), (16, 10, 7)):
        x = rain(H=H, W=W)
        y = model(x, horizon)
        assert y.shape == (2, horizon, H, W, 1)
        close(mx.concatenate([model(x[n : n + 1], horizon) for n in range(2)]), y, 2e-5)
    close(model(rain(), 7)[:, :3], model(rain(), 3), 2e-5)


def test_it_learns_that_rain_decays():
    model, x = AdvectionResidual(1, **SMALL), rain()
    targets = 0.5 * advect(x[:, -1], motion(x, points=32), 3)
    optimizer = optim.Adam(1e-2)
    optimizer.init(model.trainable_parameters())
    step = make_step(model, optimizer, MeanSquaredError(), 1.0)
    losses = [float(step({"inputs": x, "targets": targets}, mx.random.key(n))[0]) for n in range(60)]
    assert losses[-1] < 0.3 * losses[0]


def test_dropout_is_drawn_from_the_key(rng):
    model, x = small(rng, dropout=0.5), rain()
    close(model(x, 2, key=mx.random.key(1)), model(x, 2, key=mx.random.key(1)), 1e-6)
    different = model(x, 2, key=mx.random.key(1)) - model(x, 2, key=mx.random.key(2))
    assert float(mx.abs(different).max()) > 1e-3


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"in_channels": 0}, "'in_channels' must be a whole number of at least 1 but got 0"),
        ({"hidden_channels": ()}, "'hidden_channels' must name at least one layer"),
        ({"patch_size": 0}, "'patch_size' must be a whole number of at least 1 but got 0"),
        ({"lead_scale": 0}, "'lead_scale' must be above 0 but got 0"),
        ({"spread": -0.1}, "'spread' must be at least 0 but got -0.1"),
        ({"points": 0}, "'points' must be a whole number of at least 1 but got 0"),
        ({"reverse": True}, "'reverse' is not for a forecaster's layers"),
    ],
)
def test_arguments_that_do_not_fit(arguments, text):
    with pytest.raises(ValueError, match=rf"\[AdvectionResidual\] {text}"):
        AdvectionResidual(**arguments)


def test_inputs_that_do_not_fit(rng):
    model = small(rng)
    with pytest.raises(ValueError, match="frames of 15x32 cannot be cut into patches"):
        model(rain(H=15), 3)
    with pytest.raises(ValueError, match="with C=1 channels"):
        model(rain(C=2), 3)
    with pytest.raises(ValueError, match="'horizon' must be at least 1 but got 0"):
        model(rain(), 0)
    with pytest.raises(ValueError, match="layer 0 turns 12x16 into 6x8, but its frames are those of the extrapolation"):
        small(rng, stride=2)(rain(), 3)


def test_its_configuration_is_its_constructor():
    config = OmegaConf.load(PROJECT / "configs" / "model" / "advection_residual.yaml")
    arguments = {name: value for name, value in OmegaConf.to_container(config).items() if name != "_target_"}
    parameters = tree_flatten(AdvectionResidual(**arguments).parameters())
    # Wx, Wh and bias of the first layer, those of the second, and the 1x1 convolution to 16 channels.
    first, second = 256 * (9 * (17 + 64) + 1), 256 * (9 * (64 + 64) + 1)
    assert sum(a.size for _, a in parameters) == first + second + 64 * 16 + 16
