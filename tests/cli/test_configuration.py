"""The sources of the configuration: the package, --config-dir and the working folder; old names of classes."""

import functools
import importlib
import shlex
import sys

from convlstm.cli import configuration
from tests.support.project import PROJECT
from tests.support.tiny import OVERRIDES, call

import pytest
import yaml

# Notes are warnings, which are lines of the program's output and no errors here.
pytestmark = pytest.mark.filterwarnings("default")

OWN_CLASS = "from convlstm.losses import MeanSquaredError\n\nclass Own(MeanSquaredError):\n    ...\n"
SHORT = (*OVERRIDES, "trainer.max_steps=1")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Returns an empty working folder. The path of modules is restored after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    return tmp_path


@pytest.fixture
def train(monkeypatch, capsys):
    return functools.partial(call, "train", monkeypatch, capsys)


def write_experiment(configs, text):
    (configs / "experiment").mkdir(parents=True)
    (configs / "experiment" / "own.yaml").write_text(f"# @package _global_\n{text}")


@pytest.mark.parametrize("name", ["configs", "mine"])
def test_own_configurations_come_from_the_working_folder_or_another_one(name, folder, train):
    write_experiment(folder / name, "defaults: [{override /loss: mae}]\nseed: 7\n")
    option = [] if name == "configs" else ["--config-dir", name]
    status, out, err = train("experiment=own", *option, "--cfg", "job")
    assert status == 0
    config = yaml.safe_load(out)
    assert (config["seed"], config["loss"]["_target_"]) == (7, "convlstm.losses.MeanAbsoluteError")
    note = f"note        configurations also come from '{folder / 'configs'}'.\n"
    assert err == (note if name == "configs" else "")


def test_the_project_s_own_configurations_come_first(folder, train):
    (folder / "configs" / "loss").mkdir(parents=True)
    (folder / "configs" / "loss" / "mse.yaml").write_text("_target_: another.Loss\n")
    _, out, _ = train("loss=mse", "--cfg", "job")
    assert yaml.safe_load(out)["loss"] == {"_target_": "convlstm.losses.MeanSquaredError"}


def test_the_project_s_folder_is_not_the_user_s(monkeypatch, train):
    monkeypatch.chdir(configuration.CONFIGS.resolve().parent)
    assert configuration.own_configs() is None
    assert train("--cfg", "job")[2] == ""


def test_own_classes_come_from_the_working_folder(folder, train, monkeypatch):
    (folder / "own_losses.py").write_text(OWN_CLASS)
    (folder / "random.py").write_text("raise ImportError('this is not the standard library')")
    monkeypatch.delitem(sys.modules, "random")
    status, out, err = train(*SHORT, "loss=mse", "loss._target_=own_losses.Own", "name=run")
    monkeypatch.delitem(sys.modules, "own_losses")
    assert (status, err) == (0, "")
    assert "finished at step 1 of 1" in out
    assert yaml.safe_load((folder / "runs" / "run" / "config.yaml").read_text())["loss"]["_target_"] == "own_losses.Own"
    assert sys.path[-1] == str(folder)
    assert importlib.import_module("random").__file__ != str(folder / "random.py")


def test_old_names_of_classes_are_understood_with_a_note(folder, train):
    old, new = "convlstm.training.loggers.TensorBoard", "convlstm.runs.loggers.TensorBoard"
    data = "datasets.moving_mnist.MovingMNIST"
    write_experiment(folder / "mine", f"logger: {{mine: {{_target_: {old}}}}}\ndata: {{_target_: {data}}}\n")
    status, _, err = train("experiment=own", "--config-dir", "mine", *SHORT[1:], "name=run")
    assert status == 0, err
    config = yaml.safe_load((folder / "runs" / "run" / "config.yaml").read_text())
    assert config["logger"]["mine"]["_target_"] == new
    assert config["data"]["_target_"] == f"convlstm.{data}"
    assert err.count(f"note        logger.mine._target_: '{old}' is called '{new}' now.\n") == 1
    assert err.count(f"note        data._target_: '{data}' is called 'convlstm.{data}' now.\n") == 1


def test_a_package_of_the_user_s_may_have_an_old_name(folder, train, monkeypatch):
    sys.path[:] = [entry for entry in sys.path if entry != str(PROJECT)]  # which has such a folder, too
    monkeypatch.delitem(sys.modules, "datasets", raising=False)
    (folder / "datasets").mkdir()
    (folder / "datasets" / "own_losses.py").write_text(OWN_CLASS)
    status, _, err = train(*SHORT, "loss=mse", "loss._target_=datasets.own_losses.Own", "name=run")
    assert (status, err) == (0, "")


def test_a_sweep_and_its_hints_keep_the_folder_of_configurations(folder, train):
    (folder / "train.py").symlink_to(PROJECT / "train.py")  # its jobs start it again
    write_experiment(folder / "mine", "seed: 7\n")
    line = ["experiment=own", "--config-dir", "mine", *SHORT, "hydra.sweep.dir=runs", "-m"]
    status, out, err = train(*line, "trainer.accumulate=1,0")
    assert status == 1, err
    assert yaml.safe_load((folder / "runs" / "0" / "config.yaml").read_text())["seed"] == 7
    again = shlex.split(out.splitlines()[-1].partition("end:  ")[2])
    assert again[again.index("--config-dir") + 1] == "mine"


@pytest.mark.parametrize(
    ("given", "ordered"),
    [
        ("a=1 -m b=1,2", "-m a=1 b=1,2"),
        ("a=1 --config-dir mine b=2", "--config-dir mine a=1 b=2"),
        ("a=1 --config-dir=mine b=2 ~c", "--config-dir=mine a=1 b=2 ~c"),
        ("a=1 -m ~c", "-m a=1 ~c"),
        ("a=1 --cfg job --resolve", "--cfg job --resolve a=1"),
        ("a=1 b", "a=1 b"),
        ("", ""),
    ],
)
def test_options_come_before_changes(given, ordered):
    assert configuration.options_first(given.split()) == ordered.split()
