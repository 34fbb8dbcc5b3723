"""`forecast` without a person beside it: exit statuses, times in the log, signs of life, retention, restarts."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

from convlstm.backend.terminal import timed_output
from convlstm.cli.configuration import CONFIGS
from convlstm.cli.heartbeat import Heartbeat
from convlstm.cli.ignored_keys import say_ignored
from convlstm.cli.unattended import wait_for
from tests.support.radar_archives import picture, time_of, write_picture, write_pictures
from tests.support.tiny import PROJECT

import numpy as np
import pytest
import yaml

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ "


def names(folder):
    return sorted(path.name for path in folder.glob("forecast_*.npy"))


def name(index):
    return f"forecast_{str(time_of(index)).replace('-', '').replace(':', '')}"


# Exit statuses


@pytest.mark.parametrize(
    ("frames", "arguments", "status", "text"),
    [
        (None, [], 3, r"radar does not exist"),
        (1, [], 3, "a single frame so far.* Wait for more"),
        (3, ["max_age=10"], 4, "the newest frame, that of 2020-06-01 00:10 UTC, is .* old, more than max_age=10 min"),
        (3, ["out=taken/out"], 5, "Not a directory|File exists"),
    ],
)
def test_the_status_says_what_is_wrong(forecast, tmp_path, monkeypatch, frames, arguments, status, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("a file")
    if frames is not None:
        write_pictures(tmp_path / "radar", frames)
    ended, _, err = forecast("format=npy", *arguments)
    assert ended == status
    assert re.search(text, err)


def test_a_forecast_that_cannot_be_written_has_a_status_of_its_own(forecast, tmp_path, monkeypatch):
    write_pictures(tmp_path / "radar", 3)

    def full(*_):
        raise OSError(28, "No space left on device", str(tmp_path / "out" / "x.npy"))

    monkeypatch.setattr("convlstm.cli.forecast_output.write", full)
    status, _, err = forecast("format=npy")
    assert status == 5
    assert re.search(r"out.*: '.*x\.npy': No space left on device\. Make room on that disk", err)


# The log


def test_times_begin_lines_and_nothing_else(capsys):
    with timed_output():
        print("one", end="")
        print(", the same\n\ntwo")
        print("three", file=sys.stderr)
    out, err = capsys.readouterr()
    assert re.fullmatch(f"{STAMP}one, the same\n\n{STAMP}two\n", out)
    assert re.fullmatch(f"{STAMP}three\n", err)


# Signs of life


def test_the_heartbeat_says_what_the_program_does(tmp_path):
    path = tmp_path / "heartbeat.json"
    heart = Heartbeat(path)
    heart.beat("waiting")
    assert json.loads(path.read_text())["state"] == "waiting"
    heart.beat("watching", forecasts=3)
    first = path.stat().st_mtime_ns
    facts = json.loads(path.read_text())
    assert (facts["state"], facts["forecasts"], facts["process"]) == ("watching", 3, os.getpid())
    assert abs(np.datetime64(facts["time"][:-1]) - np.datetime64("now")) < np.timedelta64(60, "s")
    heart.beat("watching", forecasts=4)
    assert path.stat().st_mtime_ns == first, "no more than one a second"
    heart.beat("ended")
    assert json.loads(path.read_text())["forecasts"] == 4
    assert [file.name for file in tmp_path.iterdir()] == ["heartbeat.json"]


def test_a_heartbeat_that_cannot_be_written_ends_nothing_and_is_said_once(tmp_path, capsys):
    heart = Heartbeat(tmp_path / "none" / "heartbeat.json")
    heart.beat("waiting")
    heart.beat("watching")
    assert capsys.readouterr().out.count("no heartbeat") == 1


def test_systemd_is_told_that_it_is_ready_and_alive(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "notify"))
        server.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        heart = Heartbeat()
        heart.beat("watching", forecasts=2)
        assert server.recv(999) == b"WATCHDOG=1\nSTATUS=watching, 2 forecasts\nREADY=1"
        heart.beat("old")
        assert server.recv(999) == b"WATCHDOG=1\nSTATUS=old, 2 forecasts"
        heart.beat("ended")
        assert server.recv(999).endswith(b"STOPPING=1")


# Outages


def test_it_waits_for_what_is_not_there_yet(capsys):
    errors = [FileNotFoundError(2, "No such file", "radar"), OSError(28, "No space left", "out")]
    beats = []

    def make():
        if errors:
            raise errors[0]
        return 7

    def beat():
        beats.append(1)
        if len(beats) % 3 == 0:
            errors.pop(0)

    assert wait_for(make, 0.001, beat) == 7
    assert len(beats) == 6
    assert capsys.readouterr().out.count("waiting") == 2
    with pytest.raises(PermissionError):
        wait_for(lambda: (_ for _ in ()).throw(PermissionError(13, "no")), 0.001)


def at_pauses(monkeypatch, actions):
    """Makes pauses short, and has something done at some of them, by their number."""
    numbers, sleep = itertools.count(1), time.sleep

    def pause(_):
        actions.get(next(numbers), lambda: None)()
        sleep(0.001)

    monkeypatch.setattr("time.sleep", pause)


def test_it_starts_before_the_folder_and_its_frames(forecast, tmp_path, monkeypatch):
    """The folder comes at the third pause, and the frames later."""
    actions = {3: (tmp_path / "radar").mkdir, 6: lambda: write_pictures(tmp_path / "radar", 3)}
    at_pauses(monkeypatch, actions)
    heart = tmp_path / "heartbeat.json"
    status, out, _ = forecast("watch=true", "interval=0.01", "format=npy", "forecasts=1", f"heartbeat={heart}")
    assert status == 0
    assert out.count("radar does not exist") == 1
    assert out.count("there is no frame in") == 1
    assert all(re.match(STAMP + r"\S", line) for line in out.splitlines()), out
    facts = json.loads(heart.read_text())
    assert (facts["state"], facts["forecasts"], facts["newest_forecast"]) == ("ended", 1, "2020-06-01T00:10:00Z")


def test_a_newest_frame_that_is_too_old_is_said_once_and_waited_for(forecast, tmp_path, monkeypatch):
    write_pictures(tmp_path / "radar", 3)
    at_pauses(monkeypatch, {5: lambda: os.kill(os.getpid(), signal.SIGTERM)})
    heart = tmp_path / "heartbeat.json"
    status, out, _ = forecast("watch=true", "interval=0.01", "format=npy", "max_age=10", f"heartbeat={heart}")
    assert status == 0
    assert out.count("old         no frame after that of 2020-06-01 00:10 UTC for more than max_age=10 min") == 1
    assert "ended       after 0 forecasts" in out
    assert not names(tmp_path / "out")


# Retention and restarts


def test_the_command_keeps_some_and_goes_on_where_it_ended(forecast, tmp_path, capsys):
    radar, out = tmp_path / "radar", tmp_path / "out"
    write_pictures(radar, 3)
    watching = ("watch=true", "interval=0.01", "format=npy")
    assert forecast(*watching, "forecasts=1")[0] == 0
    (out / "forecast_of_mine.npy").write_text("mine")
    for index in range(3, 7):
        write_picture(radar, index, picture(index))
    # The newest first, then those that were missed, the oldest first.
    status, text, _ = forecast(*watching, "forecasts=4", "keep=4")
    assert status == 0
    assert "missed      3 frames came while this program did not run; their forecasts follow" in text
    order = re.findall(r"forecast    \S*(forecast_\d+T\d+)\.npy", text)
    assert order == [name(n) for n in (6, 3, 4, 5)]
    assert f"deleted     {name(2)}" in text
    assert names(out) == sorted([f"{name(n)}.npy" for n in (3, 4, 5, 6)] + ["forecast_of_mine.npy"])
    # Without watch=true as well.
    write_picture(radar, 7, picture(7))
    assert forecast("format=npy", "keep=1")[0] == 0
    assert names(out) == sorted([f"{name(7)}.npy", "forecast_of_mine.npy"])


def test_keys_without_effect_are_said(capsys):
    settings = yaml.safe_load((CONFIGS / "forecast.yaml").read_text()) | {"keep": 3, "heartbeat": "beat.json"}
    say_ignored(settings, formats=["npy"], clip=False, is_file=True, units="mm/h")
    out = capsys.readouterr().out
    assert "ignored     keep=3: it is for a folder of forecasts" in out
    assert "ignored     heartbeat='beat.json': it is for watch=true" in out


# SIGTERM


def test_sigterm_ends_a_long_computation_with_status_0():
    code = (
        "import hashlib\nfrom convlstm.backend import stop_guard\nfrom convlstm.cli.unattended import stoppable\n"
        "with stop_guard.guarded('watcher'), stoppable():\n"
        "    print('ready', flush=True)\n"
        "    hashlib.pbkdf2_hmac('sha256', b'', b'', 1 << 30)\n"  # minutes without a return to Python
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.5)
        process.terminate()
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "watcher: ended by SIGTERM within a computation." in err


def test_a_request_that_was_obeyed_leaves_at_once():
    """Python's own end would call what is registered for it."""
    code = (
        "import atexit, os, signal\nfrom convlstm.backend import stop_guard\n"
        "from convlstm.cli.unattended import stoppable\n"
        "atexit.register(print, 'the end')\n"
        "stop_guard.leave()\n"
        "with stop_guard.guarded('watcher'), stoppable():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    input()\n"
        "print('ended')\n"
        "stop_guard.leave()\n"
        "print('still here')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")
