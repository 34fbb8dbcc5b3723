"""Facts about the data, told to models in training, in validation and in evaluations; members in validation."""

from __future__ import annotations

from convlstm.architectures.model_facts import compiles, told
from convlstm.ensemble_losses import EnsembleScore
from convlstm.evaluation.scoring import evaluate
from convlstm.losses import MeanSquaredError
from convlstm.training.step import make_step
from convlstm.training.validation import validate

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import pytest

FACTS = {"minutes": np.array([5, 10], np.float32), "pixel_km": np.array([2, 1], np.float32)}


class Paced(nn.Module):
    """Adds a learned change a minute to the last frame."""

    told = ("minutes",)

    def __init__(self):
        super().__init__()
        self.change = mx.array(0.01)

    def __call__(self, inputs, horizon, *, key=None, minutes=None):
        steps = mx.arange(1, horizon + 1).reshape(1, -1, 1, 1, 1) * minutes.reshape(-1, 1, 1, 1, 1)
        return inputs[:, -1:] + self.change * steps


class Calls(nn.Module):
    """A model that is not to be compiled counts how often Python runs it."""

    def __init__(self, compiles):
        super().__init__()
        self.compiles, self.weight, self.calls = compiles, mx.array(1.0), 0

    def __call__(self, inputs, horizon, *, key=None):
        self.calls += 1
        return self.weight * mx.repeat(inputs[:, -1:], horizon, axis=1)


def batch():
    inputs = np.full((2, 3, 4, 4, 1), 0.2, np.float32)
    minutes = FACTS["minutes"].reshape(2, 1, 1, 1, 1)
    targets = 0.2 + 0.01 * minutes * np.arange(1, 3).reshape(1, 2, 1, 1, 1) + np.zeros((2, 2, 4, 4, 1))
    return {"inputs": inputs, "targets": targets.astype(np.float32), **FACTS}


def test_only_facts_that_a_model_asks_for_are_told():
    assert list(told(Paced(), batch())) == ["minutes"]
    assert told(nn.Linear(1, 1), batch()) == told(Paced(), {}) == {}
    assert compiles(Paced())
    assert not compiles(Calls(False))


@pytest.mark.parametrize("parts", [1, 2])
def test_a_step_tells_each_part_of_a_batch_its_facts(parts):
    model = Paced()
    model.change = mx.array(0.0)
    optimizer = optim.SGD(0.1)
    optimizer.init(model.trainable_parameters())
    step = make_step(model, optimizer, MeanSquaredError(), parts=parts)
    value, norm = step({name: mx.array(array) for name, array in batch().items()}, mx.random.key(0))
    expected = np.mean([(0.01 * m * t) ** 2 for m in (5, 10) for t in (1, 2)])
    assert value.item() == pytest.approx(expected, rel=1e-4)
    assert norm.item() == pytest.approx(np.mean([2 * 0.01 * (m * t) ** 2 for m in (5, 10) for t in (1, 2)]), rel=1e-4)


def test_validation_and_evaluation_tell_them():
    arrays = batch()
    assert validate(Paced(), MeanSquaredError(), [(arrays, 2)], facts=Paced.told)["val_loss"] == pytest.approx(0)
    of_second = {name: array[1:] for name, array in arrays.items()}
    assert validate(Paced(), MeanSquaredError(), [(of_second, 1)], facts=Paced.told)["val_loss"] == pytest.approx(0)
    scores = evaluate({"paced": Paced()}, [arrays], ssim=False).scores["paced"]
    assert scores["mse_per_pixel"]["overall"] == pytest.approx(0, abs=1e-10)


def test_members_are_validated_by_the_loss_and_their_mean():
    arrays = {name: array for name, array in batch().items() if name not in FACTS}

    def members(inputs, horizon):
        last = mx.repeat(inputs[:, -1:], horizon, axis=1)
        return mx.stack([last, last + 0.2])

    loss = EnsembleScore((1,), rate_weight=0, spectrum_weight=0)
    row = validate(members, loss, [(arrays, 2)])
    x, y = np.stack([np.full(arrays["targets"].shape, v) for v in (0.2, 0.4)]), arrays["targets"]
    assert row["val_mse_per_frame"] == pytest.approx(16 * ((0.3 - y) ** 2).mean(), rel=1e-4)
    expected = abs(x - y).mean() - (1 - 0.025) / 4 * 2 * 0.2
    assert row["val_loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("compiled", [True, False])
def test_models_that_do_not_compile_run_in_python_each_time(compiled, monkeypatch):
    monkeypatch.setattr("convlstm.ops.compilation.whole", mx.compile)  # as on a GPU
    model = Calls(compiled)
    optimizer = optim.SGD(0.1)
    optimizer.init(model.trainable_parameters())
    step = make_step(model, optimizer, MeanSquaredError())
    arrays = {name: mx.array(array) for name, array in batch().items()}
    for n in range(3):
        step(arrays, mx.random.key(n))
    assert model.calls == (1 if compiled else 3)
