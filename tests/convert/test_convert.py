"""Weights from elsewhere: by name, beside PyTorch's forward, there and back, and all that does not fit."""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import re
import zipfile
from pathlib import Path

import convlstm
from convlstm.architectures.convlstm_sequence import ConvLSTMSequence
from convlstm.architectures.convlstm_stack import ConvLSTMStack
from convlstm.architectures.predrnn import PredRNN
from convlstm.architectures.simvp import SimVP
from convlstm.convert import ConversionError, convert, keras, read_state_dict, to_state_dict, write_state_dict
from convlstm.convert.__main__ import main
from tests.support import reference
from tests.support.reference import close, normal

import mlx.core as mx
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.support import (
    torch_predrnn,
    torch_simvp,
)

from torch import nn  # noqa: E402


class Cell(nn.Module):
    """OpenSTL's ConvLSTM cell, the parameters that it does not use among the others."""

    def __init__(self, C, O, k):
        super().__init__()
        self.O = O
        self.conv_x = nn.Sequential(nn.Conv2d(C, 4 * O, k, padding=k // 2, bias=False))
        self.conv_h = nn.Sequential(nn.Conv2d(O, 4 * O, k, padding=k // 2, bias=False))
        self.conv_o = nn.Sequential(nn.Conv2d(2 * O, O, k, padding=k // 2, bias=False))
        self.conv_last = nn.Conv2d(2 * O, O, 1, bias=False)

    def forward(self, x, h, c, legacy):
        i, f, g, o = (self.conv_x(x) + self.conv_h(h)).split(self.O, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * (g.tanh() if legacy else c.tanh()), c


class Stack(nn.Module):
    def __init__(self, channels, hidden, k):
        super().__init__()
        self.cell_list = nn.ModuleList([Cell(hidden[n - 1] if n else channels, O, k) for n, O in enumerate(hidden)])
        self.conv_last = nn.Conv2d(hidden[-1], channels, 1, bias=False)

    def forward(self, x, horizon, legacy=False):
        """Patches (N, T, C, H, W) -> the frames after them."""
        states = [(x.new_zeros(x.shape[0], cell.O, *x.shape[3:]),) * 2 for cell in self.cell_list]
        frames = []
        for t in range(x.shape[1] + horizon - 1):
            y = x[:, t] if t < x.shape[1] else frames[-1]
            for n, cell in enumerate(self.cell_list):
                states[n] = cell(y, *states[n], legacy)
                y = states[n][0]
            frames.append(self.conv_last(y))
        return torch.stack(frames[-horizon:], 1)


def randomised(network):
    generator = torch.Generator().manual_seed(3)
    for name, array in network.state_dict().items():
        if array.is_floating_point():
            scale = array[0].numel() ** -0.5 if array.ndim > 1 else 0.5
            drawn = torch.randn(array.shape, generator=generator) * scale
            array.copy_(drawn.abs() + 0.3 if name.endswith("running_var") else drawn)
    return network.eval()


def arrays_of(network):
    return {name: array.numpy() for name, array in network.state_dict().items()}


def openstl_stack():
    return randomised(Stack(2 * 4, (3, 5), 3))


def openstl_predrnn(**more):
    return randomised(torch_predrnn.Network(4, 6, 2, 3, **more))


def openstl_simvp(**more):
    return randomised(torch_simvp.SimVP(2, 3, 4, 6, 2, 2, **more))


NETWORKS = {
    "convlstm": openstl_stack,
    "predrnn": openstl_predrnn,
    "predrnn with norms": lambda: openstl_predrnn(grid=(4, 6)),
    "predrnn_v2": lambda: openstl_predrnn(adapter=True),
    "simvp": lambda: openstl_simvp(mlp_ratio=2.0, large_kernel=9),
    "simvp_incepu": lambda: openstl_simvp(translator="incepu", kernel_sizes=(3, 5), groups=3),
}
networks = pytest.mark.parametrize("kind", NETWORKS)


@pytest.mark.parametrize("legacy", [False, True])
def test_the_stack_forecasts_what_openstls_does(legacy, rng):
    network = openstl_stack()
    found = convert(arrays_of(network), patch_size=2, legacy=legacy)
    assert isinstance(found.model, ConvLSTMStack)
    x = normal(rng, (2, 4, 8, 12, 2))
    with torch.no_grad():
        expected = network(torch_predrnn.patches(x, 2).float(), 3, legacy)
    close(found.model(x, 3), torch_predrnn.pixels(expected, 2), 1e-4)
    assert found.dead == sorted(n for n in arrays_of(network) if "conv_o" in n or ".conv_last" in n)


@pytest.mark.parametrize("kind", ["predrnn", "predrnn with norms", "predrnn_v2"])
def test_predrnn_forecasts_what_the_published_code_does(kind, rng):
    network = NETWORKS[kind]()
    found = convert(arrays_of(network), patch_size=2)
    assert isinstance(found.model, PredRNN)
    assert (found.model.decoupling is not None) == (kind == "predrnn_v2")
    x = normal(rng, (2, 4, 8, 12, 1))
    patches = torch_predrnn.patches(x, 2).float()
    with torch.no_grad():
        frames, _ = network(lambda t, frame: patches[:, t] if t < 4 else frame, 6)
    close(found.model(x, 3), torch_predrnn.pixels(frames[:, -3:], 2), 1e-4)
    assert found.dead == []


@pytest.mark.parametrize("kind", ["simvp", "simvp_incepu"])
def test_simvp_forecasts_what_openstls_does(kind, rng):
    network = NETWORKS[kind]()
    found = convert(arrays_of(network))
    assert isinstance(found.model, SimVP)
    x = normal(rng, (2, 3, 8, 12, 2))
    with torch.no_grad():
        expected = network(torch.tensor(np.array(x.transpose(0, 1, 4, 2, 3))))
    close(found.model(x, 3).transpose(0, 1, 4, 2, 3), expected.numpy(), 1e-4)


@networks
def test_there_and_back_is_exact(kind):
    network = NETWORKS[kind]()
    arrays = arrays_of(network)
    found = convert(arrays, patch_size=2)
    back = to_state_dict(found.model, found.description)
    assert set(back) == set(arrays)
    for name, array in back.items():
        assert array.dtype == arrays[name].dtype
        assert np.array_equal(array, np.zeros_like(arrays[name]) if name in found.dead else arrays[name]), name
    network.load_state_dict({name: torch.tensor(array) for name, array in back.items()})  # asks for each of them


@pytest.mark.parametrize("wrap", ["plain", "lightning", "parallel", "net_param"])
@pytest.mark.parametrize("ending", [".ckpt", ".pth"])
def test_files_as_training_programs_leave_them(wrap, ending, tmp_path, capsys, rng):
    network, path = openstl_stack(), tmp_path / f"weights{ending}"
    content = {
        "plain": network.state_dict(),
        "lightning": {"epoch": 7, "state_dict": {f"model.{n}": a for n, a in network.state_dict().items()}},
        "parallel": {f"module.{n}": a for n, a in network.state_dict().items()},
        "net_param": {"net_param": network.state_dict()},
    }[wrap]
    torch.save(content, path)
    assert main([str(path), str(tmp_path / "run"), "--patch-size", "2"]) == 0
    told = capsys.readouterr().out
    assert "ConvLSTMStack, 2,668 parameters" in told
    assert "left out, since nothing depends on them: 4 arrays" in told
    assert "--legacy" in told
    x = normal(rng, (1, 3, 4, 4, 2))
    loaded = convlstm.load(tmp_path / "run")
    close(loaded(x, 2), convert(arrays_of(network), patch_size=2).model(x, 2), 1e-6)


@pytest.mark.parametrize("ending", [".pth", ".safetensors", ".npz"])
def test_a_checkpoint_becomes_a_state_dict(ending, tmp_path, capsys):
    arrays = arrays_of(openstl_predrnn())
    np.savez(tmp_path / "weights.npz", **arrays)
    assert main([str(tmp_path / "weights.npz"), str(tmp_path / "run"), "--patch-size", "2"]) == 0
    out = tmp_path / f"back{ending}"
    assert main([str(tmp_path / "run"), str(out)]) == 0
    assert f"{len(arrays)} arrays" in capsys.readouterr().out
    back = read_state_dict(out)
    assert set(back) == set(arrays)
    assert all(np.array_equal(back[name], arrays[name]) for name in arrays)
    assert main([str(tmp_path / "run"), str(out)]) == 1
    assert "exists already" in capsys.readouterr().err


def test_what_the_command_needs_of_a_legacy_model(tmp_path, capsys):
    torch.save(openstl_stack().state_dict(), tmp_path / "a.pth")
    assert main([str(tmp_path / "a.pth"), str(tmp_path / "run"), "--patch-size", "2", "--legacy"]) == 0
    assert "legacy: its cells give o . g instead of o . tanh(c')" in capsys.readouterr().out
    assert all(layer.cell.output == "candidate" for layer in convlstm.load(tmp_path / "run").layers)
    assert main([str(tmp_path / "run"), str(tmp_path / "back.npz")]) == 0
    assert "legacy: its cells give o . g" in capsys.readouterr().out
    with pytest.raises(ConversionError, match="only OpenSTL's ConvLSTM has a legacy form"):
        convert(arrays_of(openstl_predrnn()), legacy=True)


def spoilt(change):
    arrays = arrays_of(openstl_stack())
    change(arrays)
    return arrays


@pytest.mark.parametrize(
    ("change", "texts"),
    [
        (lambda a: a.pop("cell_list.1.conv_x.0.weight"), [r"missing: cell_list.1.conv_x.0.weight \(20, 3, 3, 3\)"]),
        (
            lambda a: a.update({"conv_last.weight": np.zeros((8, 5, 3, 3), np.float32)}),
            [r"conv_last.weight: \(8, 5, 3, 3\) in the file, \(8, 5, 1, 1\) in the model"],
        ),
        (
            lambda a: a.update({"cell_list.0.conv_x.0.bias": np.zeros(12), "extra": np.zeros(3)}),
            [r"unexpected: cell_list.0.conv_x.0.bias \(12,\)", r"unexpected: extra \(3,\)"],
        ),
        (lambda a: a.update({"cell_list.0.conv_h.0.weight": np.zeros(3)}), ["must have 4 axes"]),
        (lambda a: a.update({"cell_list.0.conv_x.0.weight": np.zeros((12, 7, 3, 3))}), ["no patches of 2x2 pixels"]),
    ],
)
def test_all_that_does_not_fit_is_listed_and_nothing_is_written(change, texts, tmp_path, capsys):
    np.savez(tmp_path / "bad.npz", **spoilt(change))
    assert main([str(tmp_path / "bad.npz"), str(tmp_path / "run"), "--patch-size", "2"]) == 1
    told = capsys.readouterr().err
    for text in texts:
        assert re.search(text, told)
    assert "Nothing was written." in told
    assert not (tmp_path / "run").exists()


def test_weights_of_another_model(tmp_path):
    with pytest.raises(
        ConversionError, match=r"belong to no model that is known here \(layer1.weight, ...\). Known are"
    ):
        convert({"layer1.weight": np.zeros(3)})


class Evil:
    def __reduce__(self):
        return Path.touch, (Path("ran-a-strangers-code"),)


def test_a_pickle_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"a": torch.zeros(2)}, "more": Evil()}, "evil.ckpt")
    with pytest.raises(ConversionError, match="could run a stranger's code, so it was not read"):
        read_state_dict("evil.ckpt")
    Path("evil.pth").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ConversionError):
        read_state_dict("evil.pth")
    np.savez("evil.npz", a=np.array([Evil()], object))
    with pytest.raises(ConversionError, match="cannot be read"):
        read_state_dict("evil.npz")
    assert not Path("ran-a-strangers-code").exists()


def test_what_programs_keep_beside_the_weights_is_left_out(tmp_path):
    """OpenSTL's latest.pth and Lightning's files, of PyTorch 2.0 and before: a schedule names its own function."""
    network = nn.Conv2d(1, 2, 3)
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, 100)
    state = schedule.state_dict() | {"anneal_func": torch.optim.lr_scheduler.OneCycleLR._annealing_cos}
    latest = {"epoch": 3, "optimizer": optimizer.state_dict(), "state_dict": network.state_dict(), "scheduler": state}
    given = {"test_mean": np.zeros((1, 2)), "test_std": np.float32(1), "args": argparse.Namespace(lr=1)}
    lightning = {f"model.{name}": array for name, array in network.state_dict().items()}
    torch.save(latest, tmp_path / "latest.pth")
    torch.save({"state_dict": lightning, "hyper_parameters": given, "lr_schedulers": [state]}, tmp_path / "best.ckpt")
    for name in ("latest.pth", "best.ckpt"):
        with pytest.raises(pickle.UnpicklingError):
            torch.load(tmp_path / name, weights_only=True)
        found = read_state_dict(tmp_path / name)
        assert set(found) == {"weight", "bias"}
        assert np.array_equal(found["weight"], network.weight.detach().numpy())


@pytest.mark.parametrize("called", [eval, exec, os.system, Path])
def test_code_beside_the_weights_is_refused_and_named(called, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    class Caller:
        def __reduce__(self):
            return called, ("open('ran', 'w')",)

    torch.save({"state_dict": {"a": torch.zeros(2)}, "more": [np.zeros(2), Caller()]}, "a.pth")
    with pytest.raises(
        ConversionError, match=rf"{called.__name__}.*could run a stranger's code.*Save the weights alone"
    ):
        read_state_dict("a.pth")
    assert not Path("ran").exists()


@pytest.mark.parametrize("name", ["model.ckpt-80000", "checkpoint.pth.tar"])
def test_names_that_programs_give(name, tmp_path):
    torch.save({"net_param": {"module.a": torch.ones(2)}}, tmp_path / name)
    assert np.array_equal(read_state_dict(tmp_path / name)["a"], np.ones(2))


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("absent.pth", None, "is no file. Name a file of weights"),
        ("a.txt", b"weights", "has an ending that is not known"),
        ("a.pth", b"damaged", "cannot be read|could run"),
        ("a.safetensors", b"damaged", "cannot be read"),
        ("a.npz", b"damaged", "cannot be read"),
    ],
)
def test_files_that_are_no_weights(name, content, text, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConversionError, match=text):
        read_state_dict(tmp_path / name)


@pytest.mark.parametrize("ending", [".pth", ".npz", ".safetensors"])
def test_files_that_are_cut_off(ending, tmp_path):
    path = tmp_path / f"a{ending}"
    write_state_dict(path, arrays_of(openstl_predrnn()))
    whole = path.read_bytes()
    for share in (0.1, 0.5, 0.99):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ConversionError, match=r"cannot be read|could run"):
            read_state_dict(path)


