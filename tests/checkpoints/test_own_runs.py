"""The list of runs that this user has trained: what it trusts, and that nobody else can add to it."""

from __future__ import annotations

import copy
import json
import os
import shutil
import stat
import sys
from pathlib import Path

from convlstm.checkpoints import UntrustedTargetError, load, load_all, save, seal
from convlstm.checkpoints.own_runs import packages_of, remember, trusted_packages
from convlstm.runs.progress import Progress

import mlx.nn as nn
import mlx.optimizers as optim
import pytest
import yaml

STRANGER = 54321
two_users = pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another user")
MODULE = """
import mlx.nn as nn

class Copy(nn.Linear):
    def __init__(self, size=2):
        super().__init__(size, size)
"""
CONFIG = {"model": {"_target_": "own_parts_of_a_test.Copy", "size": 2}, "data": {"_target_": "convlstm.datasets.x"}}


@pytest.fixture
def state(tmp_path, monkeypatch):
    """An empty folder for the user's states."""
    folder = tmp_path / "state"
    folder.mkdir()
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    return folder


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The file of the user's own class."""
    folder = tmp_path / "modules"
    folder.mkdir()
    path = folder / "own_parts_of_a_test.py"
    path.write_text(MODULE)
    path.chmod(0o644)
    monkeypatch.syspath_prepend(folder)
    yield path
    sys.modules.pop("own_parts_of_a_test", None)


@pytest.fixture
def run(state, module, tmp_path):
    """A run of the user's own class that is on the list, with a checkpoint."""
    remember(write(tmp_path / "runs" / "mine"), CONFIG)
    return tmp_path / "runs" / "mine"


def write(run: Path) -> Path:
    model, optimizer = nn.Linear(2, 2), optim.Adam(0.1)
    optimizer.init(model.trainable_parameters())
    save(run / "checkpoints" / "last", model, optimizer, vars(Progress()), CONFIG)
    return run


def entry(state: Path) -> Path:
    (path,) = (state / "convlstm" / "trained").iterdir()
    return path


def test_packages_are_those_that_the_objects_of_a_checkpoint_come_from():
    config = {
        "model": {"_target_": "convlstm.models.EncoderForecaster", "parts": [{"_target_": "layers_of_mine.Layer"}]},
        "data": {"_target_": "datasets.radar_echo.RadarEcho", "transform": {"_target_": "mine.Scale"}},
        "loss": {"_target_": "losses_of_mine.Huber"},
        "logger": {"_target_": "loggers_of_mine.Logger"},
    }
    assert packages_of(config) == ["layers_of_mine", "losses_of_mine", "mine"]


def test_a_run_on_the_list_is_loaded_without_more(run):
    assert type(load(run)).__name__ == "Copy"
    assert type(load(run / "checkpoints" / "last")).__name__ == "Copy"
    assert load_all(run).trusted[-1] == "own_parts_of_a_test"


def test_the_list_is_this_users_alone(run, state):
    for folder in (state / "convlstm", state / "convlstm" / "trained"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(entry(state).stat().st_mode) == 0o600
    assert json.loads(entry(state).read_text())["run"] == str(run.resolve())


def test_nothing_is_written_for_classes_of_the_project(state, tmp_path):
    remember(tmp_path / "run", {"model": {"_target_": "convlstm.models.EncoderForecaster"}})
    remember(tmp_path / "run", {"model": {"_target_": "functools.partial"}})
    remember(tmp_path / "run", {"model": {"_target_": "no_such_package_at_all.Model"}})
    assert list(state.iterdir()) == []


def test_a_copy_of_a_run_and_a_stranger_who_imitates_one_are_refused(run, state, tmp_path):
    copied = shutil.copytree(run, tmp_path / "elsewhere" / "mine")
    # Whatever a stranger sends along, even the list itself and the name of its folder.
    shutil.copytree(state, copied / "state")
    shutil.copy(entry(state), copied / entry(state).name)
    for place in (copied, copied / "checkpoints" / "last"):
        with pytest.raises(UntrustedTargetError, match=r"own_parts_of_a_test\.Copy' is outside the trusted packages"):
            load(place)
    assert type(load(copied, trusted=["mlx.nn", "own_parts_of_a_test"])).__name__ == "Copy"


def test_links_lead_to_the_place_that_counts(run, tmp_path):
    (tmp_path / "link").symlink_to(run)
    assert type(load(tmp_path / "link")).__name__ == "Copy"  # it is the user's own run
    strangers = shutil.copytree(run, tmp_path / "strangers")
    shutil.rmtree(run)
    run.symlink_to(strangers)
    with pytest.raises(UntrustedTargetError, match="outside the trusted packages"):
        load(run)


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config["model"].update(size=3),
        lambda config: config["model"].update(_target_="own_parts_of_a_test.nn.Linear"),
        lambda config: config["model"].update(size={"_target_": "own_parts_of_a_test.Copy"}),
        lambda config: config["data"].update(_target_="own_parts_of_a_test.Copy"),
        lambda config: config.update(seed=1),
    ],
)
def test_another_configuration_in_the_same_folder_is_refused(change, run):
    config = copy.deepcopy(CONFIG)
    change(config)
    path = run / "checkpoints" / "last" / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    seal(path.parent)
    with pytest.raises(UntrustedTargetError, match="outside the trusted packages"):
        load(run)
    assert trusted_packages(run, config) == ()
    remember(run, config)
    assert trusted_packages(run, config) == ("own_parts_of_a_test",)
    assert trusted_packages(run, CONFIG) == ("own_parts_of_a_test",)  # both were trained here


