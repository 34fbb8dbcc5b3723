"""Checkpoints on disks that are full or broken: earlier checkpoints stay as they are."""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from convlstm.backend import files
from convlstm.checkpoints import CheckpointWriteError, find, read_state, verify
from tests.support.checkpoints import FILES, save_step, three_steps
from tests.support.tiny import snapshot

import pytest


@pytest.fixture
def run(tmp_path):
    return three_steps(tmp_path / "run")


def unchanged(run, before):
    """Checks that the run holds its former checkpoints, complete, and nothing else."""
    assert snapshot(run) == before
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["best", "last", "last.previous"]
    assert find(run, prefer=("last",)) == run / "checkpoints" / "last"


CODES = [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS]
PLACES = [
    *FILES,
    "sync file",
    "sync folder",
    "mkdir",
    "rename last.previous",
    "rename last",
    "rename last.tmp",
]


@pytest.mark.parametrize("code", CODES, ids=[errno.errorcode[code] for code in CODES])
@pytest.mark.parametrize("place", PLACES)
def test_a_disk_error_changes_nothing(place, code, run, monkeypatch):
    before = snapshot(run)

    def failing(call, when):
        def replacement(first, *rest, **more):
            if when(first):
                raise OSError(code, os.strerror(code))
            return call(first, *rest, **more)

        return replacement

    with monkeypatch.context() as patch:
        if place in FILES:
            write = failing(files.DurableFile.write, lambda file: file.path.name == place)
            patch.setattr(files.DurableFile, "write", write)
        elif place == "sync file":
            patch.setattr(os, "fsync", failing(os.fsync, lambda _: True))
        elif place == "sync folder":
            # The last act of a save: its renames are undone.
            patch.setattr(files, "sync_folder", failing(files.sync_folder, lambda path: path.name == "checkpoints"))
        elif place == "mkdir":
            patch.setattr(Path, "mkdir", failing(Path.mkdir, lambda _: True))
        else:
            tried = []
            at = failing(
                Path.rename, lambda path: path.name == place.split()[1] and not tried.append(path) and len(tried) == 1
            )
            patch.setattr(Path, "rename", at)
        with pytest.raises(CheckpointWriteError) as caught:
            save_step(run / "checkpoints" / "last", 4)
    text = str(caught.value)
    assert caught.value.errno == code
    assert text.startswith(
        f"the checkpoint '{run / 'checkpoints' / 'last'}' could not be written: {os.strerror(code)}. "
    )
    assert "Earlier checkpoints are unchanged." in text
    assert ("Make room on that disk" in text) == (code in (errno.ENOSPC, errno.EDQUOT))
    unchanged(run, before)
    save_step(run / "checkpoints" / "last", 4)
    assert [read_state(run / "checkpoints" / name)["step"] for name in ("last", "last.previous")] == [4, 3]


@pytest.mark.parametrize("limit", [0, 10, 100, 200, 1000, 2000, 10_000, 39_000])
def test_a_file_that_may_grow_no_further(limit, run):
    """The kernel refuses in the middle of a write: RLIMIT_FSIZE."""
    before = snapshot(run)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        with pytest.raises(
            CheckpointWriteError, match=r"could not be written: File too large\. It takes 80\.4 kB, and"
        ):
            save_step(run / "checkpoints" / "last", 4, padding=10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    unchanged(run, before)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 512 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    if not sys.platform.startswith("linux"):
        pytest.skip("a small disk is made with Linux's tmpfs")
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"a small disk cannot be mounted here, that takes root: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk(small_disk):
    """With any number of free pages a checkpoint is written completely or not at all."""
    run = small_disk / "run"
    for name, step in (("best", 1), ("last", 2), ("last", 3)):
        save_step(run / "checkpoints" / name, step, padding=10_000)
    before = snapshot(run)
    filler = small_disk / "filler"
    failed = 0
    for pages in range(100):
        with filler.open("wb", buffering=0) as file:
            file.write(bytes(max(0, shutil.disk_usage(small_disk).free - 4096 * pages)))
        free = shutil.disk_usage(small_disk).free
        assert free == 4096 * pages
        try:
            save_step(run / "checkpoints" / "last", 4, padding=10_000)
            break
        except CheckpointWriteError as error:
            told = error
        room = f"It takes 80\\.4 kB, and {re.escape(files.amount(free))} are free there"
        assert re.search(
            rf"No space left on device\. {room}\. Earlier checkpoints are unchanged\. Make room", str(told)
        )
        assert told.errno == errno.ENOSPC
        unchanged(run, before)
        filler.unlink()
        failed += 1
    # Two files of 40 kB and small ones, each of whole pages.
    assert failed >= 20
    filler.unlink()
    assert [read_state(run / "checkpoints" / name)["step"] for name in ("last", "last.previous", "best")] == [4, 3, 1]
    for name in ("last", "last.previous", "best"):
        verify(run / "checkpoints" / name)


def test_everything_is_on_the_disk_before_it_is_renamed(tmp_path, monkeypatch):
    place, flushed, renamed = tmp_path / "runs" / "a" / "checkpoints" / "last", set(), []

    def sync(descriptor, call=files.sync):
        call(descriptor)
        flushed.add(os.fstat(descriptor).st_ino)

    def rename(source, target, call=Path.rename):
        assert {path.stat().st_ino for path in (source, *source.iterdir())} <= flushed
        assert len(list(source.iterdir())) == len(FILES)
        flushed.discard(source.parent.stat().st_ino)
        renamed.append(source.name)
        return call(source, target)

    monkeypatch.setattr(files, "sync", sync)
    monkeypatch.setattr(Path, "rename", rename)
    for step in (1, 2):
        save_step(place, step)
    assert renamed == ["last.tmp", "last", "last.tmp"]
    # And the names in the folders, up to the one that was there.
    assert {path.stat().st_ino for path in place.parents[:4]} <= flushed
    assert tmp_path == place.parents[3]
