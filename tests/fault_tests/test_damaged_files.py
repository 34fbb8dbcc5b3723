"""The fault test of damaged files sees every loss, and its own files are intact before they are damaged."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import time

from convlstm.datasets.readers import FORMATS
from fault_tests import __main__ as program
from fault_tests import damaged_files, file_reader
from fault_tests.bench import Bench
from fault_tests.file_damage import HARMS, harmed, looping
from fault_tests.file_sources import built, own

import numpy as np
import pytest

for library in ("h5py", "netCDF4", "zarr"):
    pytest.importorskip(library)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return built(tmp_path_factory.mktemp("sources") / "all")


def request_of(source, number=0):
    path = str(source.path)
    return {"door": source.door, "path": path, "name": path, "options": source.options, "number": number}


@pytest.mark.parametrize("number", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_intact_files_are_read(sources, number):
    outcomes = {source.format: file_reader.answer(request_of(source, number)) for source in sources}
    ffmpeg = shutil.which("ffmpeg") or importlib.util.find_spec("imageio_ffmpeg")
    assert outcomes.pop("mkv")["outcome"] == ("read" if ffmpeg else "refused")
    assert {format: answer for format, answer in outcomes.items() if answer["outcome"] != "read"} == {}


def test_every_reader_has_a_file(sources):
    formats = {source.format for source in sources}
    missing = {name for name in FORMATS if not any(format.startswith(name) for format in formats)}
    # There are .npy and .npz; polar scans are always refused; pysteps may be absent; the others come with `--files`.
    assert missing <= {"numpy", "polar", "pysteps", "nimrod", "meteonet"}


@pytest.mark.parametrize("harm", HARMS)
def test_each_harm_damages_each_file(sources, harm):
    rng = np.random.default_rng(0)
    contents = [(source.path / part).read_bytes() for source in sources for part in source.parts()]
    same = sum(harmed(content, HARMS[harm], rng, contents) == content for content in contents if content)
    assert same < len(contents) * (0.95 if HARMS[harm] is looping else 0.5)  # zeros may meet zeros


def test_own_files(sources, tmp_path):
    for source in sources:
        if source.path.is_file() and source.door in ("archive", "video"):
            source.copy(tmp_path)
    (tmp_path / "notes.txt").write_text("none")
    assert {source.format for source in own(tmp_path)} >= {"odim", "netcdf", "png", "mp4"}
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"\[own\] 'folder' must have files of a known format"):
        own(tmp_path / "empty")


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ValueError("[read_video] film.mp4 is cut off"), "refused"),
        (ValueError("[read_video] something is wrong"), "lost"),
        (UnicodeDecodeError("utf-8", b"film.mp4", 0, 1, "film.mp4"), "refused"),
        (KeyError("film.mp4"), "lost"),
        (RuntimeError("film.mp4"), "lost"),
    ],
)
def test_errors_are_judged(sources, monkeypatch, error, outcome):
    def door(request):
        raise error

    monkeypatch.setitem(file_reader.DOORS, "video", door)
    (video,) = (source for source in sources if source.format == "mp4")
    assert file_reader.answer(request_of(video))["outcome"] == outcome


@pytest.mark.parametrize(
    ("frames", "text"),
    [
        (np.full((2, 4, 4, 1), np.nan, np.float32), "not finite"),
        (np.zeros((2, 4, 4, 1)), "float64"),
        (np.zeros((2, 4, 4, 2), np.float32), "instead of float32 of (2, 4, 4, 1)"),
        (np.full((2, 4, 4, 1), 300, np.float32), "values from 300"),
    ],
)
def test_results_are_judged(sources, monkeypatch, frames, text):
    monkeypatch.setattr(file_reader, "read_video", lambda path, channels: frames)
    (video,) = (source for source in sources if source.format == "mp4")
    answer = file_reader.answer(request_of(video))
    assert answer["outcome"] == "lost"
    assert text in answer["text"]


def test_a_process_that_ends_or_is_blocked_is_lost(sources, tmp_path, monkeypatch):
    reading = damaged_files.Reading(tmp_path / "log")
    source = sources[0]
    for number, text in ((signal.SIGSEGV, "ended the process (status -11)"), (signal.SIGSTOP, "blocks the process")):
        assert reading.read(request_of(source))[0] == "read"
        reading._process.send_signal(number)
        time.sleep(0.1)
        with monkeypatch.context() as patched:
            if number == signal.SIGSTOP:
                patched.setattr(damaged_files, "PATIENCE", 0.5)
                patched.setattr(reading, "_start", lambda: None)
            outcome, found, _ = reading.read(request_of(source))
        assert outcome == "lost"
        assert text in found
    reading.end()


def test_damaged_files_end_nothing(tmp_path, capsys):
    assert program.run(Bench(tmp_path), {"damaged_files": 60}, 0) == 0
    assert "refused" in capsys.readouterr().out
