"""What a run's folder says: its record, one process at a time, and the table of runs."""

from __future__ import annotations

import json
import os
import platform
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from convlstm.runs import record
from convlstm.runs.__main__ import main
from convlstm.runs.comparison import differing_keys
from convlstm.runs.listing import arranged, table
from convlstm.runs.lock import RunInUseError, is_locked, lock
from convlstm.runs.record import Record
from convlstm.runs.summary import RunSummary, entries, find, flat, read
from tests.support.project import PROJECT

import mlx.core as mx
import pytest
import yaml


def leave(folder, *, config=None, rows=(), starts=None, state=None):
    """A run's folder; `rows` are (step, val_loss) or (step, val_loss, val_psnr)."""
    folder.mkdir(parents=True)
    config = {"trainer": {"monitor": "val_loss", "max_steps": 40}} if config is None else config
    (folder / "config.yaml").write_text(config if isinstance(config, str) else yaml.safe_dump(config))
    lines = [",".join(map(str, (*row, "", "")[:4])) for row in rows]
    (folder / "metrics.csv").write_text("\n".join(["step,val_loss,val_psnr,seconds", *lines, ""]))
    if starts is not None:
        (folder / "run.json").write_text(json.dumps({"starts": starts}))
    if state is not None:
        (folder / "checkpoints" / "last").mkdir(parents=True)
        (folder / "checkpoints" / "last" / "state.json").write_text(json.dumps(state))
    return folder


# run.json


def test_the_record_of_a_start_and_of_going_on(tmp_path):
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


def test_a_damaged_record_begins_anew(tmp_path):
    for text in ("{", "[]", '{"starts": 3}', "\udcff".encode("utf-8", "surrogateescape").decode("latin-1")):
        (tmp_path / "run.json").write_text(text)
        assert entries(tmp_path) == []
        Record().start(tmp_path, {}, 0)
        assert len(entries(tmp_path)) == 1


# One process at a time


