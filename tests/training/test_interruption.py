"""Runs that a signal stops, and that are resumed, within one process."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import threading
import time
from unittest import mock

from convlstm.backend.signals import StopRequested, stop_requests
from convlstm.checkpoints import read_state, seal
from convlstm.models import EncoderForecaster
from convlstm.training.optimizers import Muon
from convlstm.training.validation import validate
from tests.support.short_runs import Frames, at_step, fit, last, strip, weights
from tests.support.tiny import Fade, snapshot

import mlx.core as mx
import mlx.optimizers as optim
import pytest
import yaml


class At:
    """A logger that does something at the row of a step, the first time."""

    def __init__(self, step, action):
        self.step, self.actions = step, [action]

    def start(self, folder, config, step):
        return step

    def log(self, step, row):
        if step == self.step and self.actions:
            self.actions.pop()()

    def close(self, status):
        pass


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("log_every", [1, 5])
@pytest.mark.parametrize("step", [1, 5, 8, 11])
def test_an_interrupted_run_resumes_exactly(step, log_every, stop, tmp_path):
    # The request comes while the batch of the next step is loaded.
    settings = {"log_every": log_every, "max_steps": 17}
    whole, _ = fit(tmp_path / "whole", model=Fade(dropout=0.3), **settings)
    stopping = Frames(disturb=at_step(step + 1, lambda: signal.raise_signal(stop)))
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


@pytest.mark.parametrize("optimizer", [lambda: optim.Adam(0.05), lambda: Muon(0.05)])
def test_a_forecaster_with_dropout_resumes_exactly(optimizer, tmp_path):
    def forecaster():
        mx.random.seed(3)
        return EncoderForecaster(
            hidden_channels=[4], kernel_size=3, patch_size=4, concatenate=True, dropout=0.2, recurrent_dropout=0.2
        )

    def frames(**more):
        return Frames(frames=(3, 3), size=16, **more)

    settings = {"max_steps": 6, "validate_every": 4, "log_every": 2}
    whole, _ = fit(tmp_path / "whole", frames(), forecaster(), optimizer=optimizer(), **settings)
    fit(
        tmp_path / "cut",
        frames(disturb=at_step(3, lambda: signal.raise_signal(signal.SIGTERM))),
        forecaster(),
        optimizer=optimizer(),
        **settings,
    )
    model, _ = fit(
        tmp_path / "cut", frames(), forecaster(), optimizer=optimizer(), resume=last(tmp_path / "cut"), **settings
    )
    assert weights(model) == weights(whole)
    assert strip(tmp_path / "cut") == strip(tmp_path / "whole")


def test_a_signal_after_the_last_validation_finds_a_finished_run(tmp_path):
    _, progress = fit(tmp_path, loggers=[At(12, lambda: signal.raise_signal(signal.SIGTERM))])
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


def test_a_finished_run_resumes_with_more_steps(tmp_path):
    fit(tmp_path / "a", max_steps=5)
    model, progress = fit(tmp_path / "a", max_steps=12, resume=last(tmp_path / "a"))
    whole, _ = fit(tmp_path / "b", max_steps=12)
    assert progress.status == "finished"
    assert weights(model) == weights(whole)
    assert strip(tmp_path / "a") == strip(tmp_path / "b")
    assert yaml.safe_load((tmp_path / "a" / "config.yaml").read_text())["settings"]["max_steps"] == 12


def test_a_checkpoint_without_the_later_fields_resumes_exactly(tmp_path):
    whole, _ = fit(tmp_path / "whole")
    fit(tmp_path / "cut", max_steps=5)
    place = last(tmp_path / "cut") / "state.json"
    state = json.loads(place.read_text())
    for name in ("skipped", "skipped_in_a_row", "averaged", "unvalidated"):
        assert not state.pop(name)
    place.write_text(json.dumps(state))
    seal(place.parent)
    model, progress = fit(tmp_path / "cut", resume=last(tmp_path / "cut"))
    assert weights(model) == weights(whole)
    assert (progress.step, progress.skipped) == (12, 0)


@pytest.mark.parametrize("log_every", [1, 3])
@pytest.mark.parametrize("step", [5, 12])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_validation_that_a_signal_interrupts_is_done_after_resuming(number, step, log_every, tmp_path):
    whole, _ = fit(tmp_path / "whole", log_every=log_every)
    count = itertools.count(3 if step == 5 else -3)  # batches of the validations before

    def disturb(split, epoch, batch):
        if split == "validation" and next(count) == number + 3:
            signal.raise_signal(signal.SIGTERM)

    _, progress = fit(tmp_path / "cut", Frames(disturb=disturb), log_every=log_every)
    assert (progress.step, progress.status) == (step, "interrupted by SIGTERM")
    assert read_state(last(tmp_path / "cut"))["unvalidated"]["step"] == step
    model, progress = fit(tmp_path / "cut", resume=last(tmp_path / "cut"), log_every=log_every)
    assert (progress.step, progress.status, progress.unvalidated) == (12, "finished", {})
    assert strip(tmp_path / "cut") == strip(tmp_path / "whole")
    assert weights(model) == weights(whole)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_data_that_never_come_keep_no_run_from_being_saved(split, tmp_path):
    timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGTERM))

    def disturb(now, epoch, number):
        if now == split and (now == "validation" or number == 5):
            timer.start()
            time.sleep(1000)

    _, progress = fit(tmp_path, Frames(disturb=disturb))
    assert (progress.step, progress.status) == (5, "interrupted by SIGTERM")
    assert read_state(last(tmp_path))["step"] == 5


def test_a_logger_that_waits_keeps_no_run_from_being_saved(tmp_path):
    timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGTERM))
    _, progress = fit(tmp_path, loggers=[At(3, lambda: (timer.start(), time.sleep(1000)))])
    assert (progress.step, progress.status) == (3, "interrupted by SIGTERM")
    assert read_state(last(tmp_path))["step"] == 3


def test_a_second_ctrl_c_interrupts_at_once(tmp_path):
    def impatient():
        with contextlib.suppress(StopRequested):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, Frames(disturb=at_step(6, impatient)))
    assert read_state(last(tmp_path))["step"] == 5


def test_signals_are_left_alone_outside_the_main_thread():
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


def test_a_validation_whose_compilation_was_interrupted_is_done_after_resuming(tmp_path, monkeypatch):
    whole, _ = fit(tmp_path / "whole")
    failures = []

    def interrupted(*arguments, **more):
        if not failures:
            failures.append(1)
            signal.raise_signal(signal.SIGINT)
            raise RuntimeError("the compiler was interrupted")
        return validate(*arguments, **more)

    monkeypatch.setattr("convlstm.training.run.validate", interrupted)
    _, progress = fit(tmp_path / "cut")
    assert (progress.step, progress.status) == (5, "interrupted by SIGINT")
    model, _ = fit(tmp_path / "cut", resume=last(tmp_path / "cut"))
    assert strip(tmp_path / "cut") == strip(tmp_path / "whole")
    assert weights(model) == weights(whole)


def test_a_row_whose_checkpoint_was_not_written_is_there_once_after_resuming(tmp_path, monkeypatch):
    whole, _ = fit(tmp_path / "whole")
    run = tmp_path / "cut"

    def interrupted(*arguments, **more):
        signal.raise_signal(signal.SIGINT)
        raise RuntimeError("the compiler was interrupted")

    with monkeypatch.context() as patch:
        patch.setattr("convlstm.training.run.validate", interrupted)
        fit(run)
    with monkeypatch.context() as patch:
        patch.setattr("convlstm.training.run.Run.keep_if_best", mock.Mock(side_effect=MemoryError))
        with pytest.raises(MemoryError):
            fit(run, resume=last(run))
    assert read_state(last(run))["unvalidated"]["step"] == 5
    assert "\n5," in (run / "metrics.csv").read_text()
    model, _ = fit(run, resume=last(run))
    assert strip(run) == strip(tmp_path / "whole")
    assert weights(model) == weights(whole)
