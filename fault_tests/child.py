"""train.py with faults in its file system: `python -m soak.child PLAN ARGUMENTS...`, where PLAN is a `Plan` as JSON.

An access is an opening, renaming, making or removing of something in the run's folder, or a flush to the disk. They are
counted from 1, so that a fault can be put before any of them; a program does the same ones in every run.
"""

from __future__ import annotations

import atexit
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
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
WATCHED = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate"}


@dataclass
class Plan:
    """What goes wrong.

    Args:
        folder: The run's folder.
        signals: The numbers of the accesses at which the program sends itself a signal, and of the signals.
        torn: The number of the access from which on no file can grow beyond so many bytes, and these. None: never.
        fatal: Whether the write that tries is cut off there, and the program with it. Otherwise it is an error.
        delay: Longest time in seconds that an access takes; 0 is as fast as the disk.
        seed: Of the delays.
        log: File to write to: a line `flushed INODE BYTES CHANGED` for every flush, and at the end `accesses NUMBER`.
    """

    folder: str
    signals: dict[int, int] = field(default_factory=dict)
    torn: tuple[int, int] | None = None
    fatal: bool = True
    delay: float = 0.0
    seed: int = 0
    log: str = os.devnull

    def as_json(self) -> str:
        """What `python -m soak.child` takes."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The plan that `as_json` describes."""
        values = json.loads(text)
        values["signals"] = {int(access): number for access, number in values["signals"].items()}
        values["torn"] = values["torn"] and tuple(values["torn"])
        return cls(**values)


class Disturber:
    """Counts the accesses of this process and does at each what a plan says."""

    def __init__(self, plan: Plan):
        self.plan, self.count, self.rng = plan, 0, random.Random(plan.seed)
        self.log = os.open(plan.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def install(self) -> None:
        """Watches everything from here on."""
        sys.addaudithook(self.audit)
        os.fsync = self.around(os.fsync)
        if hasattr(os, "fdatasync"):
            os.fdatasync = self.around(os.fdatasync)
        atexit.register(lambda: os.write(self.log, f"accesses {self.count}\n".encode()))

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Python calls it with everything it does."""
        if event not in WATCHED or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        relative = event in ("os.remove", "os.rmdir", "os.mkdir") and arguments[-1] not in (-1, None)
        if relative or os.fsdecode(arguments[0]).startswith(self.plan.folder):
            self.access()

    def around(self, flush: Any) -> Any:
        """A function that flushes a file, counted and told."""

        def counted(file: Any) -> None:
            self.access()
            flush(file)
            number = file if isinstance(file, int) else file.fileno()
            status = os.fstat(number)
            os.write(self.log, f"flushed {status.st_ino} {status.st_size} {status.st_mtime_ns}\n".encode())

        return counted

    def access(self) -> None:
        """Counts one."""
        self.count += 1
        plan = self.plan
        if plan.delay:
            time.sleep(self.rng.uniform(0, plan.delay))
        if plan.torn is not None and plan.torn[0] == self.count:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL if plan.fatal else signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (plan.torn[1], resource.RLIM_INFINITY))
        if self.count in plan.signals:
            os.kill(os.getpid(), plan.signals[self.count])


def main() -> None:
    plan, sys.argv[1:] = Plan.from_json(sys.argv[1]), sys.argv[2:]
    Disturber(plan).install()
    runpy.run_path(str(ROOT / "train.py"), run_name="__main__")


if __name__ == "__main__":
    main()
