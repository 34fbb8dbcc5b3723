"""Small slips at the start of a training: replaced classes, names with `=`, experiments that lack their first line."""

import functools

from tests.support.tiny import OVERRIDES, call

import pytest
import yaml

SHORT = (*OVERRIDES, "trainer.max_steps=1", "trainer.validate_every=1")


@pytest.fixture
def train(monkeypatch, capsys, tmp_path):
    run = functools.partial(call, "train", monkeypatch, capsys)
    return lambda *arguments: run(*SHORT, f"output={tmp_path / 'runs'}", *arguments)


def write(folder, group, name, text):
    (folder / group).mkdir(parents=True, exist_ok=True)
    (folder / group / f"{name}.yaml").write_text(text)


def test_keys_of_a_replaced_class_are_left_out_unless_typed(train, tmp_path):
    status, out, err = train("loss._target_=convlstm.losses.MeanSquaredError", "name=a")
    assert (status, err) == (0, "")
    assert (
        "note        loss._target_ is convlstm.losses.MeanSquaredError, so keys of convlstm.losses.BinaryCrossEntropy "
        "are left out: epsilon\n" in out
    )
    loss = yaml.safe_load((tmp_path / "runs" / "a" / "config.yaml").read_text())["loss"]
    assert loss == {"_target_": "convlstm.losses.MeanSquaredError"}

    status, _, err = train("loss._target_=convlstm.losses.MeanSquaredError", "loss.epsilon=0.1", "name=b")
    assert status == 1
    assert "there is no key 'loss.epsilon'" in err
    status, _, err = train("loss=mse", "+loss.epsilon=0.1", "name=c")
    assert status == 1
    assert "there is no key 'loss.epsilon'" in err


def test_only_missing_keys_of_the_new_class_are_complained_about(train):
    status, out, err = train("schedule._target_=mlx.optimizers.exponential_decay", "+schedule.init=1e-3", "name=a")
    assert status == 1  # decay_rate has no value, and it is the only complaint
    assert [line for line in err.splitlines() if "no key" in line] == []
    assert "'schedule.decay_rate' has no value" in err


def test_a_key_that_only_the_new_class_takes_needs_no_plus(train, tmp_path):
    status, out, err = train("loss._target_=convlstm.losses.Balanced", "loss.squared=0.5", "name=a")
    assert status == 1
    assert "'loss.bins' has no value" in err
    assert "loss.squared" not in err
    line = ("loss._target_=convlstm.losses.Balanced", "loss.bins=[0.5]", "loss.weights=[1,2]", "loss.squared=0.5")
    status, out, err = train(*line, "name=a")
    assert (status, err) == (0, "")
    assert yaml.safe_load((tmp_path / "runs" / "a" / "config.yaml").read_text())["loss"]["squared"] == 0.5
    status, _, err = train("loss._target_=convlstm.losses.Balanced", "loss.sqared=0.5", "name=b")
    assert status == 1
    assert "there is no key 'loss.sqared'" in err


def test_an_own_experiment_may_replace_a_class(train, tmp_path):
    text = "# @package _global_\nloss:\n  _target_: convlstm.losses.MeanSquaredError\n"
    write(tmp_path / "own", "experiment", "mine", text)
    status, out, err = train("--config-dir", str(tmp_path / "own"), "experiment=mine", "name=a")
    assert (status, err) == (0, "")
    assert "are left out: epsilon" in out
    write(tmp_path / "own", "experiment", "slip", f"{text}  delt: 2\n")
    status, _, err = train("--config-dir", str(tmp_path / "own"), "experiment=slip", "name=b")
    assert status == 1
    assert "there is no key 'loss.delt'" in err


def test_an_experiment_without_its_first_line_is_named(train, tmp_path):
    write(tmp_path / "own", "experiment", "mine", "trainer:\n  patience: 7\n")
    status, _, err = train("--config-dir", str(tmp_path / "own"), "experiment=mine", "name=a")
    assert status == 1
    assert "the keys of the experiment lie below 'experiment' (trainer)" in err
    assert "Write this as its first line:  # @package _global_" in err
    write(tmp_path / "own", "experiment", "mine", "# @package _global_\ntrainer:\n  patience: 7\n")
    status, out, err = train("--config-dir", str(tmp_path / "own"), "experiment=mine", "name=a")
    assert (status, err) == (0, "")
    assert yaml.safe_load((tmp_path / "runs" / "a" / "config.yaml").read_text())["trainer"]["patience"] == 7


def test_a_name_may_have_an_equals_sign(train, tmp_path, monkeypatch, capsys):
    status, out, err = train("name=lr=0.1")
    assert (status, err) == (0, "")
    run = tmp_path / "runs" / "lr=0.1"
    assert yaml.safe_load((run / "config.yaml").read_text())["name"] == "lr=0.1"
    assert f"""'ckpt="{run}"'""" in out
    status, out, err = call("evaluate", monkeypatch, capsys, "trusted=[tests]", f"ckpt={run}", "examples=[]")
    assert status == 0, err


def test_few_sequences_of_validation_are_said(train):
    status, out, _ = train("data.validation_sequences=2", "name=a")
    assert status == 0
    assert "note        the validation split has 2 sequences, by which the best checkpoint is chosen" in out
    status, out, _ = train("data.validation_sequences=8", "name=b")
    assert status == 0
    assert "validation split has" not in out


def test_the_split_of_the_event_of_knmi_is_said_to_leave_two(monkeypatch, capsys, tmp_path, radar_root):
    status, out, err = call(
        *("train", monkeypatch, capsys, "data=radar_echo", f"data.archive={radar_root / 'knmi_20100826'}"),
        *("data.target_frames=10", "data.coarsen=16", "data.frame_size=32", f"data.index={tmp_path / 'index'}"),
        *("data.progress=false", "loss=mse", "model.hidden_channels=[2]", "model.kernel_size=3", "trainer.max_steps=1"),
        *("trainer.batch_size=2", "trainer.validate_every=1", f"output={tmp_path}", "name=a"),
    )
    assert status == 0, err
    assert "15 train, 2 validation, 5 test sequences" in out
    assert "note        the validation split has 2 sequences" in out
