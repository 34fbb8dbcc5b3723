"""The ends of training as a program: without a reader, and while its data do not come."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from convlstm.checkpoints import read_state
from tests.support.tiny import OVERRIDES, PROJECT, environment

import pytest

BLOCKED = """
import time
from pathlib import Path
from tests.support import tiny

class Data(tiny.Data):
    def sample(self, split, index, *, seed=0, epoch=0):
        if epoch == 1:
            Path({!r}).touch()
            time.sleep(1000)
        return super().sample(split, index, seed=seed, epoch=epoch)
"""


def started(tmp_path, *overrides, **how):
    line = [sys.executable, "train.py", *OVERRIDES, f"output={tmp_path}", "name=run", *overrides]
    return subprocess.Popen(
        line,
        cwd=PROJECT,
        env=environment(PYTHONPATH=os.pathsep.join((str(PROJECT), str(tmp_path)))),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **how,
    )


def ended(process, tmp_path):
    _, err = process.communicate(timeout=120)
    assert "Traceback" not in err
    return process.returncode, err, read_state(tmp_path / "run" / "checkpoints" / "last")


def test_training_that_nobody_reads_ends_with_a_checkpoint(tmp_path):
    process = started(tmp_path, "trainer.max_steps=100000")
    with process.stdout as lines:
        assert any(line.startswith("step 10") for line in lines)
    process.stdout = None
    status, err, state = ended(process, tmp_path)
    assert (status, state["status"]) == (141, "interrupted by SIGPIPE")
    assert f"nobody reads the output any more, so training ended at step {state['step']}.\nEverything is saved." in err


def test_under_nohup_training_that_nobody_reads_goes_on(tmp_path):
    process = started(tmp_path, "trainer.max_steps=60", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.stdout.close()
    process.stdout = None
    status, err, state = ended(process, tmp_path)
    assert (status, err, state["status"], state["step"]) == (0, "", "finished", 60)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_data_that_never_come_keep_no_program_from_ending(number, tmp_path):
    mark = tmp_path / "waits"
    (tmp_path / "blocked.py").write_text(BLOCKED.format(str(mark)))
    process = started(tmp_path, "data._target_=blocked.Data", "trainer.max_steps=100")
    while not mark.exists() and process.poll() is None:
        time.sleep(0.05)
    time.sleep(1)  # until the last batch before has been trained
    process.send_signal(number)
    since = time.monotonic()
    status, _, state = ended(process, tmp_path)
    assert time.monotonic() - since < 30
    assert (status, state["step"], state["status"]) == (128 + number, 11, f"interrupted by {number.name}")
