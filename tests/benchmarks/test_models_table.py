"""The command that makes the table of models."""

from __future__ import annotations

import argparse
import sys

from benchmarks import models
from benchmarks.ours import MODELS
from convlstm.datasets.moving_mnist import MovingMNIST

import pytest


def options(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["models", *arguments])
    return models.arguments()


@pytest.mark.parametrize("name", models.CHOICES)
def test_every_choice_is_a_model_that_the_benchmarks_know(name):
    work = models.workload(name, models.SHAPE)
    assert work.model in MODELS
    assert work.inputs == models.SHAPE


def test_choices_differ():
    arguments = [(w.model, w.arguments) for w in (models.workload(name, models.SHAPE) for name in models.CHOICES)]
    assert all(a != b for n, a in enumerate(arguments) for b in arguments[:n])


def test_the_data_is_that_of_the_quickstart():
    given = dict(line.removeprefix("data.").split("=") for line in models.data("builtin"))
    assert given["digits"] == "builtin"
    frame = {name: int(value) for name, value in given.items() if name in ("frame_size", "digit_size", "num_digits")}
    assert next(iter(MovingMNIST(**frame, digits="builtin").stream("test", 1)))["inputs"].shape[2:4] == (32, 32)


def test_options(monkeypatch):
    given = options(monkeypatch, "--models", "simvp, predrnn", "--steps", "3", "--runs", "2")
    assert given.models == ["simvp", "predrnn"]
    assert (given.steps, given.runs) == (3, 2)
    assert options(monkeypatch).models == list(models.CHOICES)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--models", "simvp,rnn"], "--models has no 'rnn'. Choose from: encoder_forecaster, "),
        (["--runs", "0"], "--runs must be above 0 but got 0"),
        (["--seconds", "-1"], "--seconds must be above 0 but got -1.0"),
    ],
)
def test_wrong_options_are_refused(arguments, text, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        options(monkeypatch, *arguments)
    assert text in capsys.readouterr().err


def test_the_table_of_results():
    row = {"name": "simvp", "parameters": 46769665, "macs": 16.53e9, "step_seconds": [3.0, 2.0, 2.5]}
    row |= {"trained_steps": 100, "trained_seconds": 250.4, "score": 12.34, "zeros": 21.8}
    given = argparse.Namespace(steps=None, seconds=250.0, runs=3, sequences=64)
    text = models.table([row, {"name": "predrnn", "failed": "no memory"}], given)
    assert "| simvp | 46,769,665 | 16.5 | 2.5 | 1.6 | 100 | 250 | 12.3 | 21.8 |" in text
    assert "| predrnn | - | - |" in text
    assert "after 250 seconds of training" in text
    assert "predrnn failed: no memory" in text
    given.steps = 100
    assert "on 64 test sequences" in models.table([row], given)
    assert "after 100 steps of training" in models.table([row], given)
