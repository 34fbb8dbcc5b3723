"""Fine-tuning: `init`, `freeze`, other channels, averaged weights, resuming, and checkpoints of strangers."""

import csv
import functools
import json
import shutil
import sys

from convlstm import checkpoints
from convlstm.checkpoints import tensors
from convlstm.runs.summary import read
from tests.support.tiny import OVERRIDES, call

import mlx.core as mx
import numpy as np
import pytest
import yaml

# The model comes from the checkpoint.
DATA = tuple(change for change in OVERRIDES if not change.startswith("model."))


@pytest.fixture
def train(monkeypatch, capsys, tmp_path):
    run = functools.partial(call, "train", monkeypatch, capsys)
    return lambda *arguments: run(*DATA, f"output={tmp_path / 'runs'}", *arguments)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Returns a run of two steps with averaged weights, of a model with two levels."""
    output = tmp_path_factory.mktemp("first")
    line = [*DATA, "model.hidden_channels=[4,6]", "model.kernel_size=3", "trainer.max_steps=2", "trainer.ema=0.5"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYDRA_FULL_ERROR", "1")
        patch.setattr(sys, "argv", ["train.py", *line, f"output={output}", "name=first"])
        from convlstm.cli import train

        train.main()
    return output / "first"


def weights(run, name="last"):
    return tensors.read(run / "checkpoints" / name / checkpoints.MODEL)


def test_a_run_starts_from_the_averaged_weights_and_the_model_of_a_checkpoint(train, first, tmp_path):
    # A learning rate of 1e-30 leaves the weights as they were.
    status, out, err = train(f"init={first}", "name=next", "trainer.max_steps=1", "schedule.learning_rate=1e-30")
    assert (status, err) == (0, "")
    best = (first / "checkpoints" / "best").resolve()
    assert f"note        the model is that of '{best}'" in out
    count = len(weights(first))
    assert f"init        {count} of {count} arrays from '{best}', step 2" in out
    run = tmp_path / "runs" / "next"
    averaged = tensors.read(best / checkpoints.EMA)
    for name, array in weights(run).items():
        np.testing.assert_array_equal(array, averaged[name], err_msg=name)
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["init"] == str(best)
    assert config["model"] == yaml.safe_load((first / "config.yaml").read_text())["model"]
    assert not {"trusted", "freeze"} & set(config)
    assert json.loads((run / "run.json").read_text())["starts"][0]["init"] == str(best)
    assert read(run).config["init"] == str(best)
    assert checkpoints.read_state(run / "checkpoints" / "last")["step"] == 1


def test_a_run_that_gets_worse_keeps_the_weights_it_began_with_as_its_best(train, first, tmp_path):
    arguments = ("schedule=constant", "schedule.learning_rate=10", "trainer.max_grad_norm=null")
    arguments = (*arguments, "trainer.validate_every=1", "trainer.max_steps=3")
    status, out, err = train(*arguments, f"init={first}", "name=worse")
    assert (status, err) == (0, "")
    run = tmp_path / "runs" / "worse"
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows if row["val_loss"]] == ["0", "1", "2", "3"]
    assert f"step 0: validation MSE {float(rows[0]['val_mse_per_frame']):.4g} per frame" in out
    assert "best val_loss" in out
    assert "at step 0" in out
    averaged = tensors.read(first / "checkpoints" / "best" / checkpoints.EMA)
    for name, array in weights(run, "best").items():
        np.testing.assert_array_equal(array, averaged[name], err_msg=name)
    # A run that is resumed at step 0 has that validation already.
    status, out, err = train(*arguments, f"resume={run / 'checkpoints' / 'best'}")
    assert (status, err) == (0, "")
    assert "step 1: validation" in out
    assert "step 0: validation" not in out


def test_frozen_layers_do_not_change_and_the_run_can_be_resumed_and_loaded(train, first, tmp_path):
    arguments = (f"init={first}", "freeze=[encoder,*.bias]", "optimizer=adamw", "schedule=constant", "name=next")
    arguments = ("trainer.ema=0.5", *arguments)
    status, out, err = train(*arguments, "trainer.max_steps=12")
    assert (status, err) == (0, "")
    assert "frozen      " in out
    run = tmp_path / "runs" / "next"
    start, end = tensors.read(first / "checkpoints" / "best" / checkpoints.EMA), weights(run)
    frozen = {name for name in end if name.startswith("encoder.") or name.endswith(".bias")}
    assert 0 < len(frozen) < len(end)
    for name, array in end.items():
        assert mx.array_equal(array, start[name]).item() == (name in frozen), name
    averaged = tensors.read(run / "checkpoints" / "last" / checkpoints.EMA)
    assert set(averaged) == set(end) - frozen

    # The run goes on by its own weights and model, also to the last bit.
    again = [argument for argument in arguments if not argument.startswith("init=")]
    status, out, err = train(*again, "trainer.max_steps=14", "resume=auto")
    assert status == 0, err
    assert "from step 12 on" in out
    assert yaml.safe_load((run / "config.yaml").read_text())["init"]
    status, _, err = train(*arguments[:-1], "trainer.max_steps=14", "name=whole")
    assert status == 0, err
    whole = weights(tmp_path / "runs" / "whole")
    for name, array in weights(run).items():
        assert mx.array_equal(array, whole[name]).item(), name

    model = checkpoints.load(run, trusted=("convlstm",))
    loaded = tensors.named(model.parameters())
    assert all(mx.array_equal(loaded[name], start[name]).item() for name in frozen)
    status, _, err = train(*(a for a in again if "freeze" not in a), "trainer.max_steps=14", "resume=auto")
    assert status == 1
    assert "freeze: ['encoder', '*.bias'] in the run, None now" in err


def test_layers_of_other_shapes_start_anew_and_are_listed(train, first):
    status, out, err = train(f"init={first}", "model.hidden_channels=[4,8]", "trainer.max_steps=1", "name=wider")
    assert (status, err) == (0, "")
    anew = [line.split()[1].rstrip(":") for line in out.splitlines() if line.startswith("anew ")]
    start = weights(first)
    assert anew
    assert all(name in start for name in anew if name != "and")
    assert " in the checkpoint, (" in out
    assert f"of {len(start)} arrays from" in out


def test_other_data_with_other_channels(first, tmp_path, monkeypatch, capsys):
    frames = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), np.uint8)
    (tmp_path / "clips").mkdir()
    for n in range(8):
        np.save(tmp_path / "clips" / f"clip{n}.npy", np.roll(frames, n, axis=0))
    status, out, err = call(
        *("train", monkeypatch, capsys, "data=video", f"data.path={tmp_path / 'clips'}", "data.frame_size=16"),
        *("data.input_frames=3", "data.target_frames=3", "data.channels=3", "data.progress=false", f"init={first}"),
        *("trainer.batch_size=2", "trainer.max_steps=1", "trainer.validate_every=1", f"output={tmp_path}", "name=c"),
    )
    assert status == 0, out + err
    assert "model.in_channels is 3" in out
    shapes, former = ({name: a.shape for name, a in weights(run).items()} for run in (tmp_path / "c", first))
    differing = {name for name in shapes if shapes[name] != former[name]}
    assert {line.split()[1].rstrip(":") for line in out.splitlines() if line.startswith("anew ")} == differing
    assert 0 < len(differing) < len(shapes)


def test_refusals(train, first, tmp_path):
    def error(*arguments):
        status, _, err = train("trainer.max_steps=1", *arguments)
        assert status == 1, err
        return err

    assert "'init' starts a new run, and 'resume' continues one" in error(f"init={first}", f"resume={first}")
    assert "init: '" in error(f"init={tmp_path / 'nowhere'}")
    assert "no array in '" in error(f"init={first}", "model=simvp")
    assert "[freeze] 'freeze' must name layers of the model but got 'encodr', which matches none." in error(
        "model.hidden_channels=[4]", "freeze=[encodr]"
    )
    assert "'freeze' must leave layers to train" in error("model.hidden_channels=[4]", 'freeze=["*"]')
    assert "'freeze' must be a list of names of layers, such as freeze=[encoder], but got 3" in error("freeze=3")


def test_a_strangers_checkpoint_runs_nothing_and_must_be_whole(train, first, tmp_path):
    def changed(model=None, arrays=None):
        shutil.rmtree(tmp_path / "stranger", ignore_errors=True)
        folder = shutil.copytree(first / "checkpoints" / "best", tmp_path / "stranger")
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config["model"] |= model or {}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        if arrays:
            mx.save_safetensors(str(folder / checkpoints.EMA), arrays)
        checkpoints.seal(folder)
        status, _, err = train("trainer.max_steps=1", f"init={folder}", "name=x")
        assert status == 1
        assert "Traceback" not in err
        return err

    assert "is outside the trusted packages" in changed({"_target_": "os.system", "command": "true"})
    assert "is outside the trusted packages" in changed({"_target_": "convlstm.datasets.moving_mnist.MovingMNIST"})
    assert "is not a Module" in changed({"_target_": "convlstm.losses.Balanced"})
    assert "only configurations of the user may have" in changed({"kernel_size": "${oc.env:HOME}"})
    assert "only configurations of the user may have" in changed({"_partial_": True})
    averaged = tensors.read(first / "checkpoints" / "best" / checkpoints.EMA)
    name = next(iter(averaged))
    assert "NaN or infinite" in changed(arrays={**averaged, name: averaged[name] * float("nan")})
    (tmp_path / "stranger" / checkpoints.MODEL).write_bytes(b"short")
    status, _, err = train(f"init={tmp_path / 'stranger'}", "name=x")
    assert status == 1
    assert "is damaged" in err
    assert not (tmp_path / "runs" / "x").exists()
