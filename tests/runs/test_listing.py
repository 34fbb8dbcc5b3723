"""Lists of runs, and the command that prints them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from convlstm.runs.__main__ import main
from convlstm.runs.listing import arranged, table
from convlstm.runs.summary import RunSummary
from tests.support.project import PROJECT
from tests.support.run_files import write_run

import pytest

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


def test_the_best_run_comes_first_if_higher_is_better():
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


def test_the_table_names_the_score_of_each_run_if_they_differ():
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


def test_a_long_path_keeps_its_end():
    run = RunSummary(Path("a"), config={"init": "/home/someone/runs/first/checkpoints/best"})
    assert table([run], ["init"]).endswith("  ~runs/first/checkpoints/best")


def test_the_table_names_the_columns_that_do_not_fit():
    lines = table(RUNS, ["k"], base=Path("r"), width=38).splitlines()
    assert lines[0] == "run  status    step   best val_loss"
    assert " ".join(lines[4:]) == "Further columns, with --wide or --json: k"
    many = [f"k{n}" for n in range(30)]
    lines = table(RUNS, many, base=Path("r"), width=60).splitlines()
    assert max(map(len, lines)) <= 60
    assert " ".join(lines).endswith("k28, k29")
    assert max(map(len, table(RUNS, many, base=Path("r")).splitlines())) > 100


@pytest.mark.parametrize(
    ("arguments", "variables", "fits"), [([], {}, 80), (["--wide"], {}, 900), ([], {"COLUMNS": "110"}, 110)]
)
def test_the_table_fits_the_terminal_or_80_columns(tmp_path, arguments, variables, fits, monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for n in range(2):
        config = {"trainer": {"monitor": "val_loss"}, "model": {f"a_rather_long_key_{k}": n for k in range(20)}}
        write_run(tmp_path / "runs" / str(n), config=config, rows=[(10, 0.5)], starts=[])
    assert main([str(tmp_path / "runs"), *arguments]) == 0
    widest = max(map(len, capsys.readouterr().out.splitlines()))
    assert fits - 30 < widest <= fits if fits < 200 else widest > 200


# The command


@pytest.fixture
def two(tmp_path):
    for name, seed, loss, started in (("a", 0, 0.5, "2026-01-02"), ("b", 1, 0.25, "2026-01-01")):
        config = {"trainer": {"monitor": "val_loss", "max_steps": 10}, "seed": seed, "name": name}
        starts = [{"started": started, "status": "finished"}]
        write_run(tmp_path / "runs" / name, config=config, rows=[(10, loss)], starts=starts)
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


def test_the_command_prints_json(two, capsys):
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


def test_the_command_explains_missing_runs_and_keys(tmp_path, two, capsys):
    assert main([str(tmp_path / "nowhere")]) == 1
    assert f"'{tmp_path / 'nowhere'}': No such file or directory." in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "empty")]) == 1
    assert f"there are no runs in '{tmp_path / 'empty'}'." in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([str(two), "--sort", "sed"])
    assert "--sort must be started, name, status, step, best, seconds or a key of" in capsys.readouterr().err


def test_the_command_does_not_load_mlx(two):
    code = "import sys; from convlstm.runs.__main__ import main; main(sys.argv[1:]); print('mlx.core' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, two], cwd=PROJECT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_the_command_ends_quietly_if_its_reader_has_ended(two):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as nobody:
        command = [sys.executable, "-m", "convlstm.runs", two, "--json"]
        done = subprocess.run(command, cwd=PROJECT, stdout=nobody, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (141, "")
