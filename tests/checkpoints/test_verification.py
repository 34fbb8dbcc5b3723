"""Damaged checkpoints: the damage is named, and an earlier checkpoint is used."""

from __future__ import annotations

import warnings

from convlstm import checkpoints
from convlstm.checkpoints import CheckpointError, find, read_config, read_ema, read_state, restore, seal, verify
from convlstm.checkpoints.verification import sealed
from tests.support.checkpoints import (
    CONFIG,
    FILES,
    empty,
    fading,
    flipped,
    folder,
    garbled,
    half,
    longer,
    missing,
    save_step,
    saved,
    shorter,
    three_steps,
)
from tests.support.tiny import Fade, snapshot

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest
from mlx.utils import tree_flatten


@pytest.fixture
def run(tmp_path):
    return three_steps(tmp_path / "run")


def parts():
    """A model and an optimizer that fit, with values of their own."""
    model, optimizer = Fade(-1.0), optim.SGD(0.1, momentum=0.9)
    model.bias = mx.full((1,), 0.5)
    optimizer.init(model.trainable_parameters())
    return model, optimizer


def values(model, optimizer):
    return {n: np.array(a).tolist() for tree in (model.parameters(), optimizer.state) for n, a in tree_flatten(tree)}


@pytest.mark.parametrize("harm", [shorter, half, empty, longer, flipped, garbled, missing, folder])
@pytest.mark.parametrize("file", FILES)
def test_damage_is_named_and_the_checkpoint_before_is_used(file, harm, run):
    last, previous = run / "checkpoints" / "last", run / "checkpoints" / "last.previous"
    harm(last / file)
    text = {
        missing: rf"the checkpoint '.*last' is incomplete, without {file}\.",
        folder: rf"'.*last/{file}' is not a file, so it was not read\.",
    }.get(harm, rf"'.*last/{file}' is damaged: ")
    model, optimizer = parts()
    before, kept = values(model, optimizer), snapshot(run)
    # Named itself, it is the one that is meant.
    with pytest.raises(CheckpointError, match=text):
        restore(find(last) if harm is not missing else last, model, optimizer)
    assert values(model, optimizer) == before
    # Of a run, the one before it is taken.
    with pytest.warns(UserWarning, match=rf"{text}.* So '.*last\.previous' is used instead of '.*last'\.$"):
        assert find(run, prefer=("last", "best")) == previous
    assert restore(previous, model, optimizer)["step"] == 2
    assert (model.weight.item(), read_ema(previous, model)["weight"].item()) == (2.0, 2.5)
    assert snapshot(run) == kept


@pytest.mark.parametrize("apart", [29, pytest.param(1, marks=pytest.mark.slow)])
def test_flipped_bits_and_lost_ends_are_found_at_every_position(apart, run):
    last = run / "checkpoints" / "last"
    verify(last)
    found = 0
    for file in FILES:
        content = (last / file).read_bytes()
        for place in range(0, len(content), apart):
            flipped(last / file, place, bit=place % 8)
            with pytest.raises(CheckpointError, match=rf"last/{file}' is damaged"):
                verify(last)
            (last / file).write_bytes(content[:place])
            with pytest.raises(CheckpointError, match=rf"last/{file}' is damaged"):
                verify(last)
            (last / file).write_bytes(content)
            found += 2
    verify(last)
    assert found > 3000 / apart


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "state.json", "config.yaml"])
@pytest.mark.parametrize("harm", [shorter, empty, garbled, missing])
def test_damage_without_checksums(file, harm, run):
    last = run / "checkpoints" / "last"
    (last / "checksums.json").unlink()
    (last / "ema.safetensors").unlink()
    (last / "state.json").write_text((last / "state.json").read_text().replace('"format": 2,', ""))
    verify(last)
    harm(last / file)
    if file == "config.yaml" and harm is shorter:
        (last / file).write_text("model: {_target_: [")
    with pytest.raises(CheckpointError, match=rf"{file}' (is damaged|has no section 'model')|without {file}"):
        verify(last)
    with pytest.warns(UserWarning, match=r"last\.previous' is used instead"):
        assert find(run, prefer=("last",)).name == "last.previous"