def test_half_precision_becomes_single(tmp_path):
    mx.save_safetensors(str(tmp_path / "a.safetensors"), {"a": mx.array([1.5, -2], mx.bfloat16), "n": mx.array(3)})
    found = read_state_dict(tmp_path / "a.safetensors")
    assert found["a"].dtype == np.float32
    assert found["a"].tolist() == [1.5, -2]
    assert found["n"] == 3


def test_what_cannot_be_written_leaves_nothing(tmp_path, monkeypatch, capsys):
    def full(*arguments, **more):
        raise OSError("no space left")

    np.savez(tmp_path / "a.npz", **arrays_of(openstl_predrnn()))
    assert main([str(tmp_path / "a.npz"), str(tmp_path / "run"), "--patch-size", "0"]) == 1
    assert "the side of a patch must be at least 1 but got 0" in capsys.readouterr().err
    assert main([str(tmp_path / "a.npz"), str(tmp_path / "run"), "--patch-size", "2"]) == 0
    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(mx, "save_safetensors", full)
    monkeypatch.setattr(np, "savez", full)
    for line in (["a.npz", "other", "--patch-size", "2"], ["run", "b.npz"], ["run", "b.safetensors"]):
        assert main([str(tmp_path / line[0]), str(tmp_path / line[1]), *line[2:]]) == 1, line
        assert "no space left" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_without_weights(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "a.pth")
    with pytest.raises(ConversionError, match="holds no weights by name"):
        read_state_dict(tmp_path / "a.pth")


