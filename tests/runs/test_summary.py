"""The summary of a run, from its files."""

from __future__ import annotations

import platform

from convlstm.runs.listing import table
from convlstm.runs.summary import RunSummary, find, flat, read
from tests.support.run_files import write_run

import pytest


def test_a_run_is_read_from_its_files(tmp_path):
    config = {"trainer": {"monitor": "val_loss", "max_steps": 40}, "seed": 3}
    (tmp_path / "run").mkdir()
    starts = [
        {"started": "2026-01-02T03:04:05+00:00", "code": {"commit": "a" * 40, "changed": False}, "status": "killed"},
        {"started": "2026-01-02T04:04:05+00:00", "code": {"commit": "b" * 40, "changed": True}, "status": "finished"},
    ]
    folder = write_run(tmp_path / "a", config=config, rows=[(10, 0.5), (20, 0.25), (30, "nan")], starts=starts)
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


def test_a_higher_psnr_is_better(tmp_path):
    config = {"trainer": {"monitor": "val_psnr"}}
    run = read(write_run(tmp_path / "a", config=config, rows=[(1, 0.5, 20.0), (2, 0.4, 22.0), (3, 0.3, 21.0)]))
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
    run = read(write_run(tmp_path / "a", starts=starts, state=state))
    assert run.status == status
    assert run.step == (3 if state else 0), "the checkpoint's, where no row tells more"


@pytest.mark.parametrize("name", ["config.yaml", "metrics.csv", "run.json", "checkpoints/last/state.json"])
@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00", b"[1, 2", b"- 3", b'{"starts": [5], "step": "a"}', b"trainer: {monitor: [1]}"]
)
def test_a_damaged_file_is_no_error(name, content, tmp_path):
    folder = write_run(tmp_path / "a", rows=[(10, 0.5)], starts=[{"status": "finished"}], state={"step": 20})
    (folder / name).write_bytes(content)
    run = read(folder)
    assert isinstance(table([run], [], base=tmp_path), str)
    assert (run.step == 20) == (name != "checkpoints/last/state.json")


def test_runs_are_found_at_any_depth_but_not_inside_others(tmp_path):
    for name in ("b", "a", "sweep/10", "sweep/9", "a/checkpoints/best"):
        write_run(tmp_path / name)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "config.yaml").write_text("not: a run")
    write_run(tmp_path / ".hidden")
    assert [str(folder.relative_to(tmp_path)) for folder in find(tmp_path)] == ["a", "b", "sweep/10", "sweep/9"]
    assert find(tmp_path / "a") == [tmp_path / "a"]


def test_flat():
    assert flat({"a": {"b": {"c": 1}, "d": [1, {"e": 2}]}, "f": None, "g": {}}) == {
        "a.b.c": 1,
        "a.d": [1, {"e": 2}],
        "f": None,
    }
