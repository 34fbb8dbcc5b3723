import io
import json
import math
import signal
import sys
import threading

from convlstm import checkpoints
from convlstm.backend.signals import stop_requests
from convlstm.checkpoints import CheckpointError, CheckpointWriteError, read_state, seal
from convlstm.models import EncoderForecaster
from convlstm.runs.log import MetricsLog
from convlstm.training import console, schedules
from convlstm.training.batches import DataError
from convlstm.training.console import Console, duration
from convlstm.training.diagnostics import NonFiniteLossError
from convlstm.training.loop import Trainer
from convlstm.training.run import COLUMNS
from convlstm.training.step import make_step, to_device
from convlstm.training.validation import validate
from tests.support.short_runs import MSE, Frames, at_step, column, fit, last, rows, strip, weights
from tests.support.tiny import Fade, snapshot

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest
import yaml

# The step


def test_the_first_step_by_hand(tmp_path):
    data = Frames()
    batch = data.batch("train", 0, 2)
    x, y = batch["inputs"][:, -1:].astype(np.float64), batch["targets"].astype(np.float64)
    error = 0.5 * x + 0.1 - y
    gradient = np.array([(2 * error * x).mean(), (2 * error).mean()])

    model, progress = fit(tmp_path, data, optimizer=optim.SGD(0.1), max_steps=1)
    (row,) = rows(tmp_path)
    assert float(row["train_loss"]) == pytest.approx((error**2).mean(), rel=1e-5)
    assert float(row["gradient_norm"]) == pytest.approx(np.linalg.norm(gradient), rel=1e-5)
    assert float(row["learning_rate"]) == pytest.approx(0.1)
    assert model.weight.item() == pytest.approx(0.5 - 0.1 * gradient[0], rel=1e-5)
    assert model.bias.item() == pytest.approx(0.1 - 0.1 * gradient[1], rel=1e-5)
    assert (progress.step, progress.status) == (1, "finished")


@pytest.mark.parametrize("share", [0.25, 4])
def test_max_grad_norm_scales_a_larger_gradient_down_and_leaves_a_smaller_one(share):
    batch, key = to_device(Frames().batch("train", 0, 2)), mx.random.key(0)

    def moved(max_grad_norm):
        model, optimizer = Fade(), optim.SGD(1.0)
        optimizer.init(model.trainable_parameters())
        _, norm = make_step(model, optimizer, MSE, max_grad_norm)(batch, key)
        return norm.item(), np.array([0.5 - model.weight.item(), 0.1 - model.bias.item()])

    norm, free = moved(None)
    assert norm == pytest.approx(np.linalg.norm(free), rel=1e-5)
    told, clipped = moved(share * norm)
    assert told == pytest.approx(norm), "the norm is that before clipping"
    np.testing.assert_allclose(clipped, free * min(share, 1), rtol=1e-4)


def test_bytes_and_floats_train_alike(tmp_path):
    for dtype in ("uint8", "float32"):
        fit(tmp_path / dtype, Frames(dtype=dtype))
    losses = [np.array(column(tmp_path / dtype, "train_loss"), float) for dtype in ("uint8", "float32")]
    assert len(losses[0]) == 12
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_a_mask_leaves_targets_out_of_the_loss():
    batch = Frames().batch("train", 0, 2)
    batch["mask"] = np.zeros(batch["targets"].shape, bool)
    batch["mask"][:, 0] = True
    cut = {"inputs": batch["inputs"], "targets": batch["targets"][:, :1]}

    def loss_of(batch):
        model, optimizer = Fade(), optim.SGD(1.0)
        optimizer.init(model.trainable_parameters())
        value, _ = make_step(model, optimizer, MSE)(to_device(batch), mx.random.key(0))
        return value.item(), weights(model)

    masked, alone = loss_of(batch), loss_of(cut)
    assert masked[0] == pytest.approx(alone[0], rel=1e-6)
    assert masked[1]["bias"] == pytest.approx(alone[1]["bias"], rel=1e-5)


