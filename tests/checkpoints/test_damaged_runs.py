"""Commands on runs with a damaged checkpoint."""

from __future__ import annotations

import shutil
import sys

from convlstm.checkpoints import read_state
from convlstm.cli import train
from tests.support.checkpoints import flipped, missing
from tests.support.tiny import OVERRIDES, call, snapshot

import pytest


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """A run of 12 steps with checkpoints at 4, 8, 10 and 12, and a best one."""
    output = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYDRA_FULL_ERROR", "1")
        patch.setattr(sys, "argv", ["train.py", *OVERRIDES, "trainer.max_steps=12", f"output={output}", "name=a"])
        train.main()
    return output / "a"


@pytest.mark.filterwarnings("default:.*is used instead of:UserWarning")
@pytest.mark.parametrize(("file", "harm"), [("model.safetensors", flipped), ("state.json", missing)])
def test_a_run_resumes_from_the_checkpoint_before_a_damaged_one(file, harm, reference, tmp_path, monkeypatch, capsys):
    run = shutil.copytree(reference, tmp_path / "a")
    harm(run / "checkpoints" / "last" / file)
    assert read_state(run / "checkpoints" / "last.previous")["step"] == 10
    line = [*OVERRIDES, "trainer.max_steps=12", f"output={tmp_path}", "name=a", "resume=auto"]
    status, out, err = call("train", monkeypatch, capsys, *line)
    assert status == 0, err
    assert "last.previous' is used instead of '" in err
    assert file in err
    assert "from step 10 on" in out
    for name in ("model.safetensors", "optimizer.safetensors"):
        got, expected = (folder / "checkpoints" / "last" / name for folder in (run, reference))
        assert got.read_bytes() == expected.read_bytes()
    # A checkpoint that is named itself is the one that is meant.
    shutil.rmtree(run)
    shutil.copytree(reference, run)
    harm(run / "checkpoints" / "last" / file)
    before = snapshot(run)
    status, _, err = call("train", monkeypatch, capsys, *line[:-1], f"resume={run / 'checkpoints' / 'last'}")
    assert status == 1
    assert file in err
    assert snapshot(run) == before


@pytest.mark.filterwarnings("default:.*is used instead of:UserWarning")
def test_a_run_with_a_damaged_best_checkpoint_is_evaluated(reference, tmp_path, monkeypatch, capsys):
    run = shutil.copytree(reference, tmp_path / "a")
    for name in ("best", "best.previous"):
        if (run / "checkpoints" / name).exists():
            flipped(run / "checkpoints" / name / "model.safetensors")
    line = [f"ckpt={run}", "trusted=[tests]", "examples=[]"]
    status, _, err = call("evaluate", monkeypatch, capsys, *line)
    assert status == 0, err
    assert "best/model.safetensors' is damaged: its contents are not those that were written" in err
    assert f"So '{run / 'checkpoints' / 'last'}' is used instead of '{run / 'checkpoints' / 'best'}'." in err
    document = (run / "evaluation" / "metrics.json").read_text()
    assert str(run / "checkpoints" / "last") in document
    status, _, err = call("evaluate", monkeypatch, capsys, f"ckpt={run / 'checkpoints' / 'best'}", *line[1:])
    assert status == 1
    assert "best/model.safetensors' is damaged" in err