def test_a_damaged_best_gives_way_to_an_earlier_best_and_then_to_the_last(run):
    checkpoints = run / "checkpoints"
    flipped(checkpoints / "best" / "model.safetensors")
    with pytest.warns(UserWarning, match=r"best/model.*is damaged.* So '.*/last' is used instead of '.*/best'\.$"):
        assert find(run) == checkpoints / "last"
    save_step(checkpoints / "best", 4)
    assert find(run) == checkpoints / "best"
    save_step(checkpoints / "best", 5)
    flipped(checkpoints / "best" / "model.safetensors")
    with pytest.warns(UserWarning, match=r"So '.*best\.previous' is used instead of '.*/best'\.$"):
        assert find(run) == checkpoints / "best.previous"


def test_all_damaged_checkpoints_are_named(run):
    for step in (4, 5):
        save_step(run / "checkpoints" / "last", step, keep=3)
    for name in ("last", "last.previous"):
        flipped(run / "checkpoints" / name / "model.safetensors")
    with pytest.warns(
        UserWarning, match=r"'.*last/model.* is damaged.*'.*last\.previous/model.* is damaged.*"
    ) as caught:
        assert find(run, prefer=("last",)).name == "last.previous.2"
    assert str(caught[0].message).endswith(
        "last.previous.2' is used instead of '" + f"{run / 'checkpoints' / 'last'}'."
    )


def test_a_run_with_damaged_checkpoints_alone(run):
    for place in (run / "checkpoints").iterdir():
        missing(place / "state.json")
    with pytest.raises(
        CheckpointError, match=r"last' is incomplete, without state\.json.*There is no other one.*best'"
    ):
        find(run, prefer=("last", "best"))


def test_an_intact_run_gives_no_warning(run):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert find(run).name == "best"


def test_a_damaged_checkpoint_displaces_no_intact_one(run):
    checkpoints = run / "checkpoints"
    flipped(checkpoints / "last" / "model.safetensors")
    lost = snapshot(checkpoints / "last")
    save_step(checkpoints / "last", 4)
    assert {p.name for p in checkpoints.iterdir()} == {"best", "last", "last.previous", "last.damaged"}
    assert [read_state(checkpoints / name)["step"] for name in ("last", "last.previous")] == [4, 2]
    assert snapshot(checkpoints / "last.damaged") == lost
    # Once only: the next damaged one replaces it.
    missing(checkpoints / "last" / "config.yaml")
    save_step(checkpoints / "last", 5)
    assert [read_state(checkpoints / name)["step"] for name in ("last", "last.previous", "last.damaged")] == [5, 2, 4]


def test_an_average_that_the_checksums_do_not_list(run):
    last = run / "checkpoints" / "last"
    (last / "ema.safetensors").rename(run / "ema")
    checkpoints.seal(last)
    verify(last)
    (run / "ema").rename(last / "ema.safetensors")
    with pytest.raises(CheckpointError, match=r"ema\.safetensors' is damaged: it was not written with this checkpoint"):
        verify(last)


@pytest.mark.parametrize("known", [{}, {"model.safetensors": 3}, {"../state.json": {"bytes": 1, "sha256": ""}}])
def test_checksums_of_other_files(known, run):
    last = run / "checkpoints" / "last"
    (last / "checksums.json").write_text(sealed(known))
    with pytest.raises(CheckpointError, match=r"checksums\.json' is damaged: it does not list model\.safetensors, opt"):
        verify(last)


def test_the_configuration_stays_readable(run):
    assert read_config(run / "checkpoints" / "last") == CONFIG


def test_a_checkpoint_of_a_later_version(tmp_path):
    saved(tmp_path / "a")
    place = tmp_path / "a" / "state.json"
    place.write_text(place.read_text().replace('"format": 2', '"format": 3'))
    seal(tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"state\.json' is of format 3, and this version reads 2\. Use the"):
        restore(tmp_path / "a", *fading())


@pytest.mark.parametrize("text", ["[]", "{}", "3", '{"step": "3"}', '{"step": -1}', '{"step": true}', '{"step": 2.5}'])
def test_a_state_without_a_step_is_damaged(text, tmp_path):
    saved(tmp_path / "a")
    (tmp_path / "a" / "state.json").write_text(text)
    seal(tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"state\.json' is damaged: it has no valid step"):
        read_state(tmp_path / "a")


def test_a_state_of_another_step_than_the_optimizer_is_damaged(tmp_path):
    saved(tmp_path / "a", steps=3)
    place = tmp_path / "a" / "state.json"
    place.write_text(place.read_text().replace('"step": 3', '"step": 7'))
    seal(tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"state\.json is at step 7, optimizer\.safetensors at step 3"):
        restore(tmp_path / "a", *fading())
