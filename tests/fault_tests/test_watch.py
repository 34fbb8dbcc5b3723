"""The fault test of watched folders: its deliveries and strays are what they say, and it sees each kind of loss."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from convlstm.datasets.readers import ReadError, recognise
from fault_tests import usage, watch, watch_frames, watch_strays
from fault_tests.bench import Bench
from fault_tests.file_sources import Source
from fault_tests.usage import Point, Usage
from fault_tests.watch_session import Session
from fault_tests.written import Written
from tests.support.radar_files import open_file

import numpy as np
import pytest

pytest.importorskip("h5py")
MOMENT = np.datetime64("2026-11-28T10:05", "s")


@pytest.mark.parametrize("format", watch_frames.FORMATS)
def test_frames_have_their_times(tmp_path, rng, format):
    path = watch_frames.write_frame(tmp_path / watch_frames.name_of(format, MOMENT, "a_"), format, MOMENT, rng)
    reader, contents = open_file(path, "numpy" if format == "npy" else format)
    assert contents.times.tolist() == [MOMENT.item()]
    assert reader.read(path, 0).shape == (watch_frames.SIDE, watch_frames.SIDE)


@pytest.mark.parametrize("way", watch_frames.WAYS)
def test_every_delivery_is_complete_in_the_end(tmp_path, rng, monkeypatch, way):
    monkeypatch.setattr(watch_frames, "PAUSE", 0.0)
    (tmp_path / "in").mkdir()
    frame = watch_frames.Delivery(tmp_path / "in", "rain_20261128100500.hdf", b"0123456789", rng)
    for _ in range(6):
        path = watch_frames.WAYS[way](frame)
        assert path.read_bytes() == b"0123456789"
        assert tmp_path / "in" in path.parents
        path.unlink()


@pytest.fixture
def near(tmp_path, rng):
    folder, scratch = tmp_path / "in", tmp_path / "scratch"
    folder.mkdir()
    scratch.mkdir()
    (tmp_path / "other.nc").write_bytes(b"CDF\1" + bytes(60))
    surroundings = watch_strays.Surroundings(
        folder, scratch, "odim", [], [Source("netcdf", "archive", tmp_path / "other.nc")], rng
    )
    for n in range(14):
        moment = MOMENT + np.timedelta64(5 * n, "m")
        path = watch_frames.write_frame(folder / watch_frames.name_of("odim", moment), "odim", moment, rng)
        surroundings.delivered.append((moment, path))
    return surroundings


@pytest.mark.parametrize("name", [*watch_strays.STRAYS, *watch_strays.UNITS])
def test_no_stray_is_a_further_frame(near, name):
    before = {path: path.stat().st_ino for path in near.folder.iterdir()}
    path = (watch_strays.STRAYS | watch_strays.UNITS)[name](near)
    after = {path: path.lstat().st_ino for path in near.folder.iterdir()}
    assert before != after
    if path is None:
        assert name.startswith("an old frame")
    else:
        assert set(after) - set(before) == {path}
    times = {moment.item() for moment, _ in near.delivered}
    if path is not None and path.is_file() and name not in ("a frame of the future", "a frame of the past"):
        reader = recognise(path)
        fits = False
        if reader is not None and reader.format == "odim" and not path.name.startswith("."):
            try:
                contents = reader.contents(path)
                fits = contents.grid == reader.contents(near.delivered[-1][1]).grid
                fits = fits and contents.times[0].item() not in times
            except ReadError:
                fits = False
        assert not fits


def test_a_loop_never_ends(near):
    path = watch_strays.loop(near)
    code = f"import h5py; print('ready', flush=True); h5py.File({str(path)!r})['dataset1/data1/data'][:]"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.0)
    process.kill()
    process.communicate()


def test_forecasts_are_counted_as_often_as_they_are_written(tmp_path):
    written = Written(tmp_path)
    written.expect(MOMENT)
    path = tmp_path / "forecast_20261128T100500.npy"
    for number in (1, 2):
        (tmp_path / "part").write_bytes(b"values")
        (tmp_path / "part").rename(path)
        written.wait({MOMENT: number}, 5.0)
        assert written.count(MOMENT) == number
    written.wait({MOMENT: 3}, 0.1)
    (tmp_path / "forecast_20270101T000000.npy").touch()
    written.stop()
    assert written.count(MOMENT) == 2
    assert written.others() == ["forecast_20270101T000000.npy"]


def test_a_plan_has_all_frames_and_stages(rng):
    for count in (1, 10, 60, 500):
        kinds = watch.plan(rng, count, disks=True)
        assert sum(size for _, size in kinds) == count
        names = {name for name, _ in kinds}
        assert (set(watch.STAGES) <= names) == (count >= 60)
        assert not any("disk" in name for name, _ in watch.plan(rng, count, disks=False))
    assert names == {*watch_frames.WAYS, *watch.GROUPS, *watch.STAGES}


@pytest.mark.parametrize(
    ("column", "text"), [(1, "memory grew"), (2, "descriptors grew"), (3, "memory of children"), (0, "")]
)
def test_growth_is_seen(tmp_path, column, text):
    measured = Usage(os.getpid())
    for frame in range(0, 500, 10):
        values = [float(frame), 100.0, 10.0, 50.0]
        values[column] += frame / 5 if column else 0
        measured.points.append(Point(*values))
    assert measured.lost().startswith(text)
    assert bool(measured.lost()) is bool(text)
    measured.draw(tmp_path / "usage.png")
    assert (tmp_path / "usage.csv").read_text().splitlines()[1].startswith("0,")
    assert (tmp_path / "usage.png").stat().st_size > 5000


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="memory is measured on Linux")  # noqa: PTH112
def test_a_process_is_measured_with_its_children():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    measured = Usage(os.getpid())
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and usage._memory(child.pid) < 4:
        time.sleep(0.01)
    measured.measure(1)
    assert child.pid in measured.children()
    child.kill()
    child.wait()
    (point,) = measured.points
    assert min(point) > 0


def test_a_watcher_that_ends_is_lost(tmp_path, rng):
    session = Session(tmp_path, "png", [], rng)
    session._line = [sys.executable, "-c", "print('watching'); raise SystemExit('no')"]
    session.start(MOMENT)
    session.process.wait()
    assert "status 1" in session.end()
    assert "no" in session.end()


@pytest.mark.slow
def test_frames_beside_strays_have_their_forecasts(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(watch, "can_mount", lambda: False)
    monkeypatch.setattr(watch, "FORMATS", {"png": ".png"})
    tries = list(watch.watch(Bench(tmp_path), rng, 8))
    assert [one.lost for one in tries if one.lost] == []
    assert len(tries) == 9
