"""The frame of a command: closed streams, readers that go away, and Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

CODE = """
import os, sys, time
from convlstm.backend.program_frame import framed
with framed("program"):
    {}
"""


def run(code, redirections=""):
    line = [sys.executable, "-c", CODE.format(code)]
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirections}', "sh", *line], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("redirections", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "<&- >/dev/null", "2>&1 >&-"])
def test_closed_streams_are_replaced(redirections, tmp_path):
    path = tmp_path / "file"
    code = f"print('out'); print('err', file=sys.stderr); file = open({str(path)!r}, 'w'); assert file.fileno() > 2; "
    code += "print('more'); assert sys.stdin.read() == ''; os.write(1, b'raw'); os.write(2, b'raw')"
    ended = run(code, redirections if "<" in redirections else f"{redirections} </dev/null")
    assert (ended.returncode, "Traceback" in ended.stdout + ended.stderr) == (0, False)
    assert path.read_text() == ""


def test_a_program_that_nobody_reads_ends_silently():
    ended = run("[print('line', flush=True) for _ in range(100000)]", "| head -1 && exit ${PIPESTATUS:-0}")
    assert (ended.stdout, ended.stderr) == ("line\n", "")


def test_under_nohup_a_program_that_nobody_reads_goes_on(tmp_path):
    code = f"[print('line', flush=True) for _ in range(10000)]; open({str(tmp_path / 'done')!r}, 'w')"
    line = [sys.executable, "-c", CODE.format(code)]
    ended = subprocess.run(
        ["sh", "-c", 'trap "" HUP; "$@" | head -1', "sh", *line],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.stdout, ended.stderr) == ("line\n", "")
    assert (tmp_path / "done").exists()


def test_ctrl_c_ends_a_program_with_a_message():
    line = [sys.executable, "-c", CODE.format("print('ready', flush=True); time.sleep(1000)")]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "\nprogram: interrupted.\n")
