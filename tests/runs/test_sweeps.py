"""Sweeps: jobs that are processes of their own, their table, and what stops them."""

from __future__ import annotations

import csv
import functools
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

from convlstm.runs.sweeps import MESSAGE, Sweep
from tests.support.tiny import OVERRIDES, PROJECT, call, environment, stop_at

import pytest
import yaml

# A job that leaves a run: its folder, its status and its score are the arguments.
LEAVE = """
import json, pathlib, sys
folder, status, score = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
folder.mkdir()
(folder / "config.yaml").write_text("{trainer: {monitor: val_loss, max_steps: 4}}")
(folder / "metrics.csv").write_text(f"step,seconds,val_loss\\n4,1.5,{score}\\n")
(folder / "run.json").write_text(json.dumps({"starts": [{"status": status}]}))
"""


def leave(folder, status, score):
    return [sys.executable, "-c", LEAVE, str(folder), status, str(score)]


def python(code):
    return [sys.executable, "-c", f"import os, pathlib, signal, sys, time\n{code}"]


def table(folder):
    with (folder / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_job_has_a_row_and_a_line(tmp_path, capsys):
    sweep = Sweep(tmp_path)
    sweep.run("0", leave(tmp_path / "0", "finished", 0.25), {"seed": "0", "loss": "mse"})
    sweep.run("1", leave(tmp_path / "1", "stopped early", 0.125), {"seed": "1", "loss": "mse"})
    assert capsys.readouterr().out == "job         0: seed=0, loss=mse\njob         1: seed=1, loss=mse\n"
    first, second = table(tmp_path)
    assert first == {
        "job": "0",
        "seed": "0",
        "loss": "mse",
        "status": "finished",
        "step": "4",
        "max_steps": "4",
        "monitor": "val_loss",
        "best": "0.25",
        "best_step": "4",
        "seconds": "1.5",
        "message": "",
    }
    assert (second["job"], second["seed"], second["status"], second["best"]) == ("1", "1", "stopped early", "0.125")
    assert sweep.report().splitlines() == [
        "run  status         step  best val_loss  seed  loss",
        "0    finished       4/4   0.25 at 4      0     mse",
        "1    stopped early  4/4   0.125 at 4     1     mse",
    ]
    assert sweep.code == 0


@pytest.mark.parametrize(
    ("code", "status", "message"),
    [
        ("sys.exit('what is wrong')", "failed", "exit status 1"),
        ("sys.exit(3)", "failed", "exit status 3"),
        (f"pathlib.Path(os.environ['{MESSAGE}']).write_text('why\\n'); sys.exit(1)", "failed", "why"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL", "It may have run out of memory."),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV", ""),
        ("sys.exit(143)", "interrupted", ""),
        ("sys.exit(129)", "interrupted", ""),
    ],
)
def test_a_job_that_fails_does_not_stop_the_others(code, status, message, tmp_path):
    sweep = Sweep(tmp_path)
    sweep.run("0", python(code), {"seed": "0"})
    sweep.run("1", leave(tmp_path / "1", "finished", 0.5), {"seed": "1"})
    assert [(row["status"], row["message"]) for row in table(tmp_path)] == [(status, message), ("finished", "")]
    assert sweep.code == 1
    assert sweep.report().splitlines()[4:] == ([f"0  {status}: {message}"] if message else [])


def test_the_status_of_an_interrupted_run_is_its_own(tmp_path):
    sweep = Sweep(tmp_path)
    line = leave(tmp_path / "0", "interrupted by SIGTERM", 0.5)
    line[2] += "sys.exit(143)"
    sweep.run("0", line, {})
    assert table(tmp_path)[0]["status"] == "interrupted by SIGTERM"
    assert sweep.code == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_reaches_the_job_and_the_next_ones_are_not_started(number, tmp_path):
    code = (
        f"signal.signal({number.value}, lambda n, f: sys.exit(128 + n))\n"
        f"pathlib.Path({str(tmp_path / 'ready')!r}).touch()\ntime.sleep(60)"
    )

    def stop():
        while not (tmp_path / "ready").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    thread, former = threading.Thread(target=stop), signal.getsignal(number)
    thread.start()
    sweep = Sweep(tmp_path)
    sweep.run("0", python(code), {"seed": "0"})
    thread.join()
    sweep.run("1", leave(tmp_path / "1", "finished", 0.5), {"seed": "1"})
    assert [row["status"] for row in table(tmp_path)] == [sweep.jobs[0].run.status, "not started"]
    assert not (tmp_path / "1").exists()
    assert sweep.code == 128 + number
    assert signal.getsignal(number) == former


def test_a_signal_that_is_ignored_stops_nothing(tmp_path):
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        sweep = Sweep(tmp_path)
        sweep.run("0", python("os.kill(os.getppid(), signal.SIGHUP)"), {})
    finally:
        signal.signal(signal.SIGHUP, former)
    assert sweep.stopped is None


# train.py -m


@pytest.fixture
def train(monkeypatch, capsys):
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    return functools.partial(call, "train", monkeypatch, capsys)


def test_a_sweep_continues_after_a_bad_value_and_can_be_repeated(train, tmp_path):
    # Changes, then -m, then changes: an order that argparse alone refuses. And a path that a shell and Hydra would cut.
    output = tmp_path / "my runs"
    status, out, err = train(*OVERRIDES, "trainer.max_steps=2", f'output="{output}"', "name=ours", "-m", "seed=-1,3")
    assert (status, err) == (1, "")
    (sweep,) = output.iterdir()
    bad, good = table(sweep)
    assert (bad["seed"], bad["status"]) == ("-1", "failed")
    assert "'seed' must be a whole number of at least 0 but got -1." in bad["message"]
    assert (good["seed"], good["status"], good["step"], good["best_step"]) == ("3", "finished", "2", "2")
    config = yaml.safe_load((sweep / "1" / "config.yaml").read_text())
    assert (config["output"], config["name"], config["seed"]) == (str(sweep), "1", 3)
    assert f"The same as a table:  {sweep / 'sweep.csv'}" in out

    again = shlex.split(out.splitlines()[-1].partition("end:  ")[2])
    assert again[:3] == ["python", "train.py", "-m"]
    record = (sweep / "1" / "run.json").read_bytes()
    status, out, _ = train(*[word.replace("seed=-1,3", "seed=4,3") for word in again[2:]])
    assert status == 0
    assert [row["status"] for row in table(sweep)] == ["finished", "finished"]
    assert (sweep / "1" / "run.json").read_bytes() == record, "the run that was finished was left alone"
    assert "To continue the jobs" not in out
    weights = [sweep / job / "checkpoints" / "last" / "model.safetensors" for job in ("0", "1")]
    assert weights[0].read_bytes() != weights[1].read_bytes()


def test_an_unknown_choice_is_an_error_before_anything_starts(train, tmp_path):
    status, out, err = train(*OVERRIDES, f"output={tmp_path}", "-m", "loss=bce,foo")
    assert (status, out) == (1, "")
    assert err.startswith("train.py: loss has no choice 'foo'.\nChoices of loss: ")
    assert list(tmp_path.rglob("run.json")) == list(tmp_path.rglob("sweep.csv")) == []


@pytest.mark.slow
def test_a_stopped_sweep_saves_its_job_and_can_be_continued(tmp_path):
    line = [sys.executable, "train.py", "-m", *OVERRIDES, "trainer.max_steps=30", f"output={tmp_path}", "seed=0,1"]
    start = functools.partial(subprocess.Popen, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process = start(line, env=environment(TINY_STOP=stop_at(signal.SIGSTOP, 12)))
    lines = []
    assert process.stdout is not None
    while not any("step 10:" in line for line in lines):
        lines.append(process.stdout.readline())
    (folder,) = tmp_path.iterdir()
    job = json.loads((folder / "0" / "run.json").read_text())["starts"][0]["process"]
    process.send_signal(signal.SIGTERM)
    while time.sleep(0.1) is None and process.poll() is None:
        with suppress(ProcessLookupError):
            os.kill(job, signal.SIGCONT)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 143
    rows = table(folder)
    assert [row["status"] for row in rows] == ["interrupted by SIGTERM", "not started"]

    words = shlex.split(out.splitlines()[-1].partition("end:  ")[2])
    done = subprocess.run([sys.executable, *words[1:]], cwd=PROJECT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [row["status"] for row in table(folder)] == ["finished", "finished"]
    assert len(json.loads((folder / "0" / "run.json").read_text())["starts"]) == 2
