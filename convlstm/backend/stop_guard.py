"""A guard that ends the process at a second request to stop, or if the first one is not obeyed within a while.

Python calls handlers of signals in the main thread, between two of its instructions: not while that waits for a disk or
a foreign library. The guard is a thread that learns of signals from a pipe, which Python's handler in C writes to.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# A launcher or a terminal may deliver the same request twice; one that comes later is a second request.
SAME = 0.5
# Seconds without a sign of life after which a request counts as not obeyed.
PATIENCE = 7.0
# The same for a program that is to end within a second, whatever it computes.
HASTE = 0.3
# Seconds after a request until compilers are ended: one that hangs keeps the whole process waiting.
COMPILERS = 1.0
_POLL = 0.25
_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Process:
    """The state of this process, as the guard sees it.

    Attributes:
        guarded: True while there is a guard.
        life: Time of the last sign of life, by `time.monotonic`.
        computing: Number of computations that are not cut short.
        saved: What was saved last, as a sentence.
        hasty: True if a request ends the process after `HASTE` seconds, with status 0.
        leaving: True if such a request was obeyed.
    """

    guarded = False
    life = 0.0
    computing = 0
    saved = ""
    hasty = False
    leaving = False


_process = _Process()


def active() -> bool:
    """Returns True if a guard ends this process at a second request to stop."""
    return _process.guarded


def alive() -> None:
    """Gives a sign of life: something went on, however slowly."""
    _process.life = time.monotonic()


@contextmanager
def computing() -> Iterator[None]:
    """Marks a computation, which a first request to stop does not cut short, however long it takes."""
    _process.computing += 1
    try:
        yield
    finally:
        _process.computing -= 1
        alive()


@contextmanager
def hastened() -> Iterator[None]:
    """Lets a first request to stop end this process after `HASTE` seconds, also in a computation, with status 0.

    This is for programs whose results can be cut short at any moment.
    """
    former, _process.hasty = _process.hasty, True
    try:
        yield
    except KeyboardInterrupt:
        _process.leaving = True
        raise
    finally:
        _process.hasty = former


def leave() -> None:
    """Ends this process at once with status 0 if a request of `hastened` was obeyed; otherwise does nothing.

    Python's own end takes seconds on a busy machine.
    """
    if _process.leaving:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(0)


def saved(text: str) -> None:
    """Notes what was saved last, a sentence for the message at an end without a last save."""
    _process.saved = text


@contextmanager
def guarded(program: str) -> Iterator[None]:
    """Guards this process: a second SIGINT, SIGTERM or SIGHUP ends it at once, with a message and status 128 + N.

    A first one ends it, too, after `PATIENCE` seconds without a sign of life outside of a computation. Files are
    written so that any end leaves the former or the new ones. Only signals that Python handles count: for all others
    the system's own action is enough.

    Outside the main thread, and within another guard, it does nothing.

    Args:
        program: Name of the program, for the message.
    """
    if _process.guarded or threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    former = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    _process.guarded, _process.computing, _process.saved, _process.leaving = True, 0, "", False
    thread = threading.Thread(target=_guard, args=(reading, program), name="stop guard", daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(former)
        _process.guarded = False
        os.close(writing)  # ends the thread
        thread.join()


def _guard(reading: int, program: str) -> None:
    first, since, compilers_ended = 0, 0.0, False
    while True:
        ready, _, _ = select.select([reading], [], [], _POLL if first else None)
        now = time.monotonic()
        numbers = os.read(reading, 1) if ready else b""
        if ready and not numbers:
            os.close(reading)
            return
        for number in numbers:
            if number not in _NUMBERS:
                continue
            if not first:
                first, since = number, now
            elif now - since >= SAME:
                _end(program, number, f"ended at once by another {signal.Signals(number).name}.")
        if not first:
            continue
        if not compilers_ended and now - since >= COMPILERS:
            compilers_ended = True
            _end_compilers()
        if _process.hasty and now - since >= HASTE:
            _end(program, 0, f"ended by {signal.Signals(first).name} within a computation.")
        if not _process.computing and now - max(since, _process.life) >= PATIENCE:
            name = signal.Signals(first).name
            _end(program, first, f"ended by {name}, after {PATIENCE:.0f} seconds of waiting for a disk or for data.")


def _end(program: str, number: int, text: str) -> None:
    """Ends the process with a message, even if nobody takes the message."""

    def say() -> None:
        with suppress(OSError):
            os.write(2, f"\n{program}: {text}{_process.saved and ' '}{_process.saved}\n".encode())

    speaker = threading.Thread(target=say, daemon=True)
    speaker.start()
    speaker.join(0.5)
    _end_compilers()
    os._exit(128 + number if number else 0)


def _end_compilers() -> None:
    """Ends the compilers that this process runs for MLX, whose end it waits for. MLX then raises an error.

    They would outlive the process, too.
    """
    for process in _descendants(os.getpid()):
        with suppress(OSError):
            if b"g++" in Path(f"/proc/{process}/cmdline").read_bytes():
                for each in [process, *_descendants(process)]:
                    with suppress(OSError):
                        os.kill(each, signal.SIGKILL)


def _descendants(process: int) -> list[int]:
    """Returns the processes that a process has started, and those that they have started; none without /proc."""
    found: list[int] = []
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):
            children = [int(number) for number in path.read_text().split()]
            found += [one for child in children for one in (child, *_descendants(child))]
    return found