def test_the_seed_decides_the_dropout_masks_and_the_data(tmp_path):
    runs = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        model, _ = fit(tmp_path / name, model=Fade(dropout=0.5), seed=seed)
        runs[name] = (weights(model), column(tmp_path / name, "train_loss"))
    assert runs["a"] == runs["b"]
    assert runs["a"] != runs["c"]
    assert runs["a"][1] != column_of_a_run_without_dropout(tmp_path / "d")


def column_of_a_run_without_dropout(folder):
    fit(folder)
    return column(folder, "train_loss")


# The loop


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


# Interruption


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("log_every", [1, 5])
@pytest.mark.parametrize("step", [1, 5, 8, 11])
def test_an_interrupted_run_goes_on_exactly(step, log_every, stop, tmp_path):
    settings = {"log_every": log_every, "max_steps": 17}
    whole, _ = fit(tmp_path / "whole", model=Fade(dropout=0.3), **settings)
    stopping = Frames(disturb=at_step(step, lambda: signal.raise_signal(stop)))
    before = signal.getsignal(stop)
    _, progress = fit(tmp_path / "cut", stopping, model=Fade(dropout=0.3), **settings)
    assert (progress.step, progress.status) == (step, f"interrupted by {stop.name}")
    assert signal.getsignal(stop) == before

    model, progress = fit(tmp_path / "cut", model=Fade(dropout=0.3), resume=last(tmp_path / "cut"), seed=99, **settings)
    assert (progress.step, progress.status, progress.seed) == (17, "finished", 0)
    assert weights(model) == weights(whole)
    assert strip(tmp_path / "cut") == strip(tmp_path / "whole")
    assert (last(tmp_path / "cut") / "optimizer.safetensors").read_bytes() == (
        last(tmp_path / "whole") / "optimizer.safetensors"
    ).read_bytes()


def test_a_forecaster_with_dropout_goes_on_exactly(tmp_path):
    def forecaster():
        mx.random.seed(3)
        return EncoderForecaster(
            hidden_channels=[4], kernel_size=3, patch_size=4, concatenate=True, dropout=0.2, recurrent_dropout=0.2
        )

    def frames(**more):
        return Frames(frames=(3, 3), size=16, **more)

    settings = {"max_steps": 6, "validate_every": 4, "log_every": 2}
    whole, _ = fit(tmp_path / "whole", frames(), forecaster(), **settings)
    fit(
        tmp_path / "cut",
        frames(disturb=at_step(3, lambda: signal.raise_signal(signal.SIGTERM))),
        forecaster(),
        **settings,
    )
    model, _ = fit(tmp_path / "cut", frames(), forecaster(), resume=last(tmp_path / "cut"), **settings)
    assert weights(model) == weights(whole)
    assert strip(tmp_path / "cut") == strip(tmp_path / "whole")


def test_a_signal_at_the_last_step_finds_a_finished_run(tmp_path):
    _, progress = fit(tmp_path, Frames(disturb=at_step(12, lambda: signal.raise_signal(signal.SIGTERM))))
    assert progress.status == "finished"
    before = snapshot(tmp_path)
    _, progress = fit(tmp_path, resume=last(tmp_path))
    assert progress.status == "finished"
    assert snapshot(tmp_path) == before


def test_resume_from_the_best_checkpoint_takes_back_what_came_after(tmp_path):
    spoiled = {"rate": lambda step: 0.02 * (step + 1) ** 1.5, "validate_every": 2}
    whole, progress = fit(tmp_path, **spoiled)
    assert progress.best_step < 12
    expected = strip(tmp_path)
    model, _ = fit(tmp_path, resume=last(tmp_path, "best"), **spoiled)
    assert weights(model) == weights(whole)
    assert strip(tmp_path) == expected


def test_a_finished_run_goes_on_with_more_steps(tmp_path):
    fit(tmp_path / "a", max_steps=5)
    model, progress = fit(tmp_path / "a", max_steps=12, resume=last(tmp_path / "a"))
    whole, _ = fit(tmp_path / "b", max_steps=12)
    assert progress.status == "finished"
    assert weights(model) == weights(whole)
    assert strip(tmp_path / "a") == strip(tmp_path / "b")
    assert yaml.safe_load((tmp_path / "a" / "config.yaml").read_text())["settings"]["max_steps"] == 12