def test_a_class_of_the_same_name_from_another_file_is_refused(run, module, tmp_path, monkeypatch):
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / module.name).write_text(f"open({str(tmp_path / 'it_ran')!r}, 'w')\n{MODULE}")
    monkeypatch.syspath_prepend(tmp_path / "evil")
    monkeypatch.chdir(tmp_path / "evil")
    with pytest.raises(UntrustedTargetError, match="outside the trusted packages"):
        load(run)
    assert not (tmp_path / "it_ran").exists()


def test_a_class_in_a_file_that_others_may_write_to_is_refused(run, module):
    module.chmod(0o666)
    with pytest.raises(UntrustedTargetError, match="outside the trusted packages"):
        load(run)
    module.chmod(0o644)
    assert type(load(run)).__name__ == "Copy"


@pytest.mark.parametrize("part", ["convlstm", "convlstm/trained"])
def test_a_list_that_others_may_write_to_is_not_used(part, run, state):
    (state / part).chmod(0o777)
    with pytest.warns(UserWarning, match="is open to other users, with mode 777"), pytest.raises(UntrustedTargetError):
        load(run)


def test_an_entry_that_others_may_write_to_is_not_used(run, state):
    entry(state).chmod(0o666)
    with pytest.warns(UserWarning, match="may have been written by another"), pytest.raises(UntrustedTargetError):
        load(run)


def test_an_entry_that_is_a_link_or_a_pipe_is_not_used(run, state, tmp_path):
    path = entry(state)
    path.rename(tmp_path / "entry")
    path.symlink_to(tmp_path / "entry")
    with pytest.warns(UserWarning, match="a link to somewhere else"), pytest.raises(UntrustedTargetError):
        load(run)
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.warns(UserWarning, match="a named pipe"), pytest.raises(UntrustedTargetError):
        load(run)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"run": 1}', "[" * 10_000, "{}" * 600_000])
def test_an_entry_that_is_damaged_trusts_nothing_and_is_written_anew(text, run, state):
    entry(state).write_text(text)
    with pytest.raises(UntrustedTargetError):
        load(run)
    remember(run, CONFIG)
    assert type(load(run)).__name__ == "Copy"


@two_users
@pytest.mark.parametrize("part", ["convlstm", "convlstm/trained", "entry"])
def test_a_list_of_another_user_is_not_used(part, run, state):
    os.chown(entry(state) if part == "entry" else state / part, STRANGER, STRANGER)
    with pytest.warns(UserWarning, match="another user"), pytest.raises(UntrustedTargetError):
        load(run)


def test_the_oldest_of_many_configurations_are_forgotten(run, state):
    for seed in range(64):
        remember(run, CONFIG | {"seed": seed})
    assert trusted_packages(run, CONFIG) == ()
    assert trusted_packages(run, CONFIG | {"seed": 0}) == ("own_parts_of_a_test",)
    assert len(json.loads(entry(state).read_text())["configurations"]) == 64


def test_entries_of_runs_that_are_gone_are_dropped_after_a_year(run, state, module, tmp_path):
    remember(write(tmp_path / "runs" / "gone"), CONFIG)
    shutil.rmtree(tmp_path / "runs" / "gone")
    remember(run, CONFIG)
    paths = list((state / "convlstm" / "trained").iterdir())
    assert len(paths) == 2  # its disk may be absent
    for path in paths:
        os.utime(path, (0, 0))
    remember(tmp_path / "runs" / "other", CONFIG)
    runs = {Path(json.loads(path.read_text())["run"]).name for path in (state / "convlstm" / "trained").iterdir()}
    assert runs == {"mine", "other"}


def test_without_a_home_folder_nothing_is_on_the_list(run, monkeypatch):
    monkeypatch.delenv("XDG_STATE_HOME")

    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    assert trusted_packages(run, CONFIG) == ()
    with pytest.raises(RuntimeError):
        remember(run, CONFIG)


def test_a_home_that_a_group_may_write_to_has_the_list_in_a_folder_of_its_own(state, module, tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    (tmp_path / "home" / ".local" / "state").mkdir(parents=True)
    (tmp_path / "home" / ".local" / "state").chmod(0o777)
    remember(tmp_path / "run", CONFIG)
    assert trusted_packages(tmp_path / "run", CONFIG) == ("own_parts_of_a_test",)
    assert (tmp_path / "home" / ".convlstm" / "trained").is_dir()