def test_a_model_without_a_counterpart(tmp_path):
    with pytest.raises(ConversionError, match="Persistence has no counterpart elsewhere"):
        to_state_dict(nn.Identity(), {"_target_": "convlstm.architectures.baselines.Persistence"})
    model = ConvLSTMStack(1, (3,), kernel_size=3, patch_size=2, bias=True)
    with pytest.raises(ConversionError, match=r"no counterpart elsewhere: layers\.0\.cell\.bias"):
        to_state_dict(model, {"_target_": "convlstm.architectures.convlstm_stack.ConvLSTMStack"})
    with pytest.raises(ConversionError, match="has an ending that is not known"):
        write_state_dict(tmp_path / "a.txt", {"a": np.zeros(2)})


def test_a_run_that_is_there_stays(tmp_path, capsys):
    np.savez(tmp_path / "a.npz", **arrays_of(openstl_predrnn()))
    (tmp_path / "run").mkdir()
    assert main([str(tmp_path / "a.npz"), str(tmp_path / "run"), "--patch-size", "2"]) == 1
    assert "exists already. Choose another folder" in capsys.readouterr().err
    assert list((tmp_path / "run").iterdir()) == []


def test_a_cell_that_gives_its_candidate(rng):
    cell = convlstm.ConvLSTMCell(2, 3, 3, output="candidate")
    plain = convlstm.ConvLSTMCell(2, 3, 3)
    plain.update(cell.parameters())
    x, state = normal(rng, (1, 4, 5, 2)), (normal(rng, (1, 4, 5, 3)), normal(rng, (1, 4, 5, 3)))
    (h, c), (usual, same) = cell(x, state), plain(x, state)
    close(c, same, 1e-5)
    # h = o tanh(g), where the usual h is o tanh(c').
    z = cell.project(x) + mx.conv2d(state[0], cell.Wh, padding=1)
    close(h, usual / mx.tanh(c) * mx.tanh(z[..., 6:9]), 1e-4)
    with pytest.raises(ValueError, match="'output' must be one of cell, candidate but got 'c'"):
        convlstm.ConvLSTMCell(2, 3, output="c")


