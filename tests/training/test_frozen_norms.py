"""Batch normalisations that `freeze` names: weights and statistics stay, also after validations and on resume."""

from __future__ import annotations

from convlstm import checkpoints
from convlstm.checkpoints import tensors
from convlstm.checkpoints.frozen import freeze
from convlstm.losses import MeanSquaredError
from convlstm.ops.norms import BatchNorm
from convlstm.training.loop import Trainer
from tests.support.ranks import Gaps

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import pytest


class Normed(nn.Module):
    """A convolution of the last frame, between two normalisations."""

    def __init__(self, norm):
        super().__init__()
        self.first, self.convolution, self.second = norm(1), nn.Conv2d(1, 1, 3, padding=1), norm(1)

    def __call__(self, inputs, horizon, *, key=None):
        forecast = self.second(self.convolution(self.first(inputs[:, -1])))
        return mx.repeat(mx.sigmoid(forecast)[:, None], horizon, axis=1)


@pytest.mark.parametrize("norm", [nn.BatchNorm, BatchNorm])
def test_statistics_of_frozen_normalisations_stay(norm, tmp_path):
    mx.random.seed(0)
    model = Normed(norm)
    names = freeze(model, ["first", "convolution.bias"])
    assert set(names) == {
        *("first.weight", "first.bias", "first.running_mean", "first.running_var", "convolution.bias"),
    }
    start = {name: mx.array(array) for name, array in tensors.named(model.parameters()).items()}
    trainer = Trainer(max_steps=4, batch_size=8, log_every=1, validate_every=1, checkpoint_every=1)
    trainer.fit(model, optim.Adam(0.02), MeanSquaredError(), Gaps(), tmp_path, {"model": {}})
    saved = tensors.read(tmp_path / "checkpoints" / "last" / checkpoints.MODEL)
    unchanged = {name for name, array in saved.items() if mx.array_equal(array, start[name]).item()}
    assert unchanged == set(names)


def test_a_resumed_run_keeps_them_too(tmp_path):
    trainer = Trainer(max_steps=2, batch_size=8, log_every=1, validate_every=1, checkpoint_every=1)
    longer = Trainer(max_steps=4, batch_size=8, log_every=1, validate_every=1, checkpoint_every=1)
    ends = []
    for name, parts in (("whole", [longer]), ("parts", [trainer, longer])):
        for part in parts:
            mx.random.seed(0)
            model = Normed(BatchNorm)
            freeze(model, ["first"])
            part.fit(model, optim.Adam(0.02), MeanSquaredError(), Gaps(), tmp_path / name, {"model": {}}, resume="auto")
        ends.append(tensors.read(tmp_path / name / "checkpoints" / "last" / checkpoints.MODEL))
    whole, parts = ends
    for name, array in whole.items():
        assert mx.array_equal(array, parts[name]).item(), name
    assert parts["first.running_mean"].item() == 0
    assert parts["second.running_mean"].item() != 0
