"""A program with faults in its file system: `python -m fault_tests.child PLAN ARGUMENTS...`; PLAN is a `Plan` as JSON.

An access opens, renames, creates or removes something in the run's folder, or flushes a file to the disk. Accesses are
counted from 1, so that a fault can precede any of them. A program makes the same accesses in every run.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import random
import resource
import runpy
import signal
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent
WATCHED = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate"}


@dataclass
class Plan:
    """The faults of a run.

    Args:
        folder: The run's folder.
        signals: Signals that the program sends to itself, by number of the access.
        torn: Number of an access and a number of bytes: from that access on no file can grow beyond that size.
            Default: None, never.
        fatal: A write beyond that size ends the program. If False, it raises an error. Default: True.
        delay: Longest delay of an access, in seconds. Default: 0.
        seed: Seed of the delays. Default: 0.
        block: Number of the access that never ends, as on a disk that no longer answers. Default: None, none.
        mark: File that is created before it. Default: none.
        program: The program, a path in the project. Default: train.py.
        log: File for a line `flushed INODE BYTES CHANGED` after every flush, and `accesses NUMBER` at the end. Default:
            none.
    """

    folder: str
    signals: dict[int, int] = field(default_factory=dict)
    torn: tuple[int, int] | None = None
    fatal: bool = True
    delay: float = 0.0
    seed: int = 0
    block: int | None = None
    mark: str = os.devnull
    program: str = "train.py"
    log: str = os.devnull

    def as_json(self) -> str:
        """Returns the plan as the argument of `python -m fault_tests.child`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Returns the plan that `as_json` describes."""
        values = json.loads(text)
        values["signals"] = {int(access): number for access, number in values["signals"].items()}
        values["torn"] = values["torn"] and tuple(values["torn"])
        return cls(**values)


class Disturber:
    """A counter of this process's accesses that carries out a plan."""

    def __init__(self, plan: Plan):
        self.plan, self.count, self.rng = plan, 0, random.Random(plan.seed)
        self.log = os.open(plan.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def install(self) -> None:
        """Begins to count."""
        sys.addaudithook(self.audit)
        os.fsync = self.around(os.fsync)
        if hasattr(os, "fdatasync"):
            os.fdatasync = self.around(os.fdatasync)
        atexit.register(lambda: os.write(self.log, f"accesses {self.count}\n".encode()))

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Receives an event from Python and counts it if it is an access."""
        if event not in WATCHED or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        relative = event in ("os.remove", "os.rmdir", "os.mkdir") and arguments[-1] not in (-1, None)
        if relative or os.fsdecode(arguments[0]).startswith(self.plan.folder):
            self.access()

    def around(self, flush: Any) -> Any:
        """Returns a function that flushes a file, counts it and logs it."""

        def counted(file: Any) -> None:
            self.access()
            flush(file)
            number = file if isinstance(file, int) else file.fileno()
            status = os.fstat(number)
            os.write(self.log, f"flushed {status.st_ino} {status.st_size} {status.st_mtime_ns}\n".encode())

        return counted

    def access(self) -> None:
        """Counts an access and carries out its faults."""
        self.count += 1
        plan = self.plan
        if plan.delay:
            time.sleep(self.rng.uniform(0, plan.delay))
        if plan.torn is not None and plan.torn[0] == self.count:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL if plan.fatal else signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (plan.torn[1], resource.RLIM_INFINITY))
        if self.count in plan.signals:
            os.kill(os.getpid(), plan.signals[self.count])
        if self.count == plan.block:
            block(plan.mark)


def block(mark: str) -> NoReturn:
    """Creates a file and never ends. No signal interrupts it, and no handler of Python runs in this thread."""
    os.close(os.open(mark, os.O_WRONLY | os.O_CREAT))
    mutex, library = ctypes.create_string_buffer(128), ctypes.CDLL(None)  # zeros are a mutex on Linux
    while True:  # locking it twice waits for ever
        library.pthread_mutex_lock(mutex)


def main() -> None:
    plan, sys.argv[1:] = Plan.from_json(sys.argv[1]), sys.argv[2:]
    Disturber(plan).install()
    runpy.run_path(str(ROOT / plan.program), run_name="__main__")


if __name__ == "__main__":
    main()
