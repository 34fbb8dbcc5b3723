"""Runs that a signal stops, and that are resumed, within one process."""

from __future__ import annotations

import json
import signal
import threading

from convlstm.backend.signals import stop_requests
from convlstm.checkpoints import read_state, seal
from convlstm.models import EncoderForecaster
from convlstm.training.validation import validate
from tests.support.short_runs import Frames, at_step, fit, last, strip, weights
from tests.support.tiny import Fade, snapshot

import mlx.core as mx
import pytest
import yaml


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("log_every", [1, 5])
@pytest.mark.parametrize("step", [1, 5, 8, 11])
def test_an_interrupted_run_resumes_exactly(step, log_every, stop, tmp_path):
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


def test_a_forecaster_with_dropout_resumes_exactly(tmp_path):
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


def test_a_validation_whose_compilation_was_interrupted_is_repeated(tmp_path, monkeypatch):
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