def test_a_checkpoint_from_before_steps_were_skipped_goes_on_exactly(tmp_path):
    whole, _ = fit(tmp_path / "whole")
    fit(tmp_path / "cut", max_steps=5)
    place = last(tmp_path / "cut") / "state.json"
    state = json.loads(place.read_text())
    for name in ("skipped", "skipped_in_a_row", "averaged"):
        assert state.pop(name) == 0
    place.write_text(json.dumps(state))
    seal(place.parent)
    model, progress = fit(tmp_path / "cut", resume=last(tmp_path / "cut"))
    assert weights(model) == weights(whole)
    assert (progress.step, progress.skipped) == (12, 0)


def test_a_second_ctrl_c_interrupts_at_once(tmp_path):
    def impatient():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, Frames(disturb=at_step(6, impatient)))
    assert read_state(last(tmp_path))["step"] == 5


def test_outside_the_main_thread_signals_are_somebody_elses_business():
    before, inside = signal.getsignal(signal.SIGTERM), []

    def work():
        with stop_requests() as received:
            inside.append((signal.getsignal(signal.SIGTERM), received))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert inside == [(before, [])]


def test_a_failure_of_the_step_that_came_with_a_signal_is_an_interruption(tmp_path, monkeypatch):
    def compiler(*arguments, **more):
        def step(batch, key, number):
            if stopping:
                signal.raise_signal(signal.SIGINT)
            raise RuntimeError("the compiler was interrupted")

        return step

    monkeypatch.setattr("convlstm.training.run.make_step", compiler)
    stopping = True
    _, progress = fit(tmp_path)
    assert (progress.step, progress.status) == (0, "interrupted by SIGINT")
    assert not (tmp_path / "checkpoints").exists()
    stopping = False
    with pytest.raises(RuntimeError, match="the compiler was interrupted"):
        fit(tmp_path)


def test_a_validation_whose_compilation_was_interrupted_is_done_all_the_same(tmp_path, monkeypatch):
    whole, _ = fit(tmp_path / "whole")
    failures = []

    def interrupted(*arguments):
        if not failures:
            failures.append(1)
            signal.raise_signal(signal.SIGINT)
            raise RuntimeError("the compiler was interrupted")
        return validate(*arguments)

    monkeypatch.setattr("convlstm.training.run.validate", interrupted)
    _, progress = fit(tmp_path / "cut")
    assert (progress.step, progress.status) == (5, "interrupted by SIGINT")
    model, _ = fit(tmp_path / "cut", resume=last(tmp_path / "cut"))
    assert strip(tmp_path / "cut") == strip(tmp_path / "whole")
    assert weights(model) == weights(whole)


# What goes wrong


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
        DataError, match=rf"the data \(train\) failed after step {step - 1}: KeyError: 'frame 7' \(test_lo"
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


def test_a_validation_batch_that_cannot_be_loaded_is_validated_again(tmp_path):
    whole, _ = fit(tmp_path / "whole")
    data = Frames(disturb=lambda split, epoch, number: broken() if (split, number) == ("validation", 1) else None)
    with pytest.raises(DataError, match=r"the data \(validation\) failed after step 5: KeyError"):
        fit(tmp_path / "cut", data)
    assert read_state(last(tmp_path / "cut"))["step"] == 4
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
    """Fails to write the n-th checkpoints of the names that are put into it, the first being 1."""
    failing, written = {}, []

    def save(folder, *arguments, **more):
        written.append(folder.name)
        if written.count(folder.name) in failing.get(folder.name, ()):
            raise CheckpointWriteError(28, f"no room for {folder.name}")
        return original(folder, *arguments, **more)

    original = checkpoints.save
    monkeypatch.setattr(checkpoints, "save", save)
    return failing


