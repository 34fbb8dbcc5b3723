"""The command `forecast`, called within this process, for the tests of its subjects."""

from tests.support.forecast_runs import READER, write_run
from tests.support.tiny import call

import pytest


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
