"""Training that fails: losses that are not finite, broken data, checkpoints that do not fit, a full disk."""

from __future__ import annotations

import json
import math

from convlstm import checkpoints
from convlstm.checkpoints import CheckpointError, CheckpointWriteError, read_state, seal
from convlstm.models import EncoderForecaster
from convlstm.runs.metrics_log import MetricsLog
from convlstm.training.batches import DataError
from convlstm.training.diagnostics import NonFiniteLossError
from convlstm.training.loop import Trainer
from tests.support.short_runs import MSE, Frames, at_step, fit, last, rows, strip, weights
from tests.support.tiny import Fade, snapshot

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest


def test_a_loss_that_is_not_finite_stops_before_it_is_saved(tmp_path):
    with pytest.raises(NonFiniteLossError) as error:
        fit(tmp_path, Frames(poisoned=[6]), checkpoint_every=1, validate_every=100, max_skipped=0)
    text = str(error.value)
    assert text.startswith("the loss became inf at step 6, with a learning rate of 0.05, after 0 steps in a row were ")
    assert "were skipped (trainer.max_skipped). The last good checkpoint is " in text
    assert str(last(tmp_path)) in text
    assert read_state(last(tmp_path))["step"] == 5
    assert np.isfinite(mx.load(str(last(tmp_path) / "model.safetensors"))["weight"].item())


def test_a_gradient_that_is_not_finite_stops_before_its_weights_are_saved(tmp_path):
    def root(forecast, target, mask=None):
        # At 0 the square root is finite and its gradient is not.
        return mx.sqrt(mx.maximum(forecast - 1000, 0)).mean() + mx.square(forecast).mean()

    with pytest.raises(
        NonFiniteLossError, match=r"norm of the gradient became nan at step 1, .*There is no checkpoint yet"
    ):
        fit(tmp_path, loss=root, checkpoint_every=1, max_skipped=0)
    assert not (tmp_path / "checkpoints").exists()


def broken():
    raise KeyError("frame 7")


@pytest.mark.parametrize(("step", "kept"), [(7, 6), (1, None)])
def test_a_batch_that_cannot_be_loaded_leaves_the_steps_before_it(step, kept, tmp_path):
    whole, _ = fit(tmp_path / "whole")
    with pytest.raises(
        DataError, match=rf"the data \(train\) failed after step {step - 1}: KeyError: 'frame 7' \(test_fa"
    ) as e:
        fit(tmp_path / "cut", Frames(disturb=at_step(step, broken)))
    assert isinstance(e.value.__cause__, KeyError)
    if kept is None:
        assert "There is no checkpoint yet." in str(e.value)
        assert not (tmp_path / "cut" / "checkpoints").exists()
        return
    assert f"The last good checkpoint is '{last(tmp_path / 'cut')}'." in str(e.value)
    assert read_state(last(tmp_path / "cut"))["step"] == kept
    model, _ = fit(tmp_path / "cut", resume=last(tmp_path / "cut"))
    assert weights(model) == weights(whole)
    assert strip(tmp_path / "cut") == strip(tmp_path / "whole")


def test_a_validation_that_cannot_be_loaded_is_done_after_resuming(tmp_path):
    whole, _ = fit(tmp_path / "whole")
    data = Frames(disturb=lambda split, epoch, number: broken() if (split, number) == ("validation", 1) else None)
    with pytest.raises(DataError, match=r"the data \(validation\) failed after step 5: KeyError"):
        fit(tmp_path / "cut", data)
    assert read_state(last(tmp_path / "cut"))["step"] == 5
    model, _ = fit(tmp_path / "cut", resume=last(tmp_path / "cut"))
    assert weights(model) == weights(whole)
    assert strip(tmp_path / "cut") == strip(tmp_path / "whole")


def test_validation_scores_that_are_not_finite_are_never_the_best(tmp_path, capsys):
    def loss(forecast, target, mask=None):
        return MSE(forecast, target) if forecast.shape[0] == 2 else MSE(forecast, target) * math.nan

    _, progress = fit(tmp_path, loss=loss)
    assert progress.best is None
    assert progress.validations_without_improvement == 3
    assert not last(tmp_path, "best").exists()
    assert "val_loss: none is finite yet" in capsys.readouterr().out


def test_a_checkpoint_that_does_not_fit_changes_nothing(tmp_path):
    fit(tmp_path, max_steps=3)
    before = snapshot(tmp_path)
    with pytest.raises(CheckpointError, match="another optimizer"):
        fit(tmp_path, optimizer=optim.SGD(0.1), resume=last(tmp_path))
    place = last(tmp_path) / "state.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | {"best": "low"}))
    seal(last(tmp_path))
    model = Fade(0.9)
    with pytest.raises(CheckpointError, match=r"damaged or of another version \(see best\)"):
        fit(tmp_path, model=model, resume=last(tmp_path))
    assert model.weight.item() == pytest.approx(0.9)
    place.write_bytes(before["checkpoints/last/state.json"])
    seal(last(tmp_path))
    assert snapshot(tmp_path) == before


