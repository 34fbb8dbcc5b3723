"""Files of weights: their content, and the code in them that is not run."""

from __future__ import annotations

import argparse
import os
import pickle
from pathlib import Path

from convlstm.convert import ConversionError, read_state_dict, write_state_dict

import mlx.core as mx
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.support.torch_openstl import arrays_of, openstl_predrnn  # noqa: E402

from torch import nn  # noqa: E402


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


def test_other_content_of_the_file_is_left_out(tmp_path):
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
        ("absent.pth", None, "is not a file. Name a file of weights"),
        ("a.txt", b"weights", "has an unknown ending"),
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


def test_a_file_without_weights(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "a.pth")
    with pytest.raises(ConversionError, match="holds no weights by name"):
        read_state_dict(tmp_path / "a.pth")
