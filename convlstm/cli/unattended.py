"""What a program needs that runs unattended: an end within a second, patience at the start, and exit statuses."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from convlstm.backend import stop_guard
from convlstm.backend.full_disk import FULL
from convlstm.backend.program_frame import end_if_nobody_reads
from convlstm.cli.errors import message
from convlstm.cli.program import fail

T = TypeVar("T")

NO_FRAMES, TOO_OLD, NOT_WRITTEN = 3, 4, 5
"""Exit statuses of `forecast`: there are not enough frames, the newest is too old, the forecast cannot be written."""


@contextmanager
def failing_with(status: int, settings: Any) -> Iterator[None]:
    """Ends the program with an exit status and a message if a file cannot be read or written in the block.

    A file of something else in the way keeps its own status: time does not change that.
    """
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        end_if_nobody_reads(error)
        fail(message(error, settings), status)


@contextmanager
def stoppable() -> Iterator[None]:
    """Ends the block at SIGTERM or Ctrl-C, and goes on after it. In the main thread only.

    A computation that does not end within a second ends with the whole process, with status 0: files are complete or
    not there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with suppress(KeyboardInterrupt), stop_guard.hastened():
            yield
    finally:
        signal.signal(signal.SIGTERM, former)


def wait_for(make: Callable[[], T], interval: float, beat: Callable[[], None] = lambda: None) -> T:
    """Returns the result of a function as soon as the files exist that it needs, and the disk has room.

    Args:
        make: The function. FileNotFoundError and the error of a full disk mean that it is called again; the reason is
            printed once.
        interval: Seconds between two calls.
        beat: Called before each pause. Default: nothing.
    """
    said = ""
    while True:
        try:
            return make()
        except OSError as error:
            if not isinstance(error, FileNotFoundError) and error.errno not in FULL:
                raise
            if str(error) != said:
                print(f"waiting     {error}")
            said = str(error)
        beat()
        time.sleep(interval)