class NdrplzCell(nn.Module):
    def __init__(self, C, O, k):
        super().__init__()
        self.O, self.conv = O, nn.Conv2d(C + O, 4 * O, k, padding=k // 2)

    def forward(self, x, h, c):
        i, f, o, g = self.conv(torch.cat([x, h], 1)).split(self.O, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


class Ndrplz(nn.Module):
    def __init__(self, C, hidden, k):
        super().__init__()
        self.cell_list = nn.ModuleList([NdrplzCell(hidden[n - 1] if n else C, O, k) for n, O in enumerate(hidden)])

    def forward(self, x):
        for cell in self.cell_list:
            h = c = x.new_zeros(x.shape[0], cell.O, *x.shape[3:])
            outputs = []
            for t in range(x.shape[1]):
                h, c = cell(x[:, t], h, c)
                outputs.append(h)
            x = torch.stack(outputs, 1)
        return x


def test_ndrplz_layers_there_and_back(tmp_path, capsys, rng):
    network = randomised(Ndrplz(2, (3, 5), 3))
    torch.save(network.state_dict(), tmp_path / "a.pth")
    assert main([str(tmp_path / "a.pth"), str(tmp_path / "run")]) == 0
    assert "ConvLSTMSequence" in (told := capsys.readouterr().out)
    assert "Layers, to be used in a model of your own" in told
    x = normal(rng, (2, 4, 6, 5, 2))
    with torch.no_grad():
        expected = network(torch.tensor(np.array(x.transpose(0, 1, 4, 2, 3))))
    outputs, states = convlstm.load(tmp_path / "run")(x)
    close(outputs.transpose(0, 1, 4, 2, 3), expected.numpy(), 1e-4)
    assert len(states) == 2
    assert main([str(tmp_path / "run"), str(tmp_path / "b.safetensors")]) == 0
    back, arrays = read_state_dict(tmp_path / "b.safetensors"), arrays_of(network)
    assert set(back) == set(arrays)
    assert all(np.array_equal(back[name], arrays[name]) for name in arrays)
    with pytest.raises(ConversionError, match=r"is not of four gates"):
        convert({"cell_list.0.conv.weight": np.zeros((3, 2, 3, 3))})


def test_layers_within_a_larger_model(tmp_path, capsys):
    network = randomised(Ndrplz(2, (3,), 3))
    arrays = {f"net.encoder.{name}": array for name, array in network.state_dict().items()}
    torch.save(arrays | {"net.head.weight": torch.zeros(2)}, tmp_path / "a.pth")
    assert main([str(tmp_path / "a.pth"), str(tmp_path / "run")]) == 1
    assert "There is such a one below: net.encoder. (--prefix)." in capsys.readouterr().err
    assert main([str(tmp_path / "a.pth"), str(tmp_path / "run"), "--prefix", "net.encoder."]) == 0
    assert "ConvLSTMSequence" in capsys.readouterr().out
    assert main([str(tmp_path / "a.pth"), str(tmp_path / "other"), "--prefix", "encoder."]) == 1
    assert "no name begins with 'encoder.' (--prefix). They begin with net.." in capsys.readouterr().err


def test_what_a_state_dict_cannot_tell_is_not_written():
    layers = [{"in_channels": 2, "out_channels": 3, "kernel_size": 3, "stride": [2, 2], "peepholes": False}]
    description = {"_target_": "convlstm.architectures.convlstm_sequence.ConvLSTMSequence", "layers": layers}
    with pytest.raises(ConversionError, match=r"ndrplz's ConvLSTM has stride=1 always, and this model has \[2, 2\]"):
        to_state_dict(ConvLSTMSequence(layers), description)
    description = {"_target_": "convlstm.architectures.predrnn.PredRNN", "forget_bias": 0.0}
    with pytest.raises(ConversionError, match=r"PredRNN has forget_bias=1 always, and this model has 0.0"):
        to_state_dict(PredRNN(1, (3,), kernel_size=3, forget_bias=0.0), description)


def keras_file(path, rng, layers, form, names=None, **settings):
    """A file as Keras leaves it, and the arrays in it: ConvLSTM2D layers and a batch normalization after the first."""
    h5py = pytest.importorskip("h5py")
    numbered = ["conv_lstm2d" + (f"_{n}" if n else "") for n in range(len(layers))]
    names = numbered if names is None else names
    cells = [
        [rng.normal(0, 0.3, s).astype(np.float32) for s in ((k, k, C, 4 * O), (k, k, O, 4 * O), (4 * O,))]
        for C, O, k in layers
    ]
    common = {"padding": "same", "strides": [1, 1], "dilation_rate": [1, 1], "data_format": "channels_last"}
    common |= {"activation": "tanh", "recurrent_activation": "sigmoid", "go_backwards": False} | settings
    described = [{"class_name": "ConvLSTM2D", "config": {"name": name} | common} for name in names]
    described.insert(1, {"class_name": "BatchNormalization", "config": {"name": "batch_normalization"}})
    config = {
        "class_name": "Sequential",
        "config": {"layers": [{"class_name": "InputLayer", "config": {}}, *described]},
    }
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, number, cell in zip(names, numbered, cells, strict=True):
            for n, part in enumerate(("kernel", "recurrent_kernel", "bias")):
                old = f"model_weights/{name}/sequential/{name}/conv_lstm_cell/{part}"
                file[old if form == ".h5" else f"layers/{number}/cell/vars/{n}"] = cell[n]
        norm = "batch_normalization"
        for n, part in enumerate(("gamma", "beta")):
            file[f"model_weights/{norm}/{norm}/{part}" if form == ".h5" else f"layers/{norm}/vars/{n}"] = np.ones(3)
        if form == ".h5":
            file.attrs["model_config"] = json.dumps(config)
    if form == ".keras":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", json.dumps(config))
            archive.writestr("model.weights.h5", buffer.getvalue())
    else:
        path.write_bytes(buffer.getvalue())
    return cells


@pytest.mark.parametrize(
    ("form", "names"),
    [
        (".keras", None),
        (".keras", ["conv_lstm2d_1", "conv_lstm2d_2"]),  # the second model of a session
        (".keras", ["last", "first"]),
        (".h5", None),
        (".h5", ["last", "first"]),
        (".weights.h5", None),
    ],
)
def test_keras_layers(form, names, tmp_path, capsys, rng):
    path = tmp_path / f"model{form}"
    cells = keras_file(path, rng, [(2, 3, 3), (3, 4, 5)], form, names)
    padding = ["--padding", "same"] if form == ".weights.h5" else []
    assert main([str(path), str(tmp_path / "run"), *padding]) == 0
    assert "left out, since they are no ConvLSTM2D: batch_normalization" in capsys.readouterr().out
    x = normal(rng, (2, 4, 6, 7, 2))
    expected = np.array(x, np.float64)
    for kernel, recurrent, bias in cells:
        weights = {"Wx": kernel.transpose(3, 0, 1, 2), "Wh": recurrent.transpose(3, 0, 1, 2), "bias": bias}
        state = (np.zeros((2, 6, 7, recurrent.shape[2])),) * 2
        outputs = []
        for t in range(4):
            state = reference.cell(expected[:, t], *state, {k: a.astype(np.float64) for k, a in weights.items()})
            outputs.append(state[0])
        expected = np.stack(outputs, axis=1)
    outputs, _ = convlstm.load(tmp_path / "run")(x)
    close(outputs, expected, 1e-4)


def test_settings_of_keras_layers(tmp_path, rng):
    path = tmp_path / "model.keras"
    keras_file(path, rng, [(2, 3, 3)], ".keras", padding="valid", strides=[2, 1], go_backwards=True)
    arrays, layers, _ = keras.read(path)
    assert layers == [
        {
            "in_channels": 2,
            "out_channels": 3,
            "kernel_size": [3, 3],
            "bias": True,
            "peepholes": False,
            "padding": "valid",
            "stride": [2, 1],
            "dilation": [1, 1],
            "reverse": True,
        }
    ]
    assert convert(arrays, layers=layers).model(normal(rng, (1, 2, 7, 7, 2)))[0].shape == (1, 2, 3, 5, 3)


def test_a_sequential_model_of_old_is_a_list(tmp_path, rng):
    h5py = pytest.importorskip("h5py")
    keras_file(tmp_path / "model.h5", rng, [(2, 3, 3)], ".h5")
    with h5py.File(tmp_path / "model.h5", "a") as file:
        layer = {"class_name": "ConvLSTM2D", "config": {"name": "conv_lstm2d"}}
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": [layer]})
    _, layers, _ = keras.read(tmp_path / "model.h5", padding="same")
    assert (layers[0]["padding"], layers[0]["stride"], layers[0]["dilation"]) == ("valid", [1, 1], [1, 1])


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"recurrent_activation": "hard_sigmoid"}, "recurrent_activation='hard_sigmoid', and ours computes 'sigmoid'"),
        ({"activation": "relu"}, "activation='relu', and ours computes 'tanh'"),
        ({"data_format": "channels_first"}, "data_format='channels_first'"),
    ],
)
def test_keras_layers_that_compute_something_else(settings, text, tmp_path, rng):
    keras_file(tmp_path / "model.keras", rng, [(2, 3, 3)], ".keras", **settings)
    with pytest.raises(ConversionError, match=text):
        keras.read(tmp_path / "model.keras")


