"""The contract of every trainable model: `model(inputs, horizon)`."""

from __future__ import annotations

from convlstm.architectures.advection_residual import AdvectionResidual
from convlstm.architectures.convlstm_stack import ConvLSTMStack
from convlstm.architectures.frame_mover import FrameMover
from convlstm.architectures.predrnn import PredRNN
from convlstm.architectures.simvp import SimVP
from convlstm.losses import MeanSquaredError
from convlstm.models import EncoderForecaster
from convlstm.training.step import make_step
from tests.support.reference import close, normal

import mlx.core as mx
import mlx.optimizers as optim
import pytest
from mlx.utils import tree_flatten, tree_map

LEVELS = {"hidden_channels": (3, 4), "kernel_size": 3, "patch_size": 2}
SIMVP = {"frames": 3, "hidden_channels": 4, "translator_channels": 6, "levels": 2, "blocks": 2}
MODELS = {
    "encoder_forecaster of ConvLSTM": lambda C, **more: EncoderForecaster(C, **LEVELS, activation="linear", **more),
    "encoder_forecaster of ConvGRU": lambda C, **more: EncoderForecaster(C, **LEVELS, cell="convgru", **more),
    "encoder_forecaster of TrajGRU": lambda C, **more: EncoderForecaster(C, **LEVELS, cell="trajgru", links=2, **more),
    "convlstm_stack": lambda C, **more: ConvLSTMStack(C, **LEVELS, **more),
    "frame_mover": lambda C, **more: FrameMover(C, **LEVELS, **more),
    "predrnn": lambda C, **more: PredRNN(C, **LEVELS | {"hidden_channels": (4, 4)}, **more),
    "predrnn_v2": lambda C, **more: PredRNN(C, **LEVELS | {"hidden_channels": (4, 4)}, decoupling=0.1, **more),
    "simvp": lambda C, **more: SimVP(C, **SIMVP, mlp_ratio=2.0, large_kernel=9, **more),
    "simvp_incepu": lambda C, **more: SimVP(C, **SIMVP, translator="incepu", kernel_sizes=(3, 5), groups=3, **more),
    "advection_residual": lambda C, **more: AdvectionResidual(C, **LEVELS, points=4, **more),
}
models = pytest.mark.parametrize("name", MODELS)


def built(name, rng, channels=2, **more):
    """Returns a model with random weights, so that no layer starts without effect."""
    model = MODELS[name](channels, **more)
    drawn = tree_map(lambda a: normal(rng, a.shape, a[0].size ** -0.5 if a.ndim > 1 else 0.3), model.parameters())
    model.update(drawn)
    for part, array in tree_flatten(model.parameters()):
        if part.endswith("running_var"):
            array[:] = mx.abs(array) + 0.3
    return model


@models
def test_any_horizon_grid_and_channels_and_a_batch_equals_its_samples(name, rng):
    for channels, (H, W), horizon in ((2, (8, 12), 1), (1, (12, 8), 7)):
        model = built(name, rng, channels)
        model.eval()
        x = normal(rng, (2, 3, H, W, channels))
        y = model(x, horizon)
        assert y.shape == (2, horizon, H, W, channels)
        assert mx.isfinite(y).all()
        close(mx.concatenate([model(x[n : n + 1], horizon) for n in range(2)]), y, 2e-5)
        close(model(x, horizon + 2)[:, :horizon], y, 2e-5)  # a longer forecast begins with the shorter one


@models
def test_every_input_frame_matters(name, rng):
    model = built(name, rng)
    model.eval()
    x = normal(rng, (1, 3, 8, 12, 2))
    y = model(x, 2)
    for t in range(3):
        other = mx.concatenate([x[:, :t], x[:, t : t + 1] + 1, x[:, t + 1 :]], axis=1)
        assert mx.abs(model(other, 2) - y).max() > 1e-6, t


@models
def test_recomputing_makes_the_same_step(name, rng):
    x, targets = normal(rng, (2, 3, 8, 12, 2)), normal(rng, (2, 4, 8, 12, 2))
    state = tree_flatten(built(name, rng).parameters())
    results = []
    for recompute in (False, True):
        model = built(name, rng, recompute=recompute)
        model.load_weights(state)
        optimizer = optim.SGD(0.1)
        optimizer.init(model.trainable_parameters())
        step = make_step(model, optimizer, MeanSquaredError())
        values = step({"inputs": x, "targets": targets}, mx.random.key(0))
        results.append(([float(v) for v in values], dict(tree_flatten(model.parameters()))))
    assert results[1][0] == pytest.approx(results[0][0], rel=1e-5)
    largest_change = 0.0
    for part, before in state:
        close(results[0][1][part], results[1][1][part], 1e-5)
        largest_change = max(largest_change, float(mx.abs(results[0][1][part] - before).max()))
    assert largest_change > 1e-4
