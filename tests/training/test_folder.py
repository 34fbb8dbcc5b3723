"""`Trainer.fit` and the run that its folder holds already: refused, resumed or moved aside."""

from __future__ import annotations

from convlstm.checkpoints import CheckpointError, read_state
from convlstm.runs.lock import RunInUseError, lock
from convlstm.runs.resume import ResumeError
from convlstm.runs.summary import entries
from tests.support.short_runs import Frames, at_step, column, fit, last, rows, strip, weights
from tests.support.tiny import snapshot

import pytest


def test_a_folder_that_holds_a_run_is_refused_and_left_as_it_is(tmp_path):
    folder = tmp_path / "run"
    fit(folder)
    (folder / "notes.txt").write_text("mine")
    before = snapshot(tmp_path)
    text = (
        rf"^'{folder}' holds a run already\. Resume it \(resume=True\), move it aside to '{folder}\.old-1' and start a "
        r"new one \(overwrite=True\), or choose another folder\.$"
    )
    for changes in ({}, {"seed": 1}, {"max_steps": 30}):
        with pytest.raises(ResumeError, match=text):
            fit(folder, **changes)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("resume", [True, "auto", "run", "checkpoint"])
def test_resume_continues_the_run(resume, tmp_path):
    whole, _ = fit(tmp_path / "whole")
    folder = tmp_path / "cut"
    fit(folder, max_steps=5)
    start = {"run": str(folder), "checkpoint": str(last(folder))}.get(resume, resume)
    model, progress = fit(folder, resume=start)
    assert (progress.status, progress.step) == ("finished", 12)
    assert weights(model) == weights(whole)
    assert strip(folder) == strip(tmp_path / "whole")
    assert [entry["step"] for entry in entries(folder)] == [0, 5]


@pytest.mark.parametrize("resume", [True, "auto"])
def test_resume_of_a_folder_without_a_run_starts_one(resume, tmp_path):
    model, progress = fit(tmp_path / "new", resume=resume)
    whole, _ = fit(tmp_path / "whole")
    assert progress.step == 12
    assert weights(model) == weights(whole)


def test_a_checkpoint_of_another_run_starts_a_run_in_a_free_folder_alone(tmp_path):
    fit(tmp_path / "a", max_steps=5)
    fit(tmp_path / "b", max_steps=3)
    before = snapshot(tmp_path)
    with pytest.raises(ResumeError, match=r"/b' holds a run already"):
        fit(tmp_path / "b", resume=last(tmp_path / "a"))
    with pytest.raises(CheckpointError, match=r"resume: .*/none' does not exist"):
        fit(tmp_path / "c", resume=tmp_path / "none")
    assert snapshot(tmp_path) == before
    _, progress = fit(tmp_path / "c", resume=last(tmp_path / "a"))
    assert progress.step == 12
    assert column(tmp_path / "c", "step")[0] == "6"


def test_overwrite_moves_the_whole_folder_aside(tmp_path, capsys):
    folder = tmp_path / "run"
    fit(folder)
    (folder / "notes.txt").write_text("mine")
    first = snapshot(folder)
    new, progress = fit(folder, overwrite=True, max_steps=5)
    assert f"The run in '{folder}' was moved to '{folder}.old-1'." in capsys.readouterr().out
    assert snapshot(tmp_path / "run.old-1") == first
    assert progress.step == 5
    assert column(folder, "step") == ["1", "2", "3", "4", "5"]
    assert not (folder / "notes.txt").exists()
    assert [entry["step"] for entry in entries(folder)] == [0]

    second = snapshot(folder)
    fit(folder, overwrite=True, max_steps=3)
    assert snapshot(tmp_path / "run.old-1") == first
    assert snapshot(tmp_path / "run.old-2") == second
    again, _ = fit(tmp_path / "elsewhere", max_steps=5)
    assert weights(again) == weights(new)


def test_overwrite_of_a_folder_without_a_run_moves_nothing(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    fit(tmp_path / "run", overwrite=True, max_steps=3)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_a_new_run_that_cannot_begin_moves_nothing(tmp_path):
    fit(tmp_path / "run")
    before = snapshot(tmp_path)
    with pytest.raises(ValueError, match="fewer than 'batch_size'"):
        fit(tmp_path / "run", Frames(sequences=1), overwrite=True)
    unvalidated = Frames()
    unvalidated.size = lambda split: 0 if split == "validation" else 14
    with pytest.raises(ValueError, match="no validation sequences"):
        fit(tmp_path / "run", unvalidated, overwrite=True)
    with lock(tmp_path / "run"), pytest.raises(RunInUseError, match="another process is training in"):
        fit(tmp_path / "run", overwrite=True)
    with pytest.raises(ResumeError, match="'overwrite' starts a new run, so 'resume' must be None but got True"):
        fit(tmp_path / "run", resume=True, overwrite=True)
    assert snapshot(tmp_path) == before


def test_the_current_folder_is_not_moved_aside(tmp_path, monkeypatch):
    fit(tmp_path / "run")
    before = snapshot(tmp_path)
    (tmp_path / "run" / "below").mkdir()
    for place, folder in ((tmp_path / "run", "."), (tmp_path / "run" / "below", "..")):
        monkeypatch.chdir(place)
        with pytest.raises(ValueError, match=r"holds a run and is the current folder, so it cannot be moved aside"):
            fit(folder, overwrite=True)
    assert snapshot(tmp_path) == before


def test_a_new_run_whose_first_step_fails_leaves_the_former_one_beside_it(tmp_path):
    fit(tmp_path / "run")
    before = snapshot(tmp_path / "run")

    def broken():
        raise KeyError("frame 7")

    with pytest.raises(RuntimeError, match="There is no checkpoint yet"):
        fit(tmp_path / "run", Frames(disturb=at_step(1, broken)), overwrite=True)
    assert snapshot(tmp_path / "run.old-1") == before
    # Nothing was trained, so the folder holds no run.
    _, progress = fit(tmp_path / "run", max_steps=3)
    assert progress.step == 3


def test_other_files_and_an_unfinished_first_checkpoint_are_no_run(tmp_path):
    (tmp_path / "checkpoints" / "last.tmp").mkdir(parents=True)
    (tmp_path / "data.npy").write_bytes(b"frames")
    (tmp_path / "metrics.csv").write_text("step,train_loss\n1,0.5\n")
    fit(tmp_path, max_steps=3)
    assert (tmp_path / "data.npy").read_bytes() == b"frames"
    assert column(tmp_path, "step") == ["1", "2", "3"]
    assert read_state(last(tmp_path))["step"] == 3


def test_the_checkpoint_of_a_failed_step_resumes_the_run_in_its_folder(tmp_path):
    settings = {"validate_every": 100, "max_skipped": 1}
    with pytest.raises(RuntimeError, match="the loss became inf at step 7"):
        fit(tmp_path, Frames(poisoned=[6, 7]), **settings)
    kept = tmp_path / "non_finite" / "step_7" / "checkpoint"
    _, progress = fit(tmp_path, resume=kept, **settings)
    assert (progress.step, progress.skipped) == (12, 1)
    assert [row["step"] for row in rows(tmp_path)] == [str(n) for n in range(1, 13)]
