"""Full disks, whose errors some libraries hide. Most of these tests mount a small disk, which needs root."""

from __future__ import annotations

import errno
import shutil
import subprocess

from convlstm.backend import files, full_disk
from convlstm.backend.full_disk import write_error
from convlstm.convert.sources import write_state_dict
from convlstm.writers import FORMATS, write
from fault_tests.full_disk import can_mount
from tests.support.forecasts import example

import numpy as np
import pytest


@pytest.fixture
def disk(tmp_path):
    """Returns the folder of a disk of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    line = ["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", str(folder)]
    if not can_mount() or subprocess.run(line, capture_output=True, check=False).returncode:
        pytest.skip("this process may not mount a disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk, room):
    size = shutil.disk_usage(disk).free - room
    (disk / "ballast").write_bytes(bytes(max(0, size)))


@pytest.mark.filterwarnings("ignore:.*mlcast's specification asks")
@pytest.mark.parametrize("room", [0, 4096])
@pytest.mark.parametrize("format", FORMATS)
def test_every_writer_says_that_the_disk_is_full(format, room, disk, rng):
    path = disk / f"forecast{FORMATS[format].ending}"
    fill(disk, room)
    before = sorted(disk.rglob("*"))
    with pytest.raises(OSError, match="No space left on device") as e:
        write(path, example(rng), format)
    assert (e.value.errno, e.value.filename) == (errno.ENOSPC, str(path))
    assert sorted(disk.rglob("*")) == before


@pytest.mark.parametrize("ending", [".safetensors", ".npz", ".pth"])
def test_converted_weights_say_that_the_disk_is_full(ending, disk):
    if ending == ".pth":
        pytest.importorskip("torch")
    fill(disk, 4096)
    with pytest.raises(OSError, match="No space left on device") as e:
        write_state_dict(disk / f"weights{ending}", {"weight": np.zeros(100_000, np.float32)})
    assert e.value.filename == str(disk / f"weights{ending}")
    assert sorted(path.name for path in disk.iterdir()) == ["ballast"]


def test_a_text_file_that_does_not_fit_stays_as_it_was(disk):
    files.replace(disk / "file.txt", "old")
    fill(disk, 0)
    with pytest.raises(OSError, match="No space left on device") as e:
        files.replace(disk / "file.txt", "new" * 10_000)
    assert (e.value.filename, (disk / "file.txt").read_text()) == (str(disk / "file.txt"), "old")


def test_other_errors_keep_their_reason(tmp_path, monkeypatch):
    path = tmp_path / "file"
    assert str(write_error(PermissionError(13, "Permission denied"), path)) == f"[Errno 13] Permission denied: '{path}'"
    assert str(write_error(RuntimeError("no"), path)) == f"[Errno {errno.EIO}] not written (no): '{path}'"
    monkeypatch.setattr(full_disk, "is_full", lambda folder: folder == tmp_path)
    assert write_error(PermissionError(13, "Permission denied"), path).errno == errno.ENOSPC


def test_errors_about_other_files_are_left_alone(tmp_path):
    with pytest.raises(FileNotFoundError) as e, files.replacing(tmp_path / "new"):
        (tmp_path / "other").read_text()
    assert e.value.filename == str(tmp_path / "other")
    with pytest.raises(RuntimeError, match="no disk"), files.replacing(tmp_path / "new"):
        raise RuntimeError("no disk")
