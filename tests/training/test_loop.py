"""The training loop: rows, validations, the best checkpoint, early stopping."""

from __future__ import annotations

import math

from convlstm.checkpoints import read_state
from convlstm.training import schedules
from convlstm.training.run import COLUMNS
from tests.support.short_runs import Frames, column, fit, last, rows, weights
from tests.support.tiny import Fade, snapshot

import mlx.core as mx
import numpy as np
import pytest
import yaml


def test_every_step_trains_on_its_batch(tmp_path):
    seen = []
    data = Frames(sequences=5, disturb=lambda *place: seen.append(place))
    fit(tmp_path, data, max_steps=5, validate_every=100)
    assert [place for place in seen if place[0] == "train"] == [
        ("train", e, n) for e, n in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]
    ]
    assert column(tmp_path, "epoch") == ["0", "0", "1", "1", "2"]
    assert column(tmp_path, "step") == ["1", "2", "3", "4", "5"]


def test_rows_hold_the_mean_loss_since_the_last(tmp_path):
    fit(tmp_path / "each", log_every=1)
    fit(tmp_path / "third", log_every=3)
    each = np.array(column(tmp_path / "each", "train_loss"), float)
    third = [row for row in rows(tmp_path / "third") if row["train_loss"]]
    assert [row["step"] for row in third] == ["3", "6", "9", "12"]
    np.testing.assert_allclose([float(row["train_loss"]) for row in third], each.reshape(4, 3).mean(1), rtol=1e-12)
    by_step = {row["step"]: row for row in rows(tmp_path / "each")}
    assert [row["gradient_norm"] for row in third] == [by_step[row["step"]]["gradient_norm"] for row in third]
    assert [row["step"] for row in rows(tmp_path / "third")] == ["3", "5", "6", "9", "10", "12"], "one row a step"


def test_neither_validations_nor_checkpoints_change_what_is_learned(tmp_path):
    ends = []
    for name, settings in (
        ("often", (1, 1)),
        ("never", (1000, 1000)),
        ("validating", (3, 1000)),
        ("saving", (1000, 3)),
    ):
        validate_every, checkpoint_every = settings
        model, _ = fit(
            tmp_path / name,
            model=Fade(dropout=0.3),
            validate_every=validate_every,
            checkpoint_every=checkpoint_every,
        )
        ends.append((weights(model), column(tmp_path / name, "train_loss")))
        assert model.training
    assert all(end == ends[0] for end in ends)


def test_validation_scores_are_those_of_the_weights_without_dropout(tmp_path):
    model, _ = fit(tmp_path, model=Fade(dropout=0.9), max_steps=3, validation_sequences=3)
    parts = [Frames().batch("validation", number, 2) for number in range(2)]
    x = np.concatenate([part["inputs"][:, -1:] for part in parts])[:3].astype(np.float64)
    y = np.concatenate([part["targets"] for part in parts])[:3].astype(np.float64)
    error = x * model.weight.item() + model.bias.item() - y
    (row,) = [row for row in rows(tmp_path) if row["val_loss"]]
    assert row["step"] == "3"
    assert float(row["val_loss"]) == pytest.approx((error**2).mean(), rel=1e-5)
    assert float(row["val_mse_per_frame"]) == pytest.approx((error**2).sum((2, 3, 4)).mean(), rel=1e-5)
    assert float(row["val_mae_per_frame"]) == pytest.approx(np.abs(error).sum((2, 3, 4)).mean(), rel=1e-5)


@pytest.mark.parametrize(("monitor", "choose"), [("val_loss", min), ("val_psnr", max)])
def test_best_is_the_checkpoint_with_the_best_score(monitor, choose, tmp_path):
    # A learning rate that rises spoils the model again.
    model, progress = fit(tmp_path, rate=lambda step: 0.02 * (step + 1) ** 1.5, monitor=monitor, validate_every=2)
    scores = {int(row["step"]): float(row[monitor]) for row in rows(tmp_path) if row[monitor]}
    assert list(scores) == [2, 4, 6, 8, 10, 12]
    best = choose(scores, key=scores.get)
    assert best != 12
    assert (progress.best_step, progress.best) == (best, scores[best])
    state = read_state(last(tmp_path, "best"))
    assert (state["step"], state["best"], state["validations_without_improvement"]) == (best, scores[best], 0)
    kept = mx.load(str(last(tmp_path, "best") / "model.safetensors"))
    assert kept["weight"].item() != model.weight.item()
    assert mx.load(str(last(tmp_path) / "model.safetensors"))["weight"].item() == model.weight.item()


def test_early_stopping_stops_and_stays_stopped_until_patience_grows(tmp_path):
    spoiled = {"rate": lambda step: 0.02 * (step + 1) ** 1.5, "validate_every": 2, "max_steps": 30}
    _, progress = fit(tmp_path, patience=2, **spoiled)
    assert progress.status == "stopped early"
    assert progress.step == progress.best_step + 4 < 30
    assert read_state(last(tmp_path))["status"] == "stopped early"
    stopped, before = progress.step, snapshot(tmp_path)

    _, progress = fit(tmp_path, patience=2, resume=last(tmp_path), **spoiled)
    assert (progress.status, progress.step) == ("stopped early", stopped)
    assert snapshot(tmp_path) == before

    _, progress = fit(tmp_path, patience=5, resume=last(tmp_path), **spoiled)
    assert progress.step > stopped
    steps = [int(row["step"]) for row in rows(tmp_path)]
    assert steps == list(range(1, progress.step + 1))


def test_a_schedule_sets_the_learning_rate_of_every_step(tmp_path):
    schedule = schedules.cosine(0.1, 12, warmup_share=0.25)
    fit(tmp_path, rate=schedule)
    expected = [schedule(mx.array(step)).item() for step in range(12)]
    np.testing.assert_allclose(np.array(column(tmp_path, "learning_rate"), float), expected, rtol=1e-6)


def test_the_run_keeps_its_configuration(tmp_path):
    fit(tmp_path)
    for place in (tmp_path, last(tmp_path), last(tmp_path, "best")):
        config = yaml.safe_load((place / "config.yaml").read_text())
        assert config["model"] == {"_target_": "tests.support.tiny.Fade"}
        assert config["settings"]["max_steps"] == 12
    assert read_state(last(tmp_path))["data"] == {"name": "frames", "dtype": "float32"}


def test_the_log_has_a_column_for_everything(tmp_path):
    fit(tmp_path)
    both = [row for row in rows(tmp_path) if row["val_loss"]]
    assert [row["step"] for row in both] == ["5", "10", "12"]
    for row in both:
        assert list(row) == COLUMNS
        assert all(math.isfinite(float(value)) for value in row.values())
