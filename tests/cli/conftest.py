"""Runs of digits, and the commands `evaluate` and `forecast`, called within this process."""

import shutil
import sys

from tests.support.forecast_runs import READER, write_run
from tests.support.tiny import OVERRIDES, call

import pytest


@pytest.fixture(scope="module", autouse=True)
def quick(without_compilation, readers_stay):
    """Applies `without_compilation` and `readers_stay` to all tests of commands."""


@pytest.fixture(scope="module")
def persistence(tmp_path_factory):
    """Returns a run of persistence, whose forecast is the last input frame."""
    return write_run(tmp_path_factory.mktemp("runs") / "last")


@pytest.fixture
def forecast(monkeypatch, capsys, persistence, tmp_path):
    """Returns a function that calls the command for the pictures in `radar`; `out` is in the test's folder, too."""

    def command(*arguments):
        line = {"ckpt": str(persistence), "input": str(tmp_path / "radar"), "out": str(tmp_path / "out")}
        line = {key: value for key, value in line.items() if not any(a.startswith(f"{key}=") for a in arguments)}
        reader = () if any(a.startswith("reader") for a in arguments) else (READER,)
        return call("forecast", monkeypatch, capsys, *(f"{k}={v}" for k, v in line.items()), *reader, *arguments)

    return command


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Returns a folder with two runs of different losses: `a` of 12 steps, `b` of 2."""
    output = tmp_path_factory.mktemp("runs")
    from convlstm.cli import train

    for name, steps, loss in (("a", 12, "bce"), ("b", 2, "mse")):
        line = [*OVERRIDES, f"trainer.max_steps={steps}", f"loss={loss}", f"output={output}", f"name={name}"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HYDRA_FULL_ERROR", "1")
            patch.setattr(sys, "argv", ["train.py", *line])
            train.main()
    return output


@pytest.fixture
def run(runs, tmp_path):
    """Returns a copy of the run `a`."""
    return shutil.copytree(runs / "a", tmp_path / "a")


@pytest.fixture
def evaluate(monkeypatch, capsys):
    """Returns a function that calls the command, with the tests' data trusted, and without pictures by default."""

    def run(*arguments):
        line = ["trusted=[tests]", *arguments]
        if any(argument.startswith("examples") for argument in arguments):
            return call("evaluate", monkeypatch, capsys, *line)
        with monkeypatch.context() as patch:  # drawing would take most of the time
            patch.setattr("convlstm.cli.evaluate.write_pictures", lambda *_, **__: [])
            return call("evaluate", monkeypatch, capsys, "examples=[]", *line)

    return run
