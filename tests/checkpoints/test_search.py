"""The checkpoint that a path refers to."""

from __future__ import annotations

from convlstm.checkpoints import (
    CheckpointError,
    find,
)
from tests.support.checkpoints import saved

import pytest


def test_find(tmp_path):
    run = tmp_path / "run"
    for name in ("last", "best"):
        saved(run / "checkpoints" / name)
    for path in (run, run / "checkpoints"):
        assert find(path) == run / "checkpoints" / "best"
        assert find(str(path), prefer=("last", "best")) == run / "checkpoints" / "last"
        assert find(path, prefer=("last",)) == run / "checkpoints" / "last"
    assert find(run / "checkpoints" / "last") == run / "checkpoints" / "last"
    (run / "checkpoints" / "best").rename(tmp_path / "elsewhere")
    assert find(tmp_path / "elsewhere") == tmp_path / "elsewhere"
    assert find(run) == run / "checkpoints" / "last"


def test_find_between_the_two_renames_of_a_save(tmp_path):
    saved(tmp_path / "checkpoints" / "last")
    (tmp_path / "checkpoints" / "last").rename(tmp_path / "checkpoints" / "last.previous")
    (tmp_path / "checkpoints" / "last.tmp").mkdir()
    (tmp_path / "checkpoints" / "last.tmp" / "model.safetensors").write_bytes(b"half")
    for path in (tmp_path, tmp_path / "checkpoints", tmp_path / "checkpoints" / "last"):
        assert find(path) == tmp_path / "checkpoints" / "last.previous"


def test_find_names_a_missing_checkpoint(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"'.*none' does not exist\. Give a run's folder or a checkpoint's folder"
    ):
        find(tmp_path / "none")
    with pytest.raises(
        CheckpointError, match=r"holds no checkpoint: neither model\.safetensors.* checkpoints/best or last"
    ):
        find(tmp_path)
