"""Logging beside `metrics.csv`: the interface of loggers, and their calls, whose errors do not end training."""

from __future__ import annotations

import math
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from convlstm.backend.signals import StopRequested, interruptible
from convlstm.runs.metrics_log import MetricsLog, Row
from convlstm.runs.progress import Progress
from convlstm.runs.record import Record

FIRST_WAIT = 60.0  # seconds until a logger that failed is called again; doubled each time
LONGEST_WAIT = 3600.0


class Logger(Protocol):
    """A receiver of a run's rows. Each of its methods may raise an error: it is then called again later."""

    def start(self, folder: Path, config: Mapping[str, Any], step: int) -> int:
        """Begins a run or continues it.

        Args:
            folder: The run's folder, whose name is the run's name. The logger may keep files there for a later start.
            config: The resolved configuration.
            step: Step that training continues from.

        Returns:
            The last step whose row the logger has; 0 if it has none or takes all rows again.
        """
        ...

    def log(self, step: int, row: Row) -> None:
        """Takes a row, by column."""
        ...

    def close(self, status: str) -> None:
        """Ends the run, with its status: 'finished', 'stopped early', 'interrupted by ...' or 'failed: ...'."""
        ...


class Guard:
    """A guard around a logger: if the logger fails, it warns once, keeps the rows, and tries again after a while.

    Rows that the logger has already are not given to it. Rows that it lacks come from the run's log.

    Args:
        logger: The logger.
        clock: Returns the time in seconds. Default: `time.monotonic`.
    """

    def __init__(self, logger: Logger, *, clock: Callable[[], float] = time.monotonic):
        self.logger, self.clock = logger, clock
        self.rows: deque[Row] = deque()
        self.started, self.last_step, self.warned = False, 0, False
        self.next_try, self.wait = -math.inf, FIRST_WAIT

    def start(self, folder: Path, config: Mapping[str, Any], step: int, earlier_rows: Sequence[Row]) -> None:
        """Starts the logger; `earlier_rows` are the rows up to `step` in the run's log."""
        self.folder, self.config, self.step = folder, config, step
        self.rows.extend(earlier_rows)
        self._try()

    def log(self, row: Row) -> None:
        """Gives a row to the logger, after those that it could not take before."""
        self.rows.append(row)
        if self.clock() >= self.next_try:
            self._try()

    def close(self, status: str) -> None:
        """Gives the remaining rows to the logger and ends it."""
        self._try(status)

    def _try(self, status: str | None = None) -> None:
        try:
            if not self.started:
                self.last_step = self.logger.start(self.folder, self.config, self.step)
                self.started = True
            while self.rows:
                row = self.rows[0]
                if row["step"] > self.last_step:
                    self.logger.log(int(row["step"]), {name: value for name, value in row.items() if name != "step"})
                self.rows.popleft()
            if status is not None:
                self.logger.close(status)
        except Exception as error:  # whatever a library raises is no reason to lose a run
            self.next_try, self.wait = self.clock() + self.wait, min(2 * self.wait, LONGEST_WAIT)
            if not self.warned:
                self.warned = True
                warnings.warn(
                    f"{type(self.logger).__name__} does not log: {type(error).__name__}: {_first_line(error)} Training "
                    "continues; metrics.csv has every row, and the logger is tried again from time to time.",
                    stacklevel=2,
                )
        else:
            self.next_try, self.wait = -math.inf, FIRST_WAIT


class Loggers:
    """The loggers of a run, including its record. They start and end with a `with` block.

    Args:
        loggers: Loggers beside the record in `run.json`, which every run has.
        log: The run's own log.
        folder: The run's folder.
        config: The resolved configuration.
        progress: The run's progress: its step at the start, and its status at the end.
        ranks: Number of processes that train together, for the record. Default: 1.
    """

    def __init__(
        self,
        loggers: Sequence[Logger],
        log: MetricsLog,
        folder: Path,
        config: Mapping[str, Any],
        progress: Progress,
        *,
        ranks: int = 1,
    ):
        self.log_file, self.folder, self.config, self.progress = log, folder, config, progress
        self.guards = [Guard(logger) for logger in (Record(ranks), *loggers)]

    def log(self, row: Row) -> None:
        """Gives a row to every logger."""
        for guard in self.guards:
            # A logger that waits for a server must not keep a run from being saved.
            with suppress(StopRequested), interruptible(pending=False):
                guard.log(row)

    def __enter__(self) -> Loggers:
        for guard in self.guards:
            guard.start(self.folder, self.config, self.progress.step, self.log_file.earlier_rows)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            status = self.progress.status
        elif isinstance(error, KeyboardInterrupt):
            status = "interrupted by SIGINT"
        else:
            status = f"failed: {type(error).__name__}: {_first_line(error)}"
        for guard in self.guards:
            guard.close(status)


def _first_line(error: BaseException) -> str:
    """Returns the first line of an error's message."""
    return (str(error).strip().splitlines() or ["no message"])[0][:300]
