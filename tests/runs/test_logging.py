"""Logging: the calls of loggers, and that none of them can end training."""

from __future__ import annotations

import warnings

from convlstm.runs.lock import RunInUseError, lock
from convlstm.runs.logging import FIRST_WAIT, LONGEST_WAIT, Guard
from convlstm.runs.metrics_log import MetricsLog
from convlstm.runs.summary import entries
from convlstm.training.batches import DataError
from tests.support.logged import CONFIG, run
from tests.support.short_runs import Frames, at_step, fit, last, rows, strip
from tests.support.tiny import snapshot

import pytest


class Recorder:
    """A logger that records its calls in `calls`, and fails those whose names are in `broken`."""

    def __init__(self, last_step=0, broken=()):
        self.last_step, self.broken, self.calls = last_step, set(broken), []

    def record(self, *call):
        if call[0] in self.broken:
            raise ConnectionError("no route to the server\nand more that nobody reads")
        self.calls.append(call)

    def start(self, folder, config, step):
        self.record("start", folder, config, step)
        return self.last_step

    def log(self, step, row):
        self.record("log", step, row)

    def close(self, status):
        self.record("close", status)

    @property
    def steps(self):
        return [call[1] for call in self.calls if call[0] == "log"]


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_logger_gets_the_start_the_rows_and_the_end(tmp_path):
    logger = Recorder()
    run(tmp_path, [logger], [1, 2], status="interrupted by SIGTERM")
    assert logger.calls == [
        ("start", tmp_path, CONFIG, 0),
        ("log", 1, {"seconds": 0.5, "train_loss": 1.0}),
        ("log", 2, {"seconds": 1.0, "train_loss": 0.5}),
        ("close", "interrupted by SIGTERM"),
    ]


@pytest.mark.parametrize(("last_step", "steps"), [(0, [1, 2, 3, 4, 5]), (2, [3, 4, 5]), (3, [4, 5]), (4, [5])])
def test_a_logger_gets_the_rows_that_it_lacks_from_the_log(last_step, steps, tmp_path):
    run(tmp_path, [], [1, 2, 3, 4])
    logger = Recorder(last_step)
    run(tmp_path, [logger], [4, 5], step=3)
    assert logger.steps == steps


def test_a_logger_that_fails_warns_once_and_is_tried_again(tmp_path):
    clock, logger = Clock(), Recorder(broken=["log"])
    guard = Guard(logger, clock=clock)
    guard.start(tmp_path, CONFIG, 0, [])
    with pytest.warns(UserWarning, match="Recorder") as told:
        guard.log({"step": 1, "loss": 0.5})
    (warning,) = told
    assert str(warning.message) == (
        "Recorder does not log: ConnectionError: no route to the server Training continues; metrics.csv has "
        "every row, and the logger is tried again from time to time."
    )
    clock.now = FIRST_WAIT  # due, and fails again: nothing is said
    guard.log({"step": 2, "loss": 0.5})
    logger.broken = set()
    clock.now = 3 * FIRST_WAIT - 1  # not due yet: the wait has doubled
    guard.log({"step": 3, "loss": 0.5})
    assert logger.steps == []
    clock.now = 3 * FIRST_WAIT
    guard.log({"step": 4, "loss": 0.5})
    assert logger.steps == [1, 2, 3, 4]
    guard.log({"step": 5, "loss": 0.5})
    assert logger.steps == [1, 2, 3, 4, 5], "all is well again"


def test_the_wait_grows_up_to_an_hour_and_is_reset(tmp_path):
    clock, logger = Clock(), Recorder(broken=["log"])
    guard = Guard(logger, clock=clock)
    guard.start(tmp_path, CONFIG, 0, [])
    waits = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for step in range(1, 10):
            guard.log({"step": step})
            waits.append(guard.next_try - clock.now)
            clock.now = guard.next_try
    assert waits[:3] == [FIRST_WAIT, 2 * FIRST_WAIT, 4 * FIRST_WAIT]
    assert waits[-1] == LONGEST_WAIT
    logger.broken = set()
    guard.log({"step": 10})
    assert logger.steps == list(range(1, 11))
    logger.broken = {"log"}
    guard.log({"step": 11})
    assert guard.next_try - clock.now == FIRST_WAIT