@pytest.mark.parametrize("form", [".keras", ".h5", ".weights.h5"])
def test_keras_layers_within_others_are_refused(form, tmp_path, rng):
    h5py = pytest.importorskip("h5py")
    keras_file(tmp_path / "one.weights.h5", rng, [(2, 3, 3)], ".weights.h5")
    old = "model_weights/bidirectional/sequential/bidirectional/{}_conv_lstm2d/conv_lstm_cell/{}"
    buffer = io.BytesIO()
    with h5py.File(tmp_path / "one.weights.h5") as one, h5py.File(buffer, "w") as file:
        for side in ("backward", "forward"):
            for n, part in enumerate(("kernel", "recurrent_kernel", "bias")):
                new = f"layers/bidirectional/{side}_layer/cell/vars/{n}"
                file[old.format(side, part) if form == ".h5" else new] = one[f"layers/conv_lstm2d/cell/vars/{n}"][()]
        inner = {"class_name": "ConvLSTM2D", "config": {"name": "conv_lstm2d"}}
        layer = {"class_name": "Bidirectional", "config": {"name": "bidirectional", "layer": inner}}
        config = json.dumps({"class_name": "Sequential", "config": {"layers": [layer]}})
        if form == ".h5":
            file.attrs["model_config"] = config
    path = tmp_path / f"model{form}"
    path.write_bytes(buffer.getvalue())
    if form == ".keras":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", config)
            archive.writestr("model.weights.h5", buffer.getvalue())
    named = "layers/bidirectional/backward_layer" if form == ".weights.h5" else r"bidirectional \(Bidirectional\)"
    with pytest.raises(ConversionError, match=f"within others, which are not converted: {named}"):
        keras.read(path)


