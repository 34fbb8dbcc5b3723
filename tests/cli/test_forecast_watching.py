"""The command `forecast watch=true`: a folder that is followed."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.support.forecast_runs import ENCODER, RAIN, READER, write_run
from tests.support.radar_archives import picture, time_of, write_picture, write_pictures
from tests.support.tiny import PROJECT, environment

import numpy as np
import pytest


def test_each_usable_frame_has_a_forecast_and_others_are_reported(forecast, tmp_path):
    radar = tmp_path / "radar"
    write_pictures(radar, 3)
    whole = write_picture(tmp_path / "aside", 4, picture(4)).read_bytes()

    def written(index):
        """Waits for the forecast of a frame."""
        name = f"forecast_{str(time_of(index)).replace('-', '').replace(':', '')}.npy"
        end = time.monotonic() + 60
        while not (tmp_path / "out" / name).exists():
            assert time.monotonic() < end, name
            time.sleep(0.01)
        return tmp_path / "out" / name

    failures = []

    def services():
        try:
            written(2)
            write_picture(radar, 3, picture(3))
            written(3)
            cut = radar / "202006010020.png"
            cut.write_bytes(whole[:60])  # frame 4, never completed
            write_picture(radar, 6, picture(6))  # frame 5 is late
            before = written(6).stat().st_mtime_ns
            write_picture(radar, 5, picture(5))
            end = time.monotonic() + 60
            while written(6).stat().st_mtime_ns == before:
                assert time.monotonic() < end
                time.sleep(0.01)
            write_picture(radar, 7, picture(7))
            written(7)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=services)
    thread.start()
    status, out, err = forecast("watch=true", "interval=0.05", "format=npy", "forecasts=5")
    thread.join()
    assert not failures
    assert (status, err) == (0, "")
    assert "not used    202006010020.png" in out
    assert "late        the frame of 2020-06-01 00:25, after that of 2020-06-01 00:30: its forecast is made" in out
    assert "ended       after 5 forecasts" in out
    last = np.load(written(7))
    np.testing.assert_allclose(last[0], picture(7) / 10, rtol=1e-5)


def test_a_folder_may_begin_with_a_single_frame(forecast, tmp_path):
    """For a model that was trained on unknown steps."""
    radar = tmp_path / "radar"
    write_picture(radar, 0, picture(0))
    run = write_run(tmp_path / "run", trained={**RAIN, "frame_interval": None})

    def services():
        while not (tmp_path / "out").exists():
            time.sleep(0.01)
        time.sleep(1)  # until it has looked
        write_picture(radar, 1, picture(1))
        time.sleep(1)
        write_picture(radar, 2, picture(2))

    thread = threading.Thread(target=services)
    thread.start()
    status, out, _ = forecast("watch=true", "interval=0.05", "format=npy", "forecasts=1", f"ckpt={run}")
    thread.join()
    assert status == 0
    assert "no forecast a single frame so far" in out
    assert "the model needs 3 frames, 5 min apart, but there are 2 up to 2020-06-01 00:05" in out
    assert "interpolated" not in out
    assert (tmp_path / "out" / "forecast_20200601T001000.npy").is_file()


def test_a_frame_that_comes_much_too_late_is_reported_and_not_used(forecast, tmp_path):
    radar = tmp_path / "radar"
    for index in range(4, 8):
        write_picture(radar, index, picture(index))

    def services():
        first = tmp_path / "out" / "forecast_20200601T003500.npy"
        while not first.exists():
            time.sleep(0.01)
        write_picture(radar, 0, picture(0))
        time.sleep(0.5)
        write_picture(radar, 8, picture(8))

    thread = threading.Thread(target=services)
    thread.start()
    status, out, _ = forecast("watch=true", "interval=0.05", "format=npy", "forecasts=2")
    thread.join()
    assert status == 0
    assert "late        the frame of 2020-06-01 00:00, after that of 2020-06-01 00:35: too old to be used" in out


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_is_flat_over_five_hundred_frames(tmp_path):
    radar, out = tmp_path / "radar", tmp_path / "out"
    write_pictures(radar, 3, shape=(128, 128))
    run = write_run(tmp_path / "run", ENCODER)
    line = [sys.executable, "forecast.py", f"ckpt={run}", f"input={radar}", f"out={out}", READER, "format=npy"]
    line += ["watch=true", "interval=0.02"]
    with (tmp_path / "log").open("w") as log:
        program = subprocess.Popen(line, cwd=PROJECT, env=environment(), stdout=log, stderr=log)
        try:
            sizes, slowest = [], 0.0
            for index in range(2, 503):
                started = time.monotonic()
                if index > 2:
                    path = write_picture(tmp_path / "aside", index, picture(index % 200, (128, 128)))
                    path.rename(radar / path.name)
                name = f"forecast_{str(time_of(index)).replace('-', '').replace(':', '')}.npy"
                while not (out / name).exists():
                    assert program.poll() is None, (tmp_path / "log").read_text()
                    assert time.monotonic() - started < 120, (tmp_path / "log").read_text()
                    time.sleep(0.005)
                slowest = max(slowest, time.monotonic() - started) if index > 2 else 0.0
                if index % 50 == 0:
                    pages = Path(f"/proc/{program.pid}/statm").read_text().split()[1]
                    sizes.append(int(pages) * os.sysconf("SC_PAGE_SIZE"))
        finally:
            program.send_signal(signal.SIGINT)
            program.wait(60)
    assert "after 501 forecasts" in (tmp_path / "log").read_text()
    print(f"resident MB every 50 frames: {[round(size / 1e6) for size in sizes]}, slowest {slowest:.2f} s")
    assert max(sizes[2:]) - sizes[1] < 16e6, sizes
