"""The frame of every command: its standard streams, what it prints, and its end at Ctrl-C or without a reader."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NoReturn

from convlstm.backend.signals import is_read
from convlstm.backend.stop_guard import guarded
from convlstm.backend.terminal import printable_output


@contextmanager
def framed(program: str, *, guard: bool = True) -> Iterator[None]:
    """Runs a command: closed streams are replaced, all output is printable, and Ctrl-C ends it with a message.

    Its exit status is 130 after Ctrl-C, and 141 if nobody reads its output any more, such as `head` after ten lines.

    Args:
        program: The program's name in messages.
        guard: False to leave it to the caller to guard the process, see `stop_guard.guarded`. Default: True.
    """
    open_streams()
    if threading.current_thread() is threading.main_thread():
        # Python's own end would print a traceback of Ctrl-C.
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with printable_output():
        try:
            with guarded(program) if guard else nullcontext():
                yield
            sys.stdout.flush()
        except BrokenPipeError as error:
            end_if_nobody_reads(error)
            raise
        except KeyboardInterrupt:
            end_interrupted(program)


def end_interrupted(program: str) -> NoReturn:
    """Ends the program after Ctrl-C, with a message and exit status 130."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one would interrupt the message
    print(f"\n{program}: interrupted.", file=sys.stderr)
    sys.exit(128 + signal.SIGINT)


def open_streams() -> None:
    """Opens the null device in place of each standard stream that the program was started without (`>&-`).

    Otherwise the next file that the program opens would take its place.
    """
    streams = ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w"))
    missing = [stream for stream in streams if getattr(sys, stream[1]) is None]
    opened = -1
    while missing and opened < missing[-1][0]:  # a new descriptor is the lowest free one
        opened = os.open(os.devnull, os.O_RDWR)
    if opened > 2:
        os.close(opened)
    for _, name, mode in missing:
        setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 (until the process ends)


def end_if_nobody_reads(error: BaseException) -> None:
    """Ends the program silently if an error says that nobody reads its output any more. The exit status is 141."""
    if isinstance(error, BrokenPipeError) and not is_read(sys.stdout.fileno()):  # else it was another pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
        sys.exit(128 + signal.SIGPIPE)
