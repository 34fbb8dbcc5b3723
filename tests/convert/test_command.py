"""The command `convlstm convert`."""

from __future__ import annotations

import re

import convlstm
from convlstm.convert import ConversionError, convert, read_state_dict
from convlstm.convert.__main__ import main
from tests.support.reference import close, normal

import mlx.core as mx
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.support.torch_openstl import arrays_of, openstl_predrnn, openstl_stack  # noqa: E402


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
    assert "left out, since no output depends on them: 4 arrays" in told
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


def test_legacy_models_and_the_command(tmp_path, capsys):
    torch.save(openstl_stack().state_dict(), tmp_path / "a.pth")
    assert main([str(tmp_path / "a.pth"), str(tmp_path / "run"), "--patch-size", "2", "--legacy"]) == 0
    assert "legacy: its cells output o . g instead of o . tanh(c')" in capsys.readouterr().out
    assert all(layer.cell.output == "candidate" for layer in convlstm.load(tmp_path / "run").layers)
    assert main([str(tmp_path / "run"), str(tmp_path / "back.npz")]) == 0
    assert "legacy: its cells output o . g" in capsys.readouterr().out
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


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch, capsys):
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


def test_a_run_that_is_there_stays(tmp_path, capsys):
    np.savez(tmp_path / "a.npz", **arrays_of(openstl_predrnn()))
    (tmp_path / "run").mkdir()
    assert main([str(tmp_path / "a.npz"), str(tmp_path / "run"), "--patch-size", "2"]) == 1
    assert "exists already. Choose another folder" in capsys.readouterr().err
    assert list((tmp_path / "run").iterdir()) == []