@pytest.mark.parametrize("broken", ["start", "log", "close"])
def test_no_logger_ends_training_or_keeps_another_from_its_rows(broken, tmp_path):
    bad, good = Recorder(broken=[broken]), Recorder()
    with pytest.warns(UserWarning, match="Recorder does not log: ConnectionError") as told:
        run(tmp_path, [bad, good], [1, 2, 3])
    assert len(told) == 1
    assert good.steps == [1, 2, 3]
    assert len(MetricsLog.read(tmp_path / "metrics.csv")) == 3


def test_a_logger_that_comes_back_at_the_end_has_all_rows(tmp_path):
    logger = Recorder(broken=["start"])
    guard = Guard(logger, clock=Clock())
    with pytest.warns(UserWarning, match="Recorder does not log"):
        guard.start(tmp_path, CONFIG, 0, [])
    guard.log({"step": 1})
    logger.broken = set()
    guard.close("finished")
    assert [call[0] for call in logger.calls] == ["start", "log", "close"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RuntimeError("the loss became nan\nat step 3"), "failed: RuntimeError: the loss became nan"),
        (ValueError(), "failed: ValueError: no message"),
        (KeyboardInterrupt(), "interrupted by SIGINT"),
    ],
)
def test_an_error_is_the_status_that_a_run_ends_with(error, status, tmp_path):
    logger = Recorder()

    def fail(step):
        raise error

    with pytest.raises(type(error)):
        run(tmp_path, [logger], [1], value=fail)
    assert logger.calls[-1] == ("close", status)


# A run of the trainer


def test_a_run_gives_its_loggers_every_row_of_its_metrics(tmp_path):
    logger = Recorder()
    fit(tmp_path, loggers=[logger])
    (start, *_, end) = logger.calls
    assert start[:2] == ("start", tmp_path)
    assert start[2]["model"] == {"_target_": "tests.support.tiny.Fade"}
    assert end == ("close", "finished")
    logged = [{"step": str(step), **row} for _, step, row in logger.calls[1:-1]]
    whole = [{name: text for name, text in row.items() if text} for row in rows(tmp_path)]
    assert [{name: str(value) for name, value in row.items()} for row in logged] == whole
    assert entries(tmp_path)[-1]["status"] == "finished"


def test_loggers_get_the_error_of_a_run_whose_data_fail(tmp_path):
    def fail():
        raise KeyError("no such frame")

    logger = Recorder()
    with pytest.raises(DataError):
        fit(tmp_path, Frames(disturb=at_step(6, fail)), loggers=[logger])
    assert logger.calls[-1][1].startswith("failed: DataError: the data (train) failed after step 5: KeyError")
    assert entries(tmp_path)[-1]["status"] == logger.calls[-1][1]

    again = Recorder(last_step=5)
    fit(tmp_path, resume=last(tmp_path), loggers=[again])
    assert again.steps == [6, 7, 8, 9, 10, 11, 12]
    assert [entry["step"] for entry in entries(tmp_path)] == [0, 5]


def test_a_logger_that_fails_does_not_change_the_run(tmp_path):
    fit(tmp_path / "without")
    with pytest.warns(UserWarning, match="Recorder does not log") as told:
        fit(tmp_path / "with", loggers=[Recorder(broken=["start", "log", "close"])])
    assert len(told) == 1
    assert strip(tmp_path / "with") == strip(tmp_path / "without")


def test_a_run_of_another_process_is_left_alone(tmp_path):
    fit(tmp_path, max_steps=4)
    before = snapshot(tmp_path)
    with lock(tmp_path), pytest.raises(RunInUseError, match="another process is training in"):
        fit(tmp_path, resume=last(tmp_path))
    assert snapshot(tmp_path) == before
