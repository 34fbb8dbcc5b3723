"""The command `train`: its runs, how they are resumed, and runs that must not start."""

import functools
import json
import os
import shutil
import sys

from tests.support.tiny import OVERRIDES, call, snapshot

import mlx.core as mx
import pytest
import yaml

SHORT = (*OVERRIDES, "trainer.max_steps=2")


@pytest.fixture
def train(monkeypatch, capsys):
    return functools.partial(call, "train", monkeypatch, capsys)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Returns a run of two steps. Tests resume or damage copies of it."""
    output = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYDRA_FULL_ERROR", "1")
        patch.setattr(sys, "argv", ["train.py", *SHORT, f"output={output}", "name=run"])
        from convlstm.cli import train

        train.main()
    return output / "run"


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "runs" / "run")


def last(run):
    return run / "checkpoints" / "last"


def test_cfg_job_shows_what_would_run_and_runs_nothing(train, tmp_path):
    status, out, err = train("experiment=quickstart", f"output={tmp_path / 'runs'}", "--cfg", "job", "--resolve")
    assert (status, err) == (0, "")
    config = yaml.safe_load(out)
    assert config["data"]["frame_size"] == 32
    assert config["optimizer"]["learning_rate"]["steps"] == config["trainer"]["max_steps"]
    assert not (tmp_path / "runs").exists()


def test_a_run_reports_its_work_and_keeps_its_configuration(trained, train, run):
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert config["data"]["digits"] == "builtin"
    assert (config["name"], config["output"], config["resume"]) == ("run", str(trained.parent), None)
    assert config["schedule"]["steps"] == 2
    assert yaml.safe_load((last(trained) / "config.yaml").read_text()) == config
    files = ["checkpoints", "config.yaml", "metrics.csv", "metrics.jsonl", "run.json"]
    assert sorted(path.name for path in trained.iterdir()) == files

    status, out, err = train(*OVERRIDES, "trainer.max_steps=3", f"output={run.parent}", "name=run", "resume=auto")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"run         {run}, from step 2 on"
    assert lines[1].startswith("device      Device(")
    assert lines[2] == "model       EncoderForecaster, 3,592 parameters"
    assert lines[3].startswith("data        moving_mnist, digits: builtin")
    assert "changed     trainer.max_steps: 2 in the run so far, 3 from here on" in lines
    assert lines[-2].startswith("finished at step 3 of 3; best val_loss ")
    assert lines[-1] == f"Next:  python evaluate.py ckpt={run}"  # what was just trained is trusted
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["max_steps"] == 3


def test_resume_auto_without_a_run_starts_one(train, tmp_path):
    status, out, _ = train(*SHORT, f"output={tmp_path}", "resume=auto", "name=first")
    assert status == 0
    assert "finished at step 2 of 2" in out
    assert (tmp_path / "first" / "checkpoints" / "last").exists()

    status, out, _ = train(*SHORT, f"output={tmp_path}", "resume=auto", "schedule.learning_rate=0.5")
    assert status == 0
    assert "resume=auto found no run of this configuration" in out
    assert len(list(tmp_path.iterdir())) == 2, "another learning rate is another run"


def test_resume_auto_finds_the_latest_run_of_the_configuration(train, run):
    other = shutil.copytree(run, run.parent / "other")
    for name in ("run", "other"):
        os.utime(run.parent / name / "checkpoints", (1e9, 1e9 + (name == "run")))
    torn = shutil.copytree(run, run.parent / "torn")
    for place in (torn / "checkpoints").iterdir():
        (place / "config.yaml").write_text("[")
    status, out, _ = train(*OVERRIDES, "trainer.max_steps=4", f"output={run.parent}", "resume=auto")
    assert status == 0
    assert out.startswith(f"run         {run}, from step 2 on\n")
    assert json.loads((last(run) / "state.json").read_text())["step"] == 4
    assert json.loads((last(other) / "state.json").read_text())["step"] == 2


def test_a_checkpoint_outside_a_run_starts_a_run_of_its_own(train, run, tmp_path):
    alone = shutil.copytree(last(run), tmp_path / "given")
    before = snapshot(alone)
    line = [*OVERRIDES, "trainer.max_steps=3", f"output={tmp_path / 'new'}", "name=mine", f"resume={alone}"]
    status, out, _ = train(*line)
    assert status == 0
    assert f"run         {tmp_path / 'new' / 'mine'}, from step 2 on" in out
    assert snapshot(alone) == before
    assert "holds a run already" in train(*line)[2]


def test_a_name_that_is_taken(train, run):
    before = snapshot(run.parent)
    status, out, err = train(*SHORT, "seed=1", f"output={run.parent}", "name=run")
    assert (status, out) == (1, "")
    assert err == f"train.py: '{run}' holds a run already. Resume it (resume=auto), or choose another name=..."
    assert snapshot(run.parent) == before


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        (
            ["model.hidden_channels=[5]", "model.bias=false"],
            ["model.hidden_channels: [4] in the run, [5] now", "model.bias"],
        ),
        (["loss=mse"], ["loss._target_: 'convlstm.losses.BinaryCrossEntropy' in the run"]),
        (["data.num_digits=2", "seed=1"], ["data.num_digits: 1 in the run, 2 now", "seed: 0 in the run, 1 now"]),
        (["trainer.batch_size=3"], ["trainer.batch_size: 2 in the run, 3 now"]),
    ],
)
def test_a_changed_configuration_is_listed(changes, keys, train, run):
    before = snapshot(run.parent)
    for resume in ("resume=auto", f"resume={run}", f"resume={last(run)}"):
        status, out, err = train(
            *OVERRIDES, "trainer.max_steps=3", *changes, f"output={run.parent}", "name=run", resume
        )
        assert (status, out) == (1, "")
        assert "cannot be resumed with another configuration" in err
        assert all(key in err for key in keys)
        assert err.count("\n  ") == len(changes) + ("loss=mse" in changes), "and nothing else"
        assert snapshot(run.parent) == before


def test_other_digits_under_the_same_configuration_are_refused(train, run, monkeypatch):
    before = snapshot(run.parent)
    monkeypatch.setenv("TINY_DIGITS", "1")
    status, out, err = train(*OVERRIDES, "trainer.max_steps=3", f"resume={run}")
    assert (status, out) == (1, "")
    assert "was trained on other data:\n  digits_sha256: '" in err
    assert "Give it the data that it was trained on (data.root=" in err
    assert snapshot(run.parent) == before


def test_auto_digits_are_those_of_the_run_s_start(train, run, monkeypatch):
    line = [*OVERRIDES, "trainer.max_steps=3", f"output={run.parent}", "name=run", "resume=auto"]
    status, _, _ = train(*line, "data.digits=auto")
    assert status == 0
    assert yaml.safe_load((run / "config.yaml").read_text())["data"]["digits"] == "builtin"
    status, _, err = train(*line, "data.digits=mnist")
    assert status == 1
    assert "data.digits: 'builtin' in the run, 'mnist' now" in err


def test_another_optimizer_is_no_continuation(train, run):
    before = snapshot(run)
    status, _, err = train(*OVERRIDES, "trainer.max_steps=3", f"resume={run}", "optimizer=rmsprop")
    assert status == 1
    assert "optimizer.safetensors' belongs to another optimizer" in err
    assert snapshot(run) == before


def cut(path):
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize("command", ["train", "evaluate"])
@pytest.mark.parametrize(
    ("harm", "text"),
    [
        (lambda folder: shutil.rmtree(folder.parent.parent), r"does not exist. Give a run's folder"),
        (lambda folder: shutil.rmtree(folder.parent), "holds no checkpoint"),
        (lambda folder: (folder / "state.json").unlink(), "is incomplete, without state.json"),
        (lambda folder: cut(folder / "model.safetensors"), "model.safetensors' is damaged"),
        (lambda folder: (folder / "state.json").write_text("{}"), "state.json' is damaged"),
        (lambda folder: (folder / "config.yaml").write_text("model: ["), "config.yaml' is damaged"),
    ],
)
def test_an_incomplete_or_damaged_checkpoint_is_refused(harm, text, command, train, evaluate, run):
    shutil.rmtree(run / "checkpoints" / "best")
    shutil.rmtree(run / "checkpoints" / "best.previous", ignore_errors=True)
    shutil.rmtree(run / "checkpoints" / "last.previous", ignore_errors=True)
    harm(last(run))
    before = snapshot(run.parent)
    if command == "train":
        status, _, err = train(*OVERRIDES, "trainer.max_steps=3", f"resume={run}")
    else:
        status, _, err = evaluate(f"ckpt={run}", "trusted=[tests]")
    assert status == 1
    assert text in err
    assert err.startswith(f"{command}.py: ")
    assert snapshot(run.parent) == before


def test_data_that_fail_leave_the_last_checkpoint(train, tmp_path, monkeypatch):
    monkeypatch.setenv("TINY_BROKEN", "train:0:12")
    line = [*OVERRIDES, "trainer.max_steps=8", f"output={tmp_path}", "name=a"]
    status, _, err = train(*line)
    assert status == 1
    assert "train.py: the data (train) failed after step 6: KeyError: 'no such frame' (tiny.py, line " in err
    assert f"The last good checkpoint is '{last(tmp_path / 'a')}'." in err
    monkeypatch.delenv("TINY_BROKEN")
    assert "from step 6 on" in train(*line, "resume=auto")[1]


def test_a_loss_that_is_not_finite_ends_the_program(train, tmp_path):
    status, _, err = train(
        *OVERRIDES,
        "trainer.max_steps=8",
        f"output={tmp_path}",
        "name=a",
        "loss=mse",
        "model.activation=linear",
        "model.output_mean=null",
        "optimizer.learning_rate=1e30",
        "trainer.checkpoint_every=1",
        "trainer.max_skipped=2",
    )
    assert status == 1
    assert "became" in err
    assert "with a learning rate of 1e+30, after 2 steps in a row were skipped" in err
    assert "The last good checkpoint is" in err
    assert json.loads((last(tmp_path / "a") / "state.json").read_text())["step"] >= 1
    kept = mx.load(str(last(tmp_path / "a") / "model.safetensors"))
    assert all(mx.isfinite(array).all() for array in kept.values())


@pytest.fixture
def evaluate(monkeypatch, capsys):
    return functools.partial(call, "evaluate", monkeypatch, capsys)
