"""Sweeps: runs one after the other, each a process of its own, so that what ends one does not end the others."""

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
from convlstm.runs import listing as runs
from convlstm.runs.summary import Run, read

TABLE = "sweep.csv"
MESSAGE = "CONVLSTM_MESSAGE"  # the environment variable that names the file for a job's last words
DONE = ("finished", "stopped early")


@dataclass
class Job:
    """A job of a sweep: what its files say, with the status it ended with; its values; what it said when it failed."""

    run: Run
    values: Mapping[str, str]
    message: str = ""

    @property
    def done(self) -> bool:
        """Whether it has come to its end."""
        return self.run.status in DONE


class Sweep:
    """The jobs of a sweep, and `sweep.csv` in its folder, with a row for each.

    SIGINT, SIGTERM and SIGHUP are passed on to the job that runs, and the jobs after it are not started. A signal that
    is ignored stays ignored.

    Args:
        folder: The sweep's folder.
    """

    def __init__(self, folder: Path):
        self.folder, self.jobs = folder, list[Job]()
        self.stopped: int | None = None
        """The signal that stopped the sweep, or None."""

    def run(self, name: str, line: Sequence[str], values: Mapping[str, str]) -> None:
        """Runs a job, and waits for it.

        Args:
            name: Its folder within the sweep's.
            line: Its command line.
            values: What it has that other jobs have not, by key.
        """
        folder = self.folder / name
        if self.stopped is not None:
            self.jobs.append(Job(Run(folder, "not started"), values))
            return self._write()
        print(f"job         {name}: {', '.join(f'{key}={value}' for key, value in values.items())}", flush=True)
        with tempfile.TemporaryDirectory() as place:
            file = Path(place, "message")
            code = self._call(line, {MESSAGE: str(file)})
            message = file.read_text(encoding="utf-8").strip() if file.exists() else ""
        run = read(folder)
        if code < 0:
            run.status = f"killed by {signal.Signals(-code).name}"
            message = "It may have needed more memory than there is." if -code == signal.SIGKILL else ""
        elif code in [128 + number for number in STOPS]:
            run.status = run.status if run.status.startswith("interrupted") else "interrupted"
        elif code > 0:
            run.status, message = "failed", message or f"exit status {code}"
        self.jobs.append(Job(run, values, message))
        return self._write()

    @property
    def code(self) -> int:
        """The exit status of the sweep: 0 where every job has come to its end, 1 where one has not, or the signal."""
        if self.stopped is not None:
            return 128 + self.stopped
        return 0 if all(job.done for job in self.jobs) else 1

    def report(self) -> str:
        """A table of the jobs, and why those failed that did."""
        shown = [Run(**(vars(job.run) | {"config": dict(job.values)})) for job in self.jobs]
        keys = list(dict.fromkeys(key for job in self.jobs for key in job.values))
        ill = [job for job in self.jobs if job.message]
        lines = [f"{job.run.folder.name}  {job.run.status}: {job.message}" for job in ill]
        return "\n".join([runs.table(shown, keys, base=self.folder), *([""] if lines else []), *lines])

    def _write(self) -> None:
        keys = list(dict.fromkeys(key for job in self.jobs for key in job.values))
        names = ("status", "step", "max_steps", "monitor", "best", "best_step", "seconds")
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["job", *keys, *names, "message"])
        for job in self.jobs:
            values = [job.values.get(key, "") for key in keys]
            writer.writerow([job.run.folder.name, *values, *(getattr(job.run, name) for name in names), job.message])
        files.replace(self.folder / TABLE, text.getvalue())

    def _call(self, line: Sequence[str], variables: Mapping[str, str]) -> int:
        """The exit status of a process that gets the signals that come meanwhile."""
        with self._heeding() as children:
            # In a session of its own: a terminal's Ctrl-C comes once, through us, and not to a compiler that it runs.
            child = subprocess.Popen(line, env={**os.environ, **variables}, start_new_session=True)
            children.append(child)
            if self.stopped is not None:
                child.send_signal(self.stopped)
            while True:
                # A signal that another thread took is heeded when this one wakes.
                with suppress(subprocess.TimeoutExpired):
                    return child.wait(timeout=1)

    @contextmanager
    def _heeding(self) -> Iterator[list[subprocess.Popen]]:
        children: list[subprocess.Popen] = []

        def handler(number: int, frame: FrameType | None) -> None:
            self.stopped = number
            for child in children:
                child.send_signal(number)

        # What is ignored stays so, such as SIGHUP under `nohup`.
        heeded = [number for number in STOPS if signal.getsignal(number) != signal.SIG_IGN]
        former = {number: signal.signal(number, handler) for number in heeded}
        try:
            yield children
        finally:
            for number, old in former.items():
                signal.signal(number, old)
