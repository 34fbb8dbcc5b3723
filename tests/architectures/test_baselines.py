"""The baselines that every model must beat."""

import re

from convlstm.architectures.baselines import Persistence, Zeros
from convlstm.evaluation.scoring import evaluate
from tests.support.project import PROJECT
from tests.support.reference import normal

import hydra
import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

MODELS = {"Persistence": Persistence, "Zeros": Zeros}
models = pytest.mark.parametrize("name", MODELS)


@pytest.mark.parametrize("horizon", [1, 4])
def test_persistence_is_the_last_frame(horizon, rng):
    x = normal(rng, (2, 3, 4, 5, 2))
    forecast = Persistence()(x, horizon)
    assert forecast.shape == (2, horizon, 4, 5, 2)
    for lead in range(horizon):
        np.testing.assert_array_equal(forecast[:, lead], x[:, -1])


@pytest.mark.parametrize("horizon", [1, 4])
def test_zeros_are_zeros(horizon, rng):
    forecast = Zeros()(normal(rng, (2, 3, 4, 5, 2)), horizon)
    assert forecast.shape == (2, horizon, 4, 5, 2)
    assert not mx.any(forecast).item()


@models
def test_a_baseline_is_a_model(name, rng):
    model = MODELS[name]()
    x = normal(rng, (2, 3, 4, 5, 1))
    assert tree_flatten(model.parameters()) == []
    np.testing.assert_array_equal(mx.compile(lambda x: model(x, 3))(x), model(x, 3))
    np.testing.assert_array_equal(model(x, 3, key=mx.random.key(0)), model(x, 3))
    assert model(x.astype(mx.bfloat16), 2).dtype == mx.bfloat16


def test_scores_of_a_forecast_that_never_changes_are_those_of_persistence(rng):
    x = np.repeat(rng.random((2, 1, 4, 5, 1), np.float32), 6, axis=1)
    result = evaluate({"persistence": Persistence(), "zeros": Zeros()}, [{"inputs": x[:, :3], "targets": x[:, 3:]}])
    assert result.scores["persistence"]["mse_per_pixel"]["overall"] == 0
    assert result.scores["zeros"]["mse_per_pixel"]["overall"] == pytest.approx((x**2).mean(), rel=1e-5)


@models
def test_inputs_must_be_sequences(name):
    message = f"[{name}] expected inputs of shape NTHWC but got shape (2, 4, 4, 1)."
    with pytest.raises(ValueError, match=re.escape(message)):
        MODELS[name]()(mx.zeros((2, 4, 4, 1)), 2)


@models
def test_horizon_must_be_a_frame(name):
    with pytest.raises(ValueError, match=re.escape(f"[{name}] 'horizon' must be at least 1 but got 0.")):
        MODELS[name]()(mx.zeros((1, 2, 4, 4, 1)), 0)


def test_persistence_from_its_yaml(rng):
    with hydra.initialize_config_dir(str(PROJECT / "configs"), version_base="1.3"):
        config = hydra.compose("train", ["model=persistence"])
    assert isinstance(hydra.utils.instantiate(config.model, _convert_="all"), Persistence)