def test_files_of_keras_that_cannot_be_read(tmp_path):
    h5py = pytest.importorskip("h5py")
    for name in ("a.h5", "a.keras"):
        (tmp_path / name).write_bytes(b"damaged")
        with pytest.raises(ConversionError, match="cannot be read"):
            keras.read(tmp_path / name)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["layers/dense/vars/0"] = np.zeros((3, 4))
    with pytest.raises(ConversionError, match="has no ConvLSTM2D layers"):
        keras.read(tmp_path / "b.h5")


def test_a_sequence_of_layers(rng):
    layers = [{"in_channels": 2, "out_channels": 3, "kernel_size": 3}, {"in_channels": 3, "out_channels": 4}]
    model = ConvLSTMSequence(layers)
    x = normal(rng, (2, 5, 6, 7, 2))
    whole, states = model(x)
    half, middle = model(x[:, :2])
    rest, after = model(x[:, 2:], middle)
    close(mx.concatenate([half, rest], axis=1), whole, 1e-5)
    for a, b in zip(after, states, strict=True):
        close(a[0], b[0], 1e-5)
        close(a[1], b[1], 1e-5)
    with pytest.raises(ValueError, match="'layers' must describe at least one layer"):
        ConvLSTMSequence([])
    with pytest.raises(ValueError, match="layer 0 has 3 channels but layer 1 reads 5"):
        ConvLSTMSequence([layers[0], {"in_channels": 5, "out_channels": 1}])
    with pytest.raises(ValueError, match="one entry for each of the 2 layers but has 1"):
        model(x, [None])
