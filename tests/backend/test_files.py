"""Files that survive a crash."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

from convlstm.backend import files
from tests.support.project import PROJECT
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
    left = subprocess.run(
        [sys.executable, "-c", LEAVE, path], cwd=PROJECT, check=True, capture_output=True, text=True
    ).stdout
    mine = files.temporary_of(path)
    mine.write_text("half of")
    assert Path(left).name != mine.name
    files.replace(path, "new: 2\n")
    assert snapshot(tmp_path) == {"config.yaml": b"new: 2\n", mine.name: b"half of"}, "a living process keeps its own"


LEAVE = """
import pathlib, sys
from convlstm.backend import files
path = files.temporary_of(pathlib.Path(sys.argv[1]))
path.write_text("half of")
print(path, end="")
"""


def test_several_processes_replace_a_file_at_once(tmp_path):
    program = (
        "import pathlib, sys\nfrom convlstm.backend import files\n"
        "for n in range(100): files.replace(pathlib.Path(sys.argv[1]), 'x' * 10_000)"
    )
    command = [sys.executable, "-c", program, tmp_path / "metrics.json"]
    processes = [subprocess.Popen(command, cwd=PROJECT) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert snapshot(tmp_path) == {"metrics.json": b"x" * 10_000}


def test_bytes_are_printed_in_a_suitable_unit():
    assert [files.amount(n) for n in (0, 999, 1500, 2_340_000, 7_200_000_000)] == [
        "0 bytes",
        "999 bytes",
        "1.5 kB",
        "2.34 MB",
        "7.2 GB",
    ]
    assert files.free_bytes(Path("/no/such/folder")) == shutil.disk_usage("/").free
