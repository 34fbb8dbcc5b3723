"""The console of a run."""

from __future__ import annotations

import io
import sys

from convlstm.training import console
from convlstm.training.console import Console, duration
from tests.support.short_runs import fit, rows

import pytest


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


def test_without_a_terminal_every_message_is_a_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(console, "LINE_EVERY", -1)
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
    assert line.startswith(f"about 2 s a step: {left} for the remaining {steps - 7:,} steps, without validations")
    assert ("experiment=quickstart" in line) is hint


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0123, "0.012 s"), (9.94, "9.9 s"), (75, "75 s"), (600, "10 min"), (7200, "2.0 h")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text
