"""Names of classes in checkpoints and configurations of version 0.1."""

from __future__ import annotations

import json
from pathlib import Path

from convlstm.checkpoints import load, read_config, save
from convlstm.checkpoints.build import resolve
from convlstm.checkpoints.old_names import MOVED, current, updated
from convlstm.layers import ConvLSTM
from tests.support.project import PROJECT

import hydra.utils
import mlx.nn as nn
import mlx.optimizers as optim
import pytest

# Every class and function of version 0.1 that a configuration could name.
OLD = {
    "convlstm": "ConvLSTM ConvLSTMCell EncoderForecaster",
    "convlstm.advection": "AdvectionResidual",
    "convlstm.baselines": "Persistence Zeros",
    "convlstm.ensemble": "Ensemble",
    "convlstm.extrapolation": "Extrapolation",
    "convlstm.feedback": "FeedbackForecaster",
    "convlstm.gru": "ConvGRU ConvGRUCell",
    "convlstm.layers": "ConvLSTM ConvLSTMCell",
    "convlstm.losses": "Balanced BalancedMeanAbsoluteError BalancedMeanSquaredError BinaryCrossEntropy "
    "MeanAbsoluteError MeanSquaredError SoftCriticalSuccess WeightedSum",
    "convlstm.models": "EncoderForecaster",
    "convlstm.ops.norms": "BatchNorm",
    "convlstm.perturbation": "Perturbation",
    "convlstm.predrnn": "PredRNN",
    "convlstm.resample": "Resample",
    "convlstm.sequence": "ConvLSTMSequence",
    "convlstm.simvp": "ConvBlock SimVP",
    "convlstm.st_lstm": "GridLayerNorm STLSTMCell",
    "convlstm.stack": "ConvLSTMStack",
    "convlstm.training.loggers": "MLflow TensorBoard WandB",
    "convlstm.training.loop": "Trainer",
    "convlstm.training.optimizers": "CycledAdam",
    "convlstm.training.sampling": "exponential inverse_sigmoid linear reverse",
    "convlstm.training.schedules": "constant cosine one_cycle one_cycle_beta staircase",
    "convlstm.trajgru": "TrajGRU TrajGRUCell",
    "convlstm.translators": "Depthwise GatedAttention GatedBlock GatedTranslator GroupedConv Inception "
    "InceptionTranslator LargeKernelGate MixedPerceptron Pointwise",
    "datasets": "MovingMNIST RadarEcho",
    "datasets.digits": "Digits",
    "datasets.moving_mnist": "MovingMNIST",
    "datasets.radar_echo": "RadarEcho",
    "datasets.synthetic_radar": "SyntheticRadar",
    "datasets.transforms": "Linear LogRain Transform Reflectivity to_unit",
    "mlx.optimizers": "Adam AdamW RMSprop",
}
TARGETS = [f"{module}.{name}" for module, names in OLD.items() for name in names.split()]


@pytest.mark.parametrize("target", TARGETS)
def test_every_old_name_is_understood(target):
    value = hydra.utils.get_object(current(target))
    assert value.__name__ == target.rpartition(".")[2]
    if isinstance(value, type) and issubclass(value, nn.Module):
        assert resolve(target, kind=nn.Module) is value


def test_every_entry_of_the_table_is_needed():
    assert [old for old in MOVED if not any(target.startswith(f"{old}.") for target in TARGETS)] == []


def test_present_names_stay_as_they_are():
    files = sorted((PROJECT / "configs").rglob("*.yaml"))
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines() if "_target_:" in line]
    targets = {line.partition("_target_:")[2].split()[0].strip("},") for line in lines}
    assert len(targets) > 25
    for target in sorted(targets):
        assert current(target) == target
        hydra.utils.get_object(target)


@pytest.mark.parametrize("name", ["convlstm.stacks.Mine", "my.convlstm.stack.Mine", "datasets_of_mine.Data", "stack"])
def test_other_names_stay_as_they_are(name):
    assert current(name) == name


def test_names_are_updated_at_every_depth():
    old = {
        "model": {"_target_": "convlstm.stack.ConvLSTMStack", "path": "datasets.index"},
        "logger": [{"_target_": "convlstm.training.loggers.WandB"}, 3],
        "data": {"transform": {"_target_": "datasets.transforms.LogRain", "minimum": 0.1}, "_target_": None},
    }
    before = json.dumps(old)
    assert updated(old) == {
        "model": {"_target_": "convlstm.architectures.convlstm_stack.ConvLSTMStack", "path": "datasets.index"},
        "logger": [{"_target_": "convlstm.runs.loggers.WandB"}, 3],
        "data": {"transform": {"_target_": "convlstm.datasets.transforms.LogRain", "minimum": 0.1}, "_target_": None},
    }
    assert json.dumps(old) == before


def test_a_checkpoint_with_old_names_loads(tmp_path: Path):
    layer = {"in_channels": 1, "out_channels": 2, "kernel_size": 3}
    description = {"_target_": "convlstm.sequence.ConvLSTMSequence", "layers": [layer]}
    model = resolve(description["_target_"])([layer])
    optimizer = optim.Adam(0.1)
    optimizer.init(model.trainable_parameters())
    config = {"model": description, "data": {"_target_": "datasets.moving_mnist.MovingMNIST"}}
    save(tmp_path / "last", model, optimizer, {"step": 0}, config)
    assert read_config(tmp_path / "last") == updated(config)
    assert isinstance(load(tmp_path / "last").layers[0], ConvLSTM)
