"""Summaries of models: worked by hand, beside published numbers, and by the command."""

from __future__ import annotations

import re

import convlstm
import convlstm.summary
from convlstm.architectures.convgru import ConvGRU
from convlstm.architectures.convlstm_stack import ConvLSTMStack
from convlstm.architectures.simvp import SimVP
from convlstm.ops.algorithm import takes_winograd, without_kernels
from convlstm.summary import Memory, layers, macs, memory, parameters
from tests.support.project import PROJECT
from tests.support.tiny import call

import hydra
import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten


def configured(name):
    with hydra.initialize_config_dir(str(PROJECT / "configs"), version_base="1.3"):
        return hydra.utils.instantiate(hydra.compose("summary", [f"model={name}"]).model, _convert_="all")


def test_a_model_by_hand():
    model = ConvLSTMStack(1, (3, 5), kernel_size=3, patch_size=2)
    # Steps times places times kernel: of the inputs, of the states, and of the output.
    steps, places = 4 + 2 - 1, 4 * 6
    expected = steps * places * (9 * (4 * 12 + 3 * 12 + 3 * 20 + 5 * 20) + 5 * 4)
    assert macs(model, (1, 4, 8, 12, 1), 2) == expected
    assert macs(model, (3, 4, 8, 12, 1), 2) == 3 * expected
    assert parameters(model) == 9 * (4 * 12 + 3 * 12 + 3 * 20 + 5 * 20) + 5 * 4
    assert [(layer.name, layer.kind) for layer in layers(model)] == [
        ("layers.0.cell", "ConvLSTMCell"),
        ("layers.1.cell", "ConvLSTMCell"),
        ("output", "Conv2d"),
    ]
    assert layers(model)[0].shapes == {"Wx": (12, 3, 3, 4), "Wh": (12, 3, 3, 3)}
    assert sum(layer.parameters for layer in layers(model)) == parameters(model)


def test_transposed_grouped_and_statistical_parts():
    class Parts(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.ConvTranspose2d(4, 6, 2, stride=2)
            self.grouped = nn.Conv2d(6, 6, 3, padding=1, groups=3)
            self.norm = nn.BatchNorm(6)

        def __call__(self, x, horizon):
            return self.norm(self.grouped(self.up(x[:, 0])))

    model = Parts()
    assert macs(model, (1, 1, 3, 5, 4), 1) == 15 * 4 * 4 * 6 + 60 * 9 * 2 * 6
    found = {layer.name: layer.parameters for layer in layers(model)}
    assert found["norm"] == 12  # without the running mean and variance
    assert sum(found.values()) == parameters(model)


# OpenSTL's table was made with fvcore. Besides convolutions and products it counts norms, 5 for each value of a group
# norm and 2 of a batch norm, and PredRNN-v2's projection, which only its loss needs.
GROUP_NORMS, BATCH_NORMS = 5 * 10 * 64 * 16_640, 2 * 256 * (2 * 640 + 14 * 512)
INCEPTION_NORMS = 5 * 4 * 256 * (15 * 512 + 640)


@pytest.mark.parametrize(
    ("name", "count", "ours", "more", "published"),
    [
        ("convlstm_stack", 11_675_648, 56.79, 0, 56.8),
        ("predrnn", 23_838_720, 115.95, 0, 116.0),
        ("predrnn_v2", 23_855_104, 115.95, 19 * 4 * 2 * 256 * 128 * 128, 116.6),
        ("simvp", 46_769_665, 16.47, GROUP_NORMS + BATCH_NORMS, 16.5),
        ("simvp_incepu", 57_946_113, 19.33, GROUP_NORMS + INCEPTION_NORMS, 19.4),
    ],
)
def test_published_numbers(name, count, ours, more, published):
    model = configured(name)
    assert parameters(model) == count
    found = macs(model, (1, 10, 64, 64, 1), 10)
    assert round(found / 1e9, 2) == ours
    assert round((found + more) / 1e9, 1) == published


def test_nothing_is_computed_and_layers_go_on_as_before(kernels):
    layer = ConvGRU(2, 3, 3)
    macs(lambda x, horizon: layer(x)[0], (1, 400, 256, 256, 2), 1)  # hundreds of GB of states
    assert takes_winograd("test", "auto", (3, 3), mx.float32)
    with without_kernels():
        assert not takes_winograd("test", "winograd", (3, 3), mx.float32)
    assert takes_winograd("test", "auto", (3, 3), mx.float32)


def test_statistics_of_norms_stay_as_they_were():
    model = SimVP(frames=2, hidden_channels=4, translator_channels=8, levels=2, blocks=2)
    before = dict(tree_flatten(model.state))
    assert model.training
    macs(model, (1, 2, 16, 16, 1), 2)
    assert model.training
    assert all(mx.array_equal(array, before[name]) for name, array in tree_flatten(model.state))


def test_memory_is_measured_and_grows_with_the_batch():
    model = convlstm.EncoderForecaster(1, hidden_channels=(8,), kernel_size=3)
    small, large = memory(model, (1, 4, 16, 16, 1), 4), memory(model, (1, 4, 64, 64, 1), 4)
    assert small.fixed == 16 * parameters(model)
    assert 0 < small.forecast < small.training < large.training
    assert Memory(5, 100, 40).of_batch(3) == 40 + 3 * 60


def test_the_command(monkeypatch, capsys):
    settings = ["model=convlstm_stack", "model.hidden_channels=[3]", "frame_size=[8,16]", "input_frames=3", "horizon=2"]
    status, out, _ = call("summary", monkeypatch, capsys, *settings, "batch_size=4")
    assert status == 0
    assert re.search(r"layers\.0\.cell +ConvLSTMCell +5,700 +Wx 12x5x5x16, Wh 12x5x5x3", out)
    assert "convlstm_stack: ConvLSTMStack" in out
    assert "3 frames of 8x16x1 in, 2 out" in out
    assert re.search(r"MACs +0\.00 G a sequence", out)
    assert re.search(r"memory +\d+ MB to forecast a sequence\n +\d+ MB to train on one, about \d+ MB on 4", out)
    status, out, _ = call("summary", monkeypatch, capsys, *settings, "memory=false")
    assert status == 0
    assert "memory" not in out


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        ([], "name either a model"),
        (["model=persistence", "ckpt=runs/a"], "name either a model"),
        (["ckpt=nowhere"], "'nowhere' does not exist"),
        (["model=convlstm_stack", "horizon=0"], "'horizon' must be a whole number of at least 1 but got 0"),
        (["model=convlstm_stack", "frame_size=[1,2,3]"], "'frame_size' must be the side of a frame"),
        (["model=convlstm_stack", "frame_size=[9000,9000]"], "of at most 8192x8192 pixels but got [9000, 9000]"),
        (["model=convlstm_stack", "frame_size=63"], "cannot be cut into patches of 4x4"),
        (["model=convlstm_stack", "memory=3"], "'memory' must be true or false but got 3"),
        (["model=convlstm_stack", "trusted=mine"], "'trusted' must be a list of packages"),
        (["model=convlstm_stack", "batch_size=x"], "'batch_size' must be a whole number of at least 1 but got 'x'"),
    ],
)
def test_wrong_settings_are_refused(overrides, text, monkeypatch, capsys):
    status, _, err = call("summary", monkeypatch, capsys, *overrides)
    assert status == 1
    assert text in err
