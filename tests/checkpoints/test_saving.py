"""Writing checkpoints, and the earlier ones that are kept."""

from __future__ import annotations

import shutil

from convlstm import checkpoints
from convlstm.checkpoints import (
    find,
    read_config,
    read_state,
    restore,
    save,
)
from convlstm.runs.progress import Progress
from tests.support.checkpoints import CONFIG, fading, plain, saved
from tests.support.tiny import snapshot

import mlx.core as mx
import pytest


def test_a_saved_state_is_restored(tmp_path):
    model, optimizer = saved(tmp_path / "a", steps=3)
    other, other_optimizer = fading(0.9)
    assert plain(other.parameters()) != plain(model.parameters())
    state = restore(tmp_path / "a", other, other_optimizer)
    assert state == vars(Progress(step=3)) == read_state(tmp_path / "a")
    assert read_config(tmp_path / "a") == CONFIG
    assert plain(other.parameters()) == plain(model.parameters())
    assert plain(other_optimizer.state) == plain(optimizer.state)
    assert {path.name for path in (tmp_path / "a").iterdir()} == {*checkpoints.FILES, "checksums.json"}


def test_the_same_state_is_the_same_bytes(tmp_path):
    saved(tmp_path / "a", steps=3)
    model, optimizer = fading()
    state = restore(tmp_path / "a", model, optimizer)
    save(tmp_path / "b", model, optimizer, state, CONFIG)
    assert snapshot(tmp_path / "a") == snapshot(tmp_path / "b")


def test_a_save_keeps_the_checkpoint_before(tmp_path):
    for steps in (1, 2, 3):
        saved(tmp_path / "last", steps=steps)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last", "last.previous"]
    assert [read_state(tmp_path / name)["step"] for name in ("last", "last.previous")] == [3, 2]


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors"])
def test_a_save_that_fails_leaves_the_checkpoint_before(file, tmp_path, monkeypatch):
    saved(tmp_path / "last", steps=1)
    before = snapshot(tmp_path)

    def interrupted(place, arrays, write=mx.save_safetensors):
        write(place, arrays)
        if place.path.name == file:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mx, "save_safetensors", interrupted)
        with pytest.raises(KeyboardInterrupt):
            saved(tmp_path / "last", steps=2)
    assert snapshot(tmp_path) == before
    assert find(tmp_path / "last") == tmp_path / "last"
    (tmp_path / "last.tmp").mkdir()  # as a killed program leaves it
    saved(tmp_path / "last", steps=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last", "last.previous"], "what was left over is gone"


def steps_in(folder, *names):
    return [read_state(folder / name)["step"] for name in names]


@pytest.mark.parametrize("keep", [1, 2, 4])
def test_earlier_checkpoints_are_kept_the_newest_first(keep, tmp_path):
    for steps in range(1, 7):
        model, optimizer = fading(0.5, steps)
        save(tmp_path / "last", model, optimizer, vars(Progress(step=steps)), CONFIG, keep=keep)
    names = ["last", "last.previous", "last.previous.2", "last.previous.3", "last.previous.4"][: keep + 1]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert steps_in(tmp_path, *names) == [6, 5, 4, 3, 2][: keep + 1]


def test_surplus_checkpoints_are_removed(tmp_path):
    for steps, keep in enumerate([4, 4, 4, 4, 4, 2], 1):
        model, optimizer = fading(0.5, steps)
        save(tmp_path / "last", model, optimizer, vars(Progress(step=steps)), CONFIG, keep=keep)
    names = ["last", "last.previous", "last.previous.2"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert steps_in(tmp_path, *names) == [6, 5, 4]


@pytest.mark.parametrize("gap", ["last", "last.previous", "last.previous.2"])
def test_a_save_after_one_that_was_killed_between_its_renames_loses_nothing(gap, tmp_path):
    for steps in (1, 2, 3, 4):
        model, optimizer = fading(0.5, steps)
        save(tmp_path / "last", model, optimizer, vars(Progress(step=steps)), CONFIG, keep=3)
    shutil.rmtree(tmp_path / gap)
    left = [n for n in (4, 3, 2, 1) if n != {"last": 4, "last.previous": 3, "last.previous.2": 2}[gap]]
    model, optimizer = fading(0.5, 5)
    save(tmp_path / "last", model, optimizer, vars(Progress(step=5)), CONFIG, keep=3)
    names = ["last", "last.previous", "last.previous.2", "last.previous.3"]
    assert steps_in(tmp_path, *names) == [5, *left]


@pytest.mark.parametrize("keep", [0, -1, True, 1.5, "2"])
def test_keep_must_be_a_whole_number(keep, tmp_path):
    model, optimizer = fading()
    with pytest.raises(ValueError, match=rf"\[save\] 'keep' must be a whole number of at least 1 but got {keep!r}\."):
        save(tmp_path / "last", model, optimizer, {"step": 0}, CONFIG, keep=keep)
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_that_shares_its_parts_is_written_without_references(tmp_path):
    model, optimizer = fading()
    shared = [1, 2]
    save(tmp_path / "a", model, optimizer, vars(Progress()), {"model": {"a": shared, "b": shared}})
    assert "*" not in (tmp_path / "a" / "config.yaml").read_text()
    assert read_config(tmp_path / "a") == {"model": {"a": [1, 2], "b": [1, 2]}}
