"""Classes of the user's own through all commands, without `trusted` for what this user has trained."""

from __future__ import annotations

import shutil
import sys

from convlstm import Forecaster
from tests.support.tiny import OVERRIDES, call

import numpy as np
import pytest

SHORT = tuple(change for change in OVERRIDES if not change.startswith("model."))
MODULE = """
import mlx.core as mx
import mlx.nn as nn
from convlstm.losses import MeanSquaredError
from tests.support.tiny import Data

class Waves(Data):
    pass

class Error(MeanSquaredError):
    pass

class Last(nn.Module):
    def __init__(self, weight: float = 0.5):
        super().__init__()
        self.weight = mx.array([weight])

    def __call__(self, inputs, horizon, *, key=None):
        return mx.repeat(inputs[:, -1:] * self.weight, horizon, axis=1)
"""


@pytest.fixture
def commands(tmp_path, monkeypatch, capsys):
    """Returns a function that calls a command in a folder with the module `classes_of_mine`."""
    (tmp_path / "classes_of_mine.py").write_text(MODULE)
    (tmp_path / "classes_of_mine.py").chmod(0o644)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("convlstm.cli.evaluate.write_pictures", lambda *_, **__: [])  # most of the time
    yield lambda name, *arguments: call(name, monkeypatch, capsys, *arguments)
    sys.modules.pop("classes_of_mine", None)


@pytest.fixture
def train(commands, tmp_path):
    own = ("data._target_=classes_of_mine.Waves", "model._target_=classes_of_mine.Last", "loss=mse")
    own += ("loss._target_=classes_of_mine.Error", f"output={tmp_path / 'runs'}", "trainer.max_steps=2")
    line = [change for change in SHORT if not change.startswith("data._target_")]

    return lambda *arguments: commands("train", *line, *own, *arguments)


def test_what_was_just_trained_is_trusted_by_every_command(commands, train, tmp_path):
    status, out, err = train("name=mine")
    assert (status, err) == (0, "")
    run = tmp_path / "runs" / "mine"
    assert out.splitlines()[-1] == f"Next:  python evaluate.py ckpt={run}"
    for name, *arguments in (
        ("evaluate", f"ckpt={run}", "examples=[]", "baselines=[]"),
        ("evaluate", f"ckpt=[{run},{run}/checkpoints/last]", "ensemble=true", "examples=[]", "baselines=[]"),
        ("summary", f"ckpt={run}", "input_frames=3", "horizon=3", "frame_size=16", "memory=false"),
    ):
        status, _, err = commands(name, *arguments)
        assert status == 0, (name, err)
    status, out, err = train("name=mine", "resume=auto", "trainer.max_steps=3")
    assert (status, err) == (0, "")
    status, out, err = commands("evaluate", f"ckpt={run}", "examples=[]", "baselines=[]")
    assert status == 0, err
    assert Forecaster.load(run)(np.zeros((3, 16, 16), np.float32), 2).shape == (2, 16, 16)


def test_a_run_may_start_from_what_was_just_trained(commands, train, tmp_path):
    assert train("name=mine")[0] == 0
    line = [change for change in OVERRIDES if not change.startswith("model.")]
    line += [f"output={tmp_path / 'runs'}", "trainer.max_steps=3", f"init={tmp_path / 'runs' / 'mine'}", "name=next"]
    status, out, err = commands("train", *line)
    assert (status, err) == (0, "")
    assert "init        1 of 1 arrays" in out
    status, out, err = commands("train", *line, "resume=auto", "init=null", "trainer.max_steps=4")
    assert (status, err) == (0, "")
    assert commands("evaluate", f"ckpt={tmp_path / 'runs' / 'next'}", "examples=[]")[0] == 0


def test_a_copy_needs_trusted_and_says_so(commands, train, tmp_path):
    assert train("name=mine")[0] == 0
    copied = shutil.copytree(tmp_path / "runs" / "mine", tmp_path / "received")
    for name, *arguments in (
        ("evaluate", f"ckpt={copied}", "examples=[]"),
        ("evaluate", f"ckpt=[{tmp_path / 'runs' / 'mine'},{copied}]", "examples=[]"),
        ("summary", f"ckpt={copied}"),
        ("train", *SHORT, f"init={copied}", f"output={tmp_path / 'runs'}", "name=next"),
    ):
        status, _, err = commands(name, *arguments)
        assert status == 1
        assert "trusted=[classes_of_mine]. What you have trained yourself is trusted where it was trained" in err
    status, _, err = commands("evaluate", f"ckpt={copied}", "examples=[]", "baselines=[]", "trusted=[classes_of_mine]")
    assert status == 0, err


def test_the_next_command_has_trusted_if_the_list_could_not_be_kept(commands, train, tmp_path):
    (tmp_path / "state").write_text("not a folder")
    status, out, err = train("name=mine")
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == (
        f"Next:  python evaluate.py 'trusted=[classes_of_mine]' ckpt={tmp_path / 'runs' / 'mine'}"
    )
