"""Sweeps: runs one after the other, each in its own process, so that a failed run does not end the others."""

from __future__ import annotations

import csv
import io
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from convlstm.backend import files
from convlstm.backend.signals import STOPS
from convlstm.runs.listing import table
from convlstm.runs.summary import RunSummary, read

TABLE = "sweep.csv"
MESSAGE = "CONVLSTM_MESSAGE"
"""Environment variable that names the file for a job's last message."""
DONE = ("finished", "stopped early")


@dataclass
class Job:
    """A job of a sweep.

    Attributes:
        run: Summary of its run, with the status that it ended with.
        values: Values of the keys in which the jobs differ.
        message: Error message, if it failed.
    """

    run: RunSummary
    values: Mapping[str, str]
    message: str = ""

    @property
    def done(self) -> bool:
        """True if its training was completed."""
        return self.run.status in DONE


class Sweep:
    """The jobs of a sweep, and `sweep.csv` in its folder, with a row for each job.

    SIGINT, SIGTERM and SIGHUP are passed on to the running job, and the jobs after it are not started. A signal that is
    ignored stays ignored.

    Args:
        folder: The sweep's folder.

    Attributes:
        stopped: The signal that stopped the sweep, or None.
    """

    def __init__(self, folder: Path):
        self.folder, self.jobs = folder, list[Job]()
        self.stopped: int | None = None

    def run(self, name: str, line: Sequence[str], values: Mapping[str, str]) -> None:
        """Runs a job and waits for its end.

        Args:
            name: Folder of the job in the sweep's folder.
            line: Command line of the job.
            values: Values of the keys in which it differs from other jobs.
        """
        folder = self.folder / name
        if self.stopped is not None:
            self.jobs.append(Job(RunSummary(folder, "not started"), values))
            return self._write()
        print(f"job         {name}: {', '.join(f'{key}={value}' for key, value in values.items())}", flush=True)
        with tempfile.TemporaryDirectory() as temporary:
            file = Path(temporary, "message")
            code = self._call(line, {MESSAGE: str(file)})
            message = file.read_text(encoding="utf-8").strip() if file.exists() else ""
        run = read(folder)
        if code < 0:
            run.status = f"killed by {signal.Signals(-code).name}"
            message = "It may have run out of memory." if -code == signal.SIGKILL else ""
        elif code in [128 + number for number in STOPS]:
            run.status = run.status if run.status.startswith("interrupted") else "interrupted"
        elif code > 0:
            run.status, message = "failed", message or f"exit status {code}"
        self.jobs.append(Job(run, values, message))
        return self._write()

    @property
    def code(self) -> int:
        """Exit status of the sweep: 0 if all jobs are done, 1 if not, 128 + N if signal N stopped it."""
        if self.stopped is not None:
            return 128 + self.stopped
        return 0 if all(job.done for job in self.jobs) else 1

    def report(self) -> str:
        """Returns a table of the jobs, and the messages of those that failed."""
        runs = [RunSummary(**(vars(job.run) | {"config": dict(job.values)})) for job in self.jobs]
        lines = [f"{job.run.folder.name}  {job.run.status}: {job.message}" for job in self.jobs if job.message]
        return "\n".join([table(runs, self._keys(), base=self.folder), *([""] if lines else []), *lines])

    def _keys(self) -> list[str]:
        return list(dict.fromkeys(key for job in self.jobs for key in job.values))

    def _write(self) -> None:
        keys = self._keys()
        names = ("status", "step", "max_steps", "monitor", "best", "best_step", "seconds")
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["job", *keys, *names, "message"])
        for job in self.jobs:
            values = [job.values.get(key, "") for key in keys]
            writer.writerow([job.run.folder.name, *values, *(getattr(job.run, name) for name in names), job.message])
        files.replace(self.folder / TABLE, text.getvalue())

    def _call(self, line: Sequence[str], variables: Mapping[str, str]) -> int:
        """Runs a process, passes signals on to it, and returns its exit status."""
        with self._passing_signals_on() as children:
            # In its own session, so that Ctrl-C in a terminal reaches it once, through this process, and does not reach
            # a compiler that it runs.
            child = subprocess.Popen(line, env={**os.environ, **variables}, start_new_session=True)
            children.append(child)
            if self.stopped is not None:
                child.send_signal(self.stopped)
            while True:
                # If another thread receives a signal, Python handles it when this thread wakes.
                with suppress(subprocess.TimeoutExpired):
                    return child.wait(timeout=1)

    @contextmanager
    def _passing_signals_on(self) -> Iterator[list[subprocess.Popen]]:
        """Passes signals on to the processes in the list that it yields."""
        children: list[subprocess.Popen] = []

        def handler(number: int, frame: FrameType | None) -> None:
            self.stopped = number
            for child in children:
                child.send_signal(number)

        # An ignored signal stays ignored, such as SIGHUP under `nohup`.
        handled = [number for number in STOPS if signal.getsignal(number) != signal.SIG_IGN]
        former = {number: signal.signal(number, handler) for number in handled}
        try:
            yield children
        finally:
            for number, old in former.items():
                signal.signal(number, old)