def test_a_full_disk_stops_training_and_what_is_there_stays(full_disk, tmp_path):
    full_disk["last"] = [2]
    with pytest.raises(CheckpointWriteError, match="no room for last"):
        fit(tmp_path, validate_every=100)
    assert read_state(last(tmp_path))["step"] == 4
    assert [row["step"] for row in rows(tmp_path)] == [str(n) for n in range(1, 9)]


def test_or_training_goes_on_with_a_warning(full_disk, tmp_path):
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


def test_a_best_that_was_not_kept_is_not_the_one_to_beat(full_disk, tmp_path):
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


def test_keep_last_keeps_so_many_from_before_the_last(tmp_path):
    fit(tmp_path, validate_every=100, checkpoint_every=2, keep_last=3)
    names = ["last", "last.previous", "last.previous.2", "last.previous.3"]
    assert [read_state(last(tmp_path, name))["step"] for name in names] == [12, 10, 8, 6]
    assert not last(tmp_path, "last.previous.4").exists()


def test_check_finds_what_does_not_fit():
    trainer = Trainer(10, 2)
    trainer.check(Fade(), MSE, Frames())
    with pytest.raises(ValueError, match=r"an epoch has 14 sequences, fewer than 'batch_size' \(15\)"):
        Trainer(10, 15).check(Fade(), MSE, Frames())
    two = EncoderForecaster(1, 2, [2], kernel_size=3)
    with pytest.raises(ValueError, match=r"forecasts are \(2, 3, 4, 4, 2\) but the data's targets \(2, 3, 4, 4, 1\)"):
        trainer.check(two, MSE, Frames())
    with pytest.raises(ValueError, match="expected inputs of shape NTHWC with C=3"):
        trainer.check(EncoderForecaster(3, 3, [2], kernel_size=3), MSE, Frames())


# metrics.csv


def test_the_log_has_a_column_for_everything(tmp_path):
    fit(tmp_path)
    both = [row for row in rows(tmp_path) if row["val_loss"]]
    assert [row["step"] for row in both] == ["5", "10", "12"]
    for row in both:
        assert list(row) == COLUMNS
        assert all(math.isfinite(float(value)) for value in row.values())


# What a person is told


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_a_bar_with_the_loss_and_the_speed(tmp_path, monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    fit(tmp_path)
    bar = terminal.getvalue()
    assert "training: 100%" in bar
    assert "12/12" in bar
    assert f"loss {float(rows(tmp_path)[-1]['train_loss']):.4g}" in bar
    assert "seq/s" in bar


def test_elsewhere_there_is_no_bar_and_every_message_is_a_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(console, "QUIET", -1)
    fit(tmp_path)
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert [line.split(":")[0] for line in lines if line.startswith("step 5")] == ["step 5 of 12", "step 5"]
    assert all(line.startswith(("step ", "about ")) for line in lines)
    assert sum(" left" in line for line in lines) == 12


def test_the_speed_leaves_out_the_steps_that_compile():
    console = Console(0, 100, batch_size=4)
    console.advance(60.0)
    assert console.speed(10) == pytest.approx(4 / 60)
    console.advance(50.0)
    for seconds in (1.0, 2.0, 3.0):
        console.advance(seconds)
    assert console.speed(10) == pytest.approx(4 * 3 / 6)
    assert console.speed(2) == pytest.approx(4 * 2 / 5)


@pytest.mark.parametrize(("steps", "hint"), [(100, False), (20000, True)])
def test_the_estimate_leaves_out_the_steps_that_compile(steps, hint, capsys):
    console = Console(0, steps, batch_size=4)
    for step, seconds in enumerate([60.0, 50.0, 1.0, 2.0, 3.0, 2.0, 2.0, 9.0], 1):
        console.advance(seconds)
        console.estimate(step)
    (line,) = capsys.readouterr().out.splitlines()
    left = duration(2.0 * (steps - 7))
    assert line.startswith(f"about 2 s a step: {left} for the {steps - 7:,} steps to go, validations aside")
    assert ("experiment=quickstart" in line) is hint


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0123, "0.012 s"), (9.94, "9.9 s"), (75, "75 s"), (600, "10 min"), (7200, "2.0 h")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text
