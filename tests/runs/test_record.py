"""The record of a run, run.json."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

from convlstm.runs import record
from convlstm.runs.record import Record
from convlstm.runs.summary import entries

import mlx.core as mx


def test_the_record_of_a_start_and_of_a_resume(tmp_path):
    for step, status in ((0, "interrupted by SIGTERM"), (7, "finished")):
        logger = Record() if step == 0 else Record(ranks=4)
        assert logger.start(tmp_path, {}, step) == step
        assert "status" not in entries(tmp_path)[-1], "whether it still runs is not written down"
        logger.log(step + 1, {"train_loss": 0.5})
        logger.close(status)
    first, second = entries(tmp_path)
    assert [(e["step"], e["status"]) for e in (first, second)] == [
        (0, "interrupted by SIGTERM"),
        (7, "finished"),
    ]
    assert (first["ranks"], second["ranks"]) == (1, 4)
    assert first["started"] <= first["ended"] <= second["started"]
    assert first["command"] == shlex.join(sys.orig_argv)
    assert (first["process"], first["host"], first["directory"]) == (os.getpid(), platform.node(), str(Path.cwd()))
    assert first["versions"]["python"] == platform.python_version()
    assert first["versions"]["mlx"] == mx.__version__
    assert {"convlstm", "mlx-data", "numpy"} <= set(first["versions"])
    machine = first["hardware"]
    assert machine["cores"] >= 1
    assert machine["memory_gib"] > 0.1
    assert machine["device"] == str(mx.default_device())
    assert machine["processor"]


def test_the_record_names_the_variables_that_change_the_computation(tmp_path, monkeypatch):
    monkeypatch.setenv("CONVLSTM_THREADS", "1")
    monkeypatch.setenv("SECRET", "nobody's business")
    Record().start(tmp_path, {}, 0)
    (entry,) = entries(tmp_path)
    assert entry["environment"]["CONVLSTM_THREADS"] == "1"
    assert "nobody's business" not in (tmp_path / "run.json").read_text()


def git(folder, *arguments):
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(["git", "-C", folder, *who, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_of_the_code_and_whether_it_was_changed(tmp_path, monkeypatch):
    code = record.code.__wrapped__
    monkeypatch.setattr(record, "PROJECT", tmp_path)
    assert code() == {"commit": None, "changed": None}, "no repository"
    git(tmp_path, "init", "-q")
    assert code() == {"commit": None, "changed": None}, "no commit yet"
    (tmp_path / "file").write_text("a")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-q", "-m", "Add a file")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert code() == {"commit": commit, "changed": False}
    (tmp_path / "new").write_text("b")
    assert code() == {"commit": commit, "changed": True}, "a file that git does not know may be a model"

    (tmp_path / "inside").mkdir()
    monkeypatch.setattr(record, "PROJECT", tmp_path / "inside")
    assert code() == {"commit": None, "changed": None}, "installed somewhere in a stranger's repository"
    monkeypatch.setenv("PATH", "")
    assert code() == {"commit": None, "changed": None}, "no git"


def test_a_damaged_record_starts_anew(tmp_path):
    for text in ("{", "[]", '{"starts": 3}', "\udcff".encode("utf-8", "surrogateescape").decode("latin-1")):
        (tmp_path / "run.json").write_text(text)
        assert entries(tmp_path) == []
        Record().start(tmp_path, {}, 0)
        assert len(entries(tmp_path)) == 1
