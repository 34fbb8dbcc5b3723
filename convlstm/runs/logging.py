"""Where a run's rows go beside its own files: loggers, which may fail without harm to training."""

from __future__ import annotations

import math
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from convlstm.runs.log import MetricsLog, Row
from convlstm.runs.progress import Progress
from convlstm.runs.record import Record

WAIT = 60.0  # seconds until a logger that failed is tried again; twice as many each time
LONGEST = 3600.0


class Logger(Protocol):
    """What takes the rows of a run. Any of its methods may raise: it is then called again later."""

    def start(self, folder: Path, config: Mapping[str, Any], step: int) -> int:
        """Begins a run or goes on with it.

        Args:
            folder: The run's folder, whose name is the run's. What is needed to go on later can be kept in it.
            config: The resolved configuration.
            step: The step that training goes on from.

        Returns:
            The last step up to which it has the rows: 0 where it has none, or where it takes all of them again.
        """
        ...

    def log(self, step: int, row: Row) -> None:
        """Takes a row, by column."""
        ...

    def close(self, status: str) -> None:
        """Ends the run, with its status: 'finished', 'stopped early', 'interrupted by ...' or 'failed: ...'."""
        ...


class Guard:
    """Calls a logger, and tells once when that fails; its rows are kept, and it is tried again after a while.

    Rows that the logger has already are not given to it, and those that it lacks come from the run's log.

    Args:
        logger: The logger.
        clock: Seconds that pass. Default: `time.monotonic`.
    """

    def __init__(self, logger: Logger, *, clock: Callable[[], float] = time.monotonic):
        self.logger, self.clock = logger, clock
        self.rows: deque[Row] = deque()
        self.began, self.has, self.warned, self.due, self.wait = False, 0, False, -math.inf, WAIT

    def start(self, folder: Path, config: Mapping[str, Any], step: int, kept: Sequence[Row]) -> None:
        """Starts the logger; `kept` are the rows that the run's log has of the steps before."""
        self.folder, self.config, self.step = folder, config, step
        self.rows.extend(kept)
        self._try()

    def log(self, row: Row) -> None:
        """Gives a row to the logger, together with those that it could not take before."""
        self.rows.append(row)
        if self.clock() >= self.due:
            self._try()

    def close(self, status: str) -> None:
        """Gives the logger what is left and ends it."""
        self._try(status)

    def _try(self, status: str | None = None) -> None:
        try:
            if not self.began:
                self.has = self.logger.start(self.folder, self.config, self.step)
                self.began = True
            while self.rows:
                row = self.rows[0]
                if row["step"] > self.has:
                    self.logger.log(int(row["step"]), {name: value for name, value in row.items() if name != "step"})
                self.rows.popleft()
            if status is not None:
                self.logger.close(status)
        except Exception as error:  # whatever a library raises is no reason to lose a run
            self.due, self.wait = self.clock() + self.wait, min(2 * self.wait, LONGEST)
            if not self.warned:
                self.warned = True
                warnings.warn(
                    f"{type(self.logger).__name__} does not log: {type(error).__name__}: {_brief(error)} Training goes "
                    "on, with every row in metrics.csv; it is tried again now and then.",
                    stacklevel=2,
                )
        else:
            self.due, self.wait = -math.inf, WAIT


class Tracking:
    """The record of a run, and its loggers, from its start until the `with` block ends.

    Args:
        loggers: Besides the record in `run.json`, which every run has.
        log: The run's own log.
        folder: The run's folder.
        config: The resolved configuration.
        progress: Whose step it starts from and whose status it ends with.
        ranks: Processes that train together, for the record. Default: 1.
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
        self.progress = progress
        self.guards = [Guard(logger) for logger in (Record(ranks), *loggers)]
        self.begin = lambda guard: guard.start(folder, config, progress.step, log.kept)

    def log(self, row: Row) -> None:
        """Gives a row to every logger."""
        for guard in self.guards:
            guard.log(row)

    def __enter__(self) -> Tracking:
        for guard in self.guards:
            self.begin(guard)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            status = self.progress.status
        elif isinstance(error, KeyboardInterrupt):
            status = "interrupted by SIGINT"
        else:
            status = f"failed: {type(error).__name__}: {_brief(error)}"
        for guard in self.guards:
            guard.close(status)


def _brief(error: BaseException) -> str:
    """The first line of what an error says."""
    return (str(error).strip().splitlines() or ["nothing is said"])[0][:300]
