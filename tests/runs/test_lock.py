"""The lock on a run's folder."""

from __future__ import annotations

import platform
import signal
import subprocess
import sys

from convlstm.runs.lock import RunInUseError, is_locked, lock
from convlstm.runs.summary import read
from tests.support.project import PROJECT
from tests.support.run_files import write_run

import pytest

HOLD = """
import pathlib, sys, time
from convlstm.runs.lock import lock
with lock(pathlib.Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_folder_is_locked_until_its_process_ends_even_if_it_is_killed(tmp_path):
    run = write_run(tmp_path / "run", starts=[{"host": platform.node()}])
    assert not is_locked(run)
    assert read(run).status == "killed"
    process = subprocess.Popen([sys.executable, "-c", HOLD, run], cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        assert is_locked(run)
        assert read(run).status == "running"
        with (
            pytest.raises(RunInUseError, match=r"another process is training in '.*/run'. Wait until it ends or"),
            lock(run),
        ):
            pass
        process.send_signal(signal.SIGKILL)
    assert not is_locked(run)
    with lock(run):
        assert is_locked(run)
    assert not is_locked(run)


def test_a_look_at_the_lock_refuses_no_start(tmp_path):
    program = (
        "import sys\nfrom pathlib import Path\nfrom convlstm.runs.lock import is_locked\nprint('begun', flush=True)\n"
    )
    program += "while True: is_locked(Path(sys.argv[1]))"
    looks = subprocess.Popen([sys.executable, "-c", program, tmp_path], cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    with looks:
        try:
            assert looks.stdout is not None
            assert looks.stdout.readline() == "begun\n"
            for _ in range(500):
                with lock(tmp_path):
                    pass
        finally:
            looks.kill()


def test_a_missing_folder_is_created(tmp_path):
    assert not is_locked(tmp_path / "new" / "run")
    with lock(tmp_path / "new" / "run"):
        assert is_locked(tmp_path / "new" / "run")
