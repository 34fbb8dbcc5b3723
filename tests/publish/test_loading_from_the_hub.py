"""Checkpoints of the hub: which names are looked for there, what is downloaded, and what is taken from the cache."""

from __future__ import annotations

import sys
import warnings

from convlstm import Forecaster, checkpoints, load
from convlstm.checkpoints import CheckpointError, find
from convlstm.checkpoints.hub import HubName, hub_name
from convlstm.cli.evaluate import labels
from convlstm.runs.resume import newest
from tests.support.commands import call
from tests.support.forecast_runs import READER
from tests.support.radar_archives import write_pictures
from tests.support.tiny import OVERRIDES

import numpy as np
import pytest
from mlx.utils import tree_flatten

TRAINING = [*(change for change in OVERRIDES if not change.startswith("model.")), "trainer.max_steps=1"]
FILES = {"checksums.json", "config.yaml", "model.safetensors", "optimizer.safetensors", "state.json"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("owner/name", HubName("owner/name")),
        ("owner/name.x-1@v1.0", HubName("owner/name.x-1", "v1.0")),
        ("hf://owner/name@refs/pr/1", HubName("owner/name", "refs/pr/1")),
        ("hf://runs/mine", HubName("runs/mine")),
        ("hf://here/mine", HubName("here/mine")),
        ("here/mine", None),  # there is a folder of this name
        ("runs/mine", None),
        ("owner/name/checkpoints", None),
        ("./owner/name", None),
        ("../owner", None),
        ("/owner/name", None),
        ("owner", None),
        ("nowcast", None),
        ("owner/na--me", None),
        ("owner/..", None),
        ("owner/name@../../x", None),
        ("owner/name\n", None),
    ],
)
def test_a_text_is_a_name_of_the_hub_or_a_path(text, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    assert hub_name(text) == expected
    assert hub_name(tmp_path) is None


@pytest.mark.parametrize("text", ["hf://owner", "hf://a/b/c", "hf://../x", "hf://a/b@..", "hf:///etc/passwd"])
def test_a_text_that_names_no_repository_is_refused(text):
    with pytest.raises(CheckpointError, match=r"names no repository of the hub\. Use owner/name"):
        hub_name(text)


def test_a_checkpoint_is_downloaded_once_and_found_in_the_cache(hub, run, best):
    number = hub.push("me/model", best, **{"README.md": b"# a card", "config.json": b"{}"})
    folder = find("me/model")
    assert set(hub.downloads()) == FILES
    assert folder.name == number
    assert (folder / "config.yaml").is_symlink()
    names = dict(tree_flatten(load(run).parameters()))
    for name, array in tree_flatten(load("hf://me/model").parameters()):
        np.testing.assert_array_equal(array, names[name])
    hub.requests.clear()
    assert load(f"me/model@{number}")
    assert hub.requests == [], "a commit in the cache needs no network"
    assert find("me/model") == folder
    assert hub.downloads() == []


def test_a_revision_is_a_branch_a_tag_or_a_commit(hub, best):
    first = hub.push("me/model", best)
    other = hub.commit("me/model", hub.files("me/model") | {"note": b"x"}, "v2")
    assert find("me/model").name == first
    assert find("me/model@v2").name == other
    assert find(f"me/model@{other}").name == other
    with pytest.raises(CheckpointError, match="'me/model' has no revision 'v3'"):
        find("me/model@v3")


def test_without_network_the_copy_in_the_cache_is_used(hub, best, monkeypatch):
    from huggingface_hub import constants

    number = hub.push("me/model", best)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        CheckpointError, match=r"'me/model' cannot be downloaded \(.*offline.*no copy of it in the cache"
    ):
        find("me/model")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    folder = find("me/model")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.warns(UserWarning, match=f"hub cannot be reached.*copy of 'me/model' in the cache.*{number[:10]}"):
        assert find("me/model") == folder
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert find(f"me/model@{number}") == folder


def test_a_folder_of_the_name_wins_and_a_wrong_path_is_not_sent_to_the_hub(hub, run, best, tmp_path):
    hub.push("elsewhere/mine", best)
    find("hf://elsewhere/mine")
    (tmp_path / "here" / "elsewhere").symlink_to(tmp_path / "elsewhere")
    hub.requests.clear()
    with pytest.warns(
        UserWarning, match="'elsewhere/mine' is the folder here; that of the hub is 'hf://elsewhere/mine'"
    ):
        assert find("elsewhere/mine").name == "best"
    with pytest.raises(CheckpointError, match=r"does not exist.*On the hub it would be hf://elsewhere/another\."):
        find("elsewhere/another")
    assert hub.requests == []


def test_a_repository_that_is_none_is_refused(hub, best):
    with pytest.raises(CheckpointError, match=r"there is no 'me/none' on the hub that you may read.*hf auth login"):
        find("me/none")
    hub.commit("me/other", {"pytorch_model.bin": b"\x80\x04", "modeling.py": b"import os"})
    with pytest.raises(CheckpointError, match=r"'me/other' on the hub holds no checkpoint.*lacks model\.safetensors"):
        find("me/other")
    assert hub.downloads() == []


@pytest.mark.parametrize(("file", "size"), [("config.yaml", 1 << 20), ("model.safetensors", 1 << 40)])
def test_a_file_that_is_too_large_is_not_downloaded(file, size, hub, best):
    hub.push("me/model", best)
    hub.sizes[file] = size
    with pytest.raises(CheckpointError, match=rf"'{file}' of 'me/model' on the hub has {size:,} bytes, more than"):
        find("me/model")
    assert hub.downloads() == []


def test_without_the_library_a_message_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CheckpointError, match=r"need huggingface_hub\. Install it: pip install 'convlstm\[hub\]'"):
        find("me/model")


def test_the_commands_take_a_name_of_the_hub(hub, best, tmp_path):
    number = hub.push("me/model", best)
    write_pictures(tmp_path / "radar", 3)
    name = f"ckpt=hf://me/model@{number}"
    outcome = call("forecast", [name, f"input={tmp_path / 'radar'}", READER, "format=npy", "horizon=2"])
    assert outcome.kind == "accepted", outcome.text
    assert f"checkpoint  hf://me/model@{number}" in outcome.text
    assert labels([find("me/model"), best]) == ["me--model", "mine"]
    # Not in the cache, which belongs to the library.
    assert (tmp_path / "here" / "runs" / "me--model" / "forecasts").is_dir()
    assert Forecaster.load("me/model").record["checkpoint"] == f"hf://me/model@{number}"


def test_a_checkpoint_of_the_hub_is_no_run_to_resume(hub):
    with pytest.raises(
        CheckpointError, match=r"resume: 'hf://me/model'.*is no run\. Start one from it: init=hf://me/model"
    ):
        newest("hf://me/model")
    assert hub.requests == []


def test_a_training_starts_from_the_hub_and_names_the_commit(hub, best, tmp_path):
    number = hub.push("me/model", best)
    outcome = call("train", ["init=me/model", "name=tuned", f"output={tmp_path}", *TRAINING])
    assert outcome.kind == "accepted", outcome.text
    assert checkpoints.read_config(find(tmp_path / "tuned"))["init"] == f"hf://me/model@{number}"
