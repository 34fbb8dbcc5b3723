"""The main function of a `ChildProcess`: runs the functions that it is asked for, each step with a time limit.

The kernel ends the process at the limit, also inside a loop of a C library, and also if the parent is gone. The limit
is of processor time, so that nothing is given up because the machine is busy. A step that waits for a disk has
`PATIENCE` times as long.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from convlstm.backend import messages
from convlstm.backend.memory import memory

PATIENCE = 2
"""Seconds that a step may take for each second of processor time."""

_CLOCKS = ((signal.ITIMER_PROF, 1), (signal.ITIMER_REAL, PATIENCE))
# Bytes beside half of the machine's memory: Python, NumPy and the libraries of the formats.
_PROGRAM = 2 << 30
# Sends a message to the parent; None in any other process.
_send: Callable[[str, Any], None] | None = None
# Seconds of processor time that `unhurried` work has taken.
_unhurried_seconds = 0.0


def main(modules: Sequence[str]) -> None:
    """Imports modules, then answers requests until the parent closes the pipe."""
    global _send
    requests, replies = os.fdopen(os.dup(0), "rb"), os.dup(1)
    _close_standard_streams()
    _set_signals()
    _set_limits()

    def send(kind: str, value: Any) -> None:
        for part in messages.pack([kind, value, time.process_time() - _unhurried_seconds]):
            view = memoryview(part)
            while len(view):
                view = view[os.write(replies, view) :]

    _send = send
    with suppress(BrokenPipeError):  # the parent is gone
        for module in modules:
            with suppress(Exception):  # a request that needs it will say what is wrong
                import_module(module)
        gc.enable()
        send("ready", None)
        while (request := _next(requests)) is not None:
            _answer(request, send)


@contextmanager
def unhurried() -> Iterator[None]:
    """Stops the clock of the time limit meanwhile, for what takes long without harm, such as an import."""
    global _unhurried_seconds
    if _send is None:
        yield
        return
    left = [signal.setitimer(clock, 0)[0] for clock, _ in _CLOCKS]
    _send("busy", None)
    start = time.process_time()
    try:
        yield
    finally:
        _unhurried_seconds += time.process_time() - start
        for (clock, _), seconds in zip(_CLOCKS, left, strict=True):
            signal.setitimer(clock, seconds)


def _next(requests: BinaryIO) -> bytes | None:
    size = requests.read(8)
    return requests.read(int.from_bytes(size, "little")) if len(size) == 8 else None


def _answer(request: bytes, send: Callable[[str, Any], None]) -> None:
    try:
        seconds, function, arguments = pickle.loads(request)
    except Exception as error:  # a class of the parent's main module
        send("unknown", f"{type(error).__name__}: {error}")
        return
    try:
        values = iter(function(*arguments))
        while True:
            for clock, times in _CLOCKS:
                signal.setitimer(clock, seconds * times)
            try:
                value = next(values)
            except StopIteration:
                break
            finally:
                # The parent may take its time to read what is sent.
                for clock, _ in _CLOCKS:
                    signal.setitimer(clock, 0)
            send("value", value)
    except BrokenPipeError:
        raise
    except Exception as error:  # libraries raise anything for damaged files
        send("raised", [type(error).__name__, str(error)])
    else:
        send("end", None)


def _close_standard_streams() -> None:
    """Lets no library write into the pipe or the terminal."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)


def _set_signals() -> None:
    # The parent decides after Ctrl-C and the like, which reach all processes of a terminal. If it ends, so does this.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _set_limits() -> None:
    import resource

    _lower(resource.RLIMIT_CORE, 0)
    if sys.platform.startswith("linux"):  # macOS does not obey it
        _lower(resource.RLIMIT_AS, memory() // 2 + _PROGRAM)
    # If memory runs out, the kernel ends this process, not the one that trains.
    with suppress(OSError), Path("/proc/self/oom_score_adj").open("w") as file:
        file.write("1000")


def _lower(limit: int, value: int) -> None:
    import resource

    _, hard = resource.getrlimit(limit)
    with suppress(ValueError, OSError):
        resource.setrlimit(limit, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
