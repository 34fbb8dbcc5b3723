"""Only plain files are opened, by every reader and every search: a pipe would keep the process waiting for ever."""

from __future__ import annotations

import os
import signal
import socket

from convlstm.datasets.archives.archive import Archive
from convlstm.datasets.archives.newest_frames import NewestFrames
from convlstm.datasets.digits import read_idx
from convlstm.datasets.readers import FORMATS, ReadError, first_bytes, make_reader, recognise
from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.plain_files import open_plain
from tests.support.radar_archives import OPTIONS, name_of, write_pictures

import numpy as np
import pytest

KINDS = {"pipe": "a named pipe", "socket": "a socket", "device": "a device", "link to a pipe": "a named pipe"}


@pytest.fixture(autouse=True)
def time_limit():
    """Ends a test that waits."""

    def end(number, frame):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def put(path, kind):
    """Puts something that is no plain file at a path."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(os.path.relpath(path))
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        os.mkfifo(path.with_name(".pipe"))
        path.symlink_to(".pipe")
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("format", FORMATS)
def test_no_reader_opens_what_is_no_plain_file(tmp_path, format, kind):
    path = put(tmp_path / "RAD201906101204.png", kind)
    assert recognise(path) is None
    assert first_bytes(path) is None
    for attempt in (lambda reader: reader.contents(path), lambda reader: reader.read(path, 0)):
        with pytest.raises(ReadError, match=rf"\[{format}\] .*RAD201906101204\.png is {KINDS[kind]}, not a plain file"):
            attempt(make_reader(format))


def test_links_to_plain_files_are_read(tmp_path):
    (tmp_path / "file").write_bytes(b"text")
    (tmp_path / "soft").symlink_to("file")
    os.link(tmp_path / "file", tmp_path / "hard")
    for name in ("file", "soft", "hard"):
        with open_plain(tmp_path / name) as file:
            assert file.read() == b"text"
    with pytest.raises(UnreadableError, match="is a folder, not a plain file"):
        open_plain(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_plain(tmp_path / "nothing")


def test_a_pipe_that_takes_the_place_of_a_file_at_the_last_moment(tmp_path, monkeypatch):
    path = put(tmp_path / "pipe", "pipe")
    monkeypatch.setattr("convlstm.datasets.readers.plain_files.check_plain", lambda path: None)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None  # noqa: PTH112, PTH208
    with pytest.raises(UnreadableError, match="is a named pipe"):
        open_plain(path)
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.filterwarnings("ignore:.Archive.:UserWarning")
def test_archives_leave_them_out(tmp_path, kind, named):
    folder = tmp_path / "radar"
    write_pictures(folder, 8)
    put(folder / name_of(9), kind)
    arguments = {"format": "png", "options": OPTIONS} if named else {"options": OPTIONS}
    archive = Archive(folder, cache=tmp_path / "index", **arguments)
    assert len(archive) == 8
    assert [problem.name for problem in archive.problems] == [name_of(9)]
    assert KINDS[kind] in archive.problems[0].reason
    newest = NewestFrames(folder, **arguments)
    times, problems = newest.look()
    assert len(times) == 8
    assert [str(problem) for problem in problems] == [f"{name_of(9)}: is {KINDS[kind]}, not a plain file"]
    (folder / name_of(9)).unlink()


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_that_is_no_plain_file(tmp_path, kind):
    path = put(tmp_path / "201906101204.png", kind)
    with pytest.raises(ValueError, match=r"\[Archive\] .*no file is of a known format"):
        Archive(path, cache=tmp_path / "index")


def test_files_beside_a_data_set(tmp_path, monkeypatch):
    put(tmp_path / "images", "pipe")
    with pytest.raises(ValueError, match=r"\[read_idx\] .*images is a named pipe, not a plain file"):
        read_idx(tmp_path / "images")
    # A stored index that is a pipe is made again.
    write_pictures(tmp_path / "radar", 8)
    Archive(tmp_path / "radar", cache=tmp_path / "index", options=OPTIONS)
    (stored,) = (tmp_path / "index").iterdir()
    stored.unlink()
    os.mkfifo(stored)
    assert len(Archive(tmp_path / "radar", cache=tmp_path / "index", options=OPTIONS)) == 8
    assert np.load(stored)["files"].size
