"""Files that survive a crash."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from convlstm.backend import files
from tests.support.tiny import snapshot

import pytest


def test_a_disk_that_keeps_only_a_part(tmp_path, monkeypatch):
    file = files.DurableFile(tmp_path / "a")
    file.write(b"12345")
    write, sync = file._file, files.sync
    monkeypatch.setattr(files, "sync", lambda descriptor: (sync(descriptor), os.ftruncate(descriptor, 3)))
    with pytest.raises(OSError, match="3 of 5 bytes were kept"):
        file.__exit__(None)
    assert write.closed


def test_a_folder_that_cannot_be_flushed_is_ignored(tmp_path, monkeypatch):
    def unable(descriptor):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", unable)
    files.sync_folder(tmp_path)
    with pytest.raises(OSError, match="Invalid argument"), files.DurableFile(tmp_path / "a") as file:
        file.write(b"1")


def test_a_text_is_replaced_completely_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "config.yaml"
    files.replace(path, "old: 1\n")
    assert path.read_text() == "old: 1\n"

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.DurableFile, "write", full)
        with pytest.raises(OSError, match="No space left"):
            files.replace(path, "new: 2\n")
    assert snapshot(tmp_path) == {"config.yaml": b"old: 1\n"}
    (tmp_path / "config.yaml.tmp").write_text("half of")
    files.replace(path, "new: 2\n")
    assert snapshot(tmp_path) == {"config.yaml": b"new: 2\n"}


def test_bytes_are_printed_in_a_suitable_unit():
    assert [files.amount(n) for n in (0, 999, 1500, 2_340_000, 7_200_000_000)] == [
        "0 bytes",
        "999 bytes",
        "1.5 kB",
        "2.34 MB",
        "7.2 GB",
    ]
    assert files.free_bytes(Path("/no/such/folder")) == shutil.disk_usage("/").free