HOLD = """
import pathlib, sys, time
from convlstm.runs.lock import lock
with lock(pathlib.Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_folder_is_held_until_its_process_ends_however_that_ends(tmp_path):
    run = leave(tmp_path / "run", starts=[{"host": platform.node()}])
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


def test_a_folder_that_is_not_there_is_made_to_be_held(tmp_path):
    assert not is_locked(tmp_path / "new" / "run")
    with lock(tmp_path / "new" / "run"):
        assert is_locked(tmp_path / "new" / "run")


# What the files say


def test_a_run_is_read_from_its_files(tmp_path):
    config = {"trainer": {"monitor": "val_loss", "max_steps": 40}, "seed": 3}
    (tmp_path / "run").mkdir()
    starts = [
        {"started": "2026-01-02T03:04:05+00:00", "code": {"commit": "a" * 40, "changed": False}, "status": "killed"},
        {"started": "2026-01-02T04:04:05+00:00", "code": {"commit": "b" * 40, "changed": True}, "status": "finished"},
    ]
    folder = leave(tmp_path / "a", config=config, rows=[(10, 0.5), (20, 0.25), (30, "nan")], starts=starts)
    with (folder / "metrics.csv").open("a") as file:
        file.write("38,,,12.5\n40,0.25,,13.5\n41,0.1")
    assert read(folder) == RunSummary(
        folder,
        status="finished",
        step=40,
        max_steps=40,
        monitor="val_loss",
        best=0.25,
        best_step=20,
        started="2026-01-02T03:04:05+00:00",
        seconds=13.5,
        commit="bbbbbbbbbb+",
        config={"trainer.monitor": "val_loss", "trainer.max_steps": 40, "seed": 3},
    )


def test_more_is_better_for_psnr(tmp_path):
    config = {"trainer": {"monitor": "val_psnr"}}
    run = read(leave(tmp_path / "a", config=config, rows=[(1, 0.5, 20.0), (2, 0.4, 22.0), (3, 0.3, 21.0)]))
    assert (run.best, run.best_step) == (22.0, 2)


@pytest.mark.parametrize(
    ("starts", "state", "status"),
    [
        ([{"status": "failed: ValueError: so"}], {"step": 3, "status": "running"}, "failed: ValueError: so"),
        ([{"status": "finished"}, {"host": platform.node()}], None, "killed"),
        ([{"host": "another machine"}], None, "unknown"),
        (None, {"step": 3, "status": "finished"}, "finished"),
        (None, {"step": 3, "status": "running"}, "unknown"),
        (None, None, "unknown"),
    ],
)
def test_status(starts, state, status, tmp_path):
    run = read(leave(tmp_path / "a", starts=starts, state=state))
    assert run.status == status
    assert run.step == (3 if state else 0), "the checkpoint's, where no row tells more"


@pytest.mark.parametrize("name", ["config.yaml", "metrics.csv", "run.json", "checkpoints/last/state.json"])
@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00", b"[1, 2", b"- 3", b'{"starts": [5], "step": "a"}', b"trainer: {monitor: [1]}"]
)
def test_a_damaged_file_is_no_error(name, content, tmp_path):
    folder = leave(tmp_path / "a", rows=[(10, 0.5)], starts=[{"status": "finished"}], state={"step": 20})
    (folder / name).write_bytes(content)
    run = read(folder)
    assert isinstance(table([run], [], base=tmp_path), str)
    assert (run.step == 20) == (name != "checkpoints/last/state.json")


def test_runs_are_found_at_any_depth_and_not_looked_into(tmp_path):
    for name in ("b", "a", "sweep/10", "sweep/9", "a/checkpoints/best"):
        leave(tmp_path / name)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "config.yaml").write_text("not: a run")
    leave(tmp_path / ".hidden")
    assert [str(folder.relative_to(tmp_path)) for folder in find(tmp_path)] == ["a", "b", "sweep/10", "sweep/9"]
    assert find(tmp_path / "a") == [tmp_path / "a"]


def test_flat():
    assert flat({"a": {"b": {"c": 1}, "d": [1, {"e": 2}]}, "f": None, "g": {}}) == {
        "a.b.c": 1,
        "a.d": [1, {"e": 2}],
        "f": None,
    }


# Side by side


def test_differences_are_the_keys_that_are_not_the_same():
    one = {"name": "a", "output": "x", "resume": None, "logger": None, "seed": 0, "model._target_": "A", "model.k": 3}
    two = one | {"name": "b", "output": "y", "resume": "r", "logger": 1, "seed": 1}
    assert differing_keys([one, one]) == []
    assert differing_keys([one, two]) == ["seed"]
    assert differing_keys([one, two, one | {"data.mask": True}]) == ["seed", "data.mask"]
    # What another class takes is told by the class.
    other = {**one, "model._target_": "B", "model.k": 5, "model.q": 1}
    assert differing_keys([one, other]) == ["model._target_", "model.k"]


def test_a_value_that_is_taken_from_another_is_told_once():
    def config(rate, steps, other):
        return {
            "optimizer.learning_rate.learning_rate": rate,
            "schedule.learning_rate": rate,
            "schedule.steps": steps,
            "trainer.max_steps": steps,
            "trainer.warmup_steps": other,
        }

    assert differing_keys([config(1, 10, 1), config(2, 20, 5)]) == [
        "schedule.learning_rate",
        "trainer.max_steps",
        "trainer.warmup_steps",
    ]
    assert differing_keys([config(1, 10, 1), config(1, 10, 1) | {"schedule.steps": 9}]) == ["schedule.steps"]


RUNS = [
    RunSummary(
        Path("r/a"), "finished", 40, 40, "val_loss", 0.5, 20, started="2026-01-03", seconds=9.0, config={"k": 2}
    ),
    RunSummary(
        Path("r/b"), "killed", 30, 40, "val_loss", 0.25, 10, started="2026-01-01", seconds=30.0, config={"k": 10}
    ),
    RunSummary(Path("r/c"), "running", 5, None, started="2026-01-02", config={}),
]


@pytest.mark.parametrize(
    ("key", "order"),
    [
        ("started", "bca"),
        ("name", "abc"),
        ("status", "abc"),
        ("step", "cba"),
        ("best", "bac"),
        ("seconds", "abc"),
        ("k", "abc"),
    ],
)
def test_runs_are_sorted_and_those_without_a_value_come_last(key, order):
    assert "".join(run.folder.name for run in arranged(RUNS, key)) == order
    known = [run for run in RUNS if key not in ("best", "seconds", "k") or run.best is not None]
    expected = order[: len(known)][::-1] + order[len(known) :]
    assert "".join(run.folder.name for run in arranged(RUNS, key, reverse=True)) == expected


def test_the_best_run_comes_first_where_more_is_better():
    scored = [RunSummary(Path(name), monitor="val_psnr", best=best) for name, best in (("a", 20.0), ("b", 22.0))]
    assert [str(run.folder) for run in arranged(scored, "best")] == ["b", "a"]


def test_the_table():
    assert table(RUNS, ["k"], base=Path("r")).splitlines() == [
        "run  status    step   best val_loss  k",
        "a    finished  40/40  0.5 at 20      2",
        "b    killed    30/40  0.25 at 10     10",
        "c    running   5/?    -              -",
    ]
    assert table(RUNS[:1], []).splitlines()[1].startswith("r/a  finished")


def test_the_table_names_the_score_of_each_run_where_these_differ():
    mixed = [RUNS[0], RunSummary(Path("r/d"), monitor="val_psnr", best=21.5, best_step=5, commit="abc+")]
    assert table(mixed, [], base=Path("r")).splitlines() == [
        "run  status    step   best                code",
        "a    finished  40/40  val_loss 0.5 at 20  -",
        "d    unknown   0/?    val_psnr 21.5 at 5  abc+",
    ]


def test_the_table_has_short_names_and_values():
    configs = [
        {"model._target_": f"convlstm.models.{name}", "a.steps": 1, "b.steps": n, "x": "long " * 9, "y": [1, None]}
        for n, name in enumerate(("One", "Two"))
    ]
    shown = [RunSummary(Path(str(n)), config=config) for n, config in enumerate(configs)]
    lines = table(shown, ["model._target_", "a.steps", "b.steps", "x", "y"]).splitlines()
    assert lines[0].split() == ["run", "status", "step", "best", "model", "a.steps", "b.steps", "x", "y"]
    assert lines[1].endswith("One    1        0        long long long long long lo~  [1, null]")


def test_the_table_leaves_out_what_has_no_room_and_says_so():
    lines = table(RUNS, ["k"], base=Path("r"), width=38).splitlines()
    assert lines[0] == "run  status    step   best val_loss"
    assert lines[-1] == "More that differs, for a wider terminal or --json: k"


# The command


@pytest.fixture
def two(tmp_path):
    for name, seed, loss, started in (("a", 0, 0.5, "2026-01-02"), ("b", 1, 0.25, "2026-01-01")):
        config = {"trainer": {"monitor": "val_loss", "max_steps": 10}, "seed": seed, "name": name}
        starts = [{"started": started, "status": "finished"}]
        leave(tmp_path / "runs" / name, config=config, rows=[(10, loss)], starts=starts)
    return tmp_path / "runs"


def test_the_command_prints_the_table(two, capsys, monkeypatch):
    assert main([str(two)]) == 0
    expected = [
        "run  status    step   best val_loss  seed",
        "b    finished  10/10  0.25 at 10     1",
        "a    finished  10/10  0.5 at 10      0",
    ]
    assert capsys.readouterr().out.splitlines() == expected
    monkeypatch.chdir(two.parent)
    assert main([]) == 0
    assert capsys.readouterr().out.splitlines() == expected
    for arguments, order in (
        (["--sort", "seed"], "ab"),
        (["--sort", "best", "--reverse"], "ab"),
        (["--reverse"], "ab"),
    ):
        assert main([str(two), *arguments]) == 0
        assert "".join(line[0] for line in capsys.readouterr().out.splitlines()[1:]) == order


def test_the_command_gives_json(two, capsys):
    assert main([str(two), "--json", "--sort", "name"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first == {
        "folder": str(two / "a"),
        "status": "finished",
        "step": 10,
        "max_steps": 10,
        "monitor": "val_loss",
        "best": 0.5,
        "best_step": 10,
        "started": "2026-01-02",
        "seconds": None,
        "commit": None,
        "differs": {"seed": 0},
    }
    assert second["differs"] == {"seed": 1}


def test_the_command_says_what_is_not_there(tmp_path, two, capsys):
    assert main([str(tmp_path / "nowhere")]) == 1
    assert f"'{tmp_path / 'nowhere'}': No such file or directory." in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "empty")]) == 1
    assert f"there are no runs in '{tmp_path / 'empty'}'." in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([str(two), "--sort", "sed"])
    assert "--sort must be started, name, status, step, best, seconds or a key of" in capsys.readouterr().err


def test_the_command_loads_neither_the_model_nor_the_framework(two):
    code = "import sys; from convlstm.runs.__main__ import main; main(sys.argv[1:]); print('mlx.core' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, two], cwd=PROJECT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_the_command_is_silent_where_nobody_reads_on(two):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as nobody:
        command = [sys.executable, "-m", "convlstm.runs", two, "--json"]
        done = subprocess.run(command, cwd=PROJECT, stdout=nobody, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")
