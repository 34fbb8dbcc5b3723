"""The training of OpenSTL's models in PyTorch, for the comparison of learning in a given time."""

from __future__ import annotations

import csv

import pytest

pytest.importorskip("torch")

from benchmarks.learning import Learner, train

import numpy as np

SMALL = [
    "data.digits=builtin",
    "data.frame_size=16",
    "data.digit_size=8",
    "data.input_frames=3",
    "trainer.batch_size=2",
]
SMALL += ["data.target_frames=3", "data.train_sequences=8", "data.validation_sequences=4"]
STACK = [*SMALL, "model.hidden_channels=[4,4]", "model.kernel_size=3"]
SIMVP = [*SMALL, "model.hidden_channels=8", "model.translator_channels=16", "model.blocks=2", "model.levels=2"]
CASES = pytest.mark.parametrize(("name", "changes"), [("convlstm-s", STACK), ("simvp", [*SIMVP, "model.frames=3"])])


def rows(folder):
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@CASES
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(name, changes, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.learning.PROBE_STEPS", 2)
    monkeypatch.setattr("benchmarks.learning.median", lambda times: 1.0)
    once, twice = Learner(name, changes), Learner(name, changes)
    train(once, 6 / 60, tmp_path / "once", 3, 4)
    score, calls = twice.mse, []

    def stop(split, sequences):
        calls.append(split)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return score(split, sequences)

    monkeypatch.setattr(twice, "mse", stop)
    with pytest.raises(KeyboardInterrupt):
        train(twice, 6 / 60, tmp_path / "twice", 3, 4)
    again = Learner(name, changes)
    train(again, 6 / 60, tmp_path / "twice", 3, 4)
    kept = ("step", "learning_rate", "train_loss", "val_mse_per_frame")
    assert [row["step"] for row in rows(tmp_path / "once")] == ["2", "4", "6"]
    assert [[row[k] for k in kept] for row in rows(tmp_path / "twice")] == [
        [row[k] for k in kept] for row in rows(tmp_path / "once")
    ]


@CASES
def test_it_learns(name, changes):
    learner = Learner(name, [*changes, "schedule.learning_rate=1e-2"])
    batch = next(learner.batches())
    losses = [learner.step(batch, 0.0) for _ in range(30)]
    assert losses[-1] < 0.8 * losses[0]


def test_the_score_is_that_of_the_sequences_asked_for():
    learner = Learner("convlstm-s", STACK)
    for parameter in learner.model.parameters():
        parameter.data.zero_()
    targets = np.stack([learner.data.sample("validation", n)["targets"] for n in range(3)])
    assert learner.mse("validation", 3) == pytest.approx(float((targets**2).sum() / 9), rel=1e-5)