@pytest.fixture
def full_disk(monkeypatch):
    """A dict from the name of a checkpoint to the numbers of its saves, from 1, that fail."""
    failing, written = {}, []

    def save(folder, *arguments, **more):
        written.append(folder.name)
        if written.count(folder.name) in failing.get(folder.name, ()):
            raise CheckpointWriteError(28, f"no room for {folder.name}")
        return original(folder, *arguments, **more)

    original = checkpoints.save
    monkeypatch.setattr(checkpoints, "save", save)
    return failing


def test_a_full_disk_stops_training_and_leaves_the_files(full_disk, tmp_path):
    full_disk["last"] = [2]
    with pytest.raises(CheckpointWriteError, match="no room for last"):
        fit(tmp_path, validate_every=100)
    assert read_state(last(tmp_path))["step"] == 4
    assert [row["step"] for row in rows(tmp_path)] == [str(n) for n in range(1, 9)]


def test_on_a_full_disk_training_can_continue_with_a_warning(full_disk, tmp_path):
    whole, _ = fit(tmp_path / "whole", validate_every=100)
    full_disk["last"] = [4, 5]  # the run above has written three
    text = r"the checkpoint of step [48] was not written, training continues: .* no room"
    with pytest.warns(UserWarning, match=text) as told:
        model, progress = fit(tmp_path / "run", validate_every=100, on_full_disk="warn")
    assert (len(told), progress.status) == (2, "finished")
    assert weights(model) == weights(whole)
    assert read_state(last(tmp_path / "run"))["step"] == 12


def test_the_last_checkpoint_of_a_run_is_never_given_up_silently(full_disk, tmp_path):
    full_disk["last"] = [3]
    with pytest.raises(CheckpointWriteError, match="no room for last"):
        fit(tmp_path, validate_every=100, on_full_disk="warn")
    assert read_state(last(tmp_path))["step"] == 8


def test_a_best_score_whose_checkpoint_failed_need_not_be_beaten(full_disk, tmp_path):
    # Validation n has loss n: the first is the best, and the second is the best that can be kept.
    losses = iter(range(1, 9))

    def loss(forecast, target, mask=None):
        return MSE(forecast, target) if forecast.shape[0] == 2 else mx.array(float(next(losses)))

    full_disk["best"] = [1]
    with pytest.warns(UserWarning, match="the checkpoint of step 4 was not written"):
        _, progress = fit(tmp_path, loss=loss, validate_every=4, validation_sequences=1, on_full_disk="warn")
    assert progress.best_step == read_state(last(tmp_path, "best"))["step"] == 8


@pytest.mark.parametrize("rule", ["stop", "warn"])
def test_a_row_that_cannot_be_written_follows_the_same_rule(rule, tmp_path, monkeypatch):
    def add(log, row):
        if row["step"] == 3:
            raise OSError(28, "No space left on device")
        original(log, row)

    original = MetricsLog.add
    monkeypatch.setattr(MetricsLog, "add", add)
    if rule == "stop":
        with pytest.raises(OSError, match="No space left"):
            fit(tmp_path, validate_every=100)
    else:
        with pytest.warns(UserWarning, match="the row of step 3 was not written, training continues: .*No space left"):
            fit(tmp_path, validate_every=100, on_full_disk=rule)
    assert len(rows(tmp_path)) == {"stop": 2, "warn": 11}[rule]


def test_keep_last_is_the_number_of_earlier_checkpoints(tmp_path):
    fit(tmp_path, validate_every=100, checkpoint_every=2, keep_last=3)
    names = ["last", "last.previous", "last.previous.2", "last.previous.3"]
    assert [read_state(last(tmp_path, name))["step"] for name in names] == [12, 10, 8, 6]
    assert not last(tmp_path, "last.previous.4").exists()


def test_check_finds_what_does_not_fit():
    trainer = Trainer(10, 2)
    trainer.check(Fade(), MSE, Frames())
    with pytest.raises(ValueError, match=r"an epoch has 14 sequences, fewer than 'batch_size' \(15\)"):
        Trainer(10, 15).check(Fade(), MSE, Frames())
    for split, text in (("train", "have no training sequences"), ("validation", "have no validation sequences")):
        data = Frames()
        data.size = lambda asked, split=split: 0 if asked == split else 14
        with pytest.raises(ValueError, match=text):
            trainer.check(Fade(), MSE, data)
    two = EncoderForecaster(1, 2, [2], kernel_size=3)
    with pytest.raises(ValueError, match=r"forecasts are \(2, 3, 4, 4, 2\) but the data's targets \(2, 3, 4, 4, 1\)"):
        trainer.check(two, MSE, Frames())
    with pytest.raises(ValueError, match="expected inputs of shape NTHWC with C=3"):
        trainer.check(EncoderForecaster(3, 3, [2], kernel_size=3), MSE, Frames())
