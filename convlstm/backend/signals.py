"""Requests to stop: Ctrl-C, SIGTERM and a closed terminal. The training loop obeys them between two steps."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

# SIGHUP reaches a program whose terminal or ssh connection has closed, and after Ctrl-C a rank on another machine.
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Collects SIGINT, SIGTERM and SIGHUP in a list, which it yields. A second SIGINT interrupts at once.

    SIGHUP is ignored if the program was started to survive it, with `nohup`. After SIGHUP nothing is written to the
    terminal, since that would fail.

    Outside the main thread, where Python cannot receive signals, the list stays empty.
    """
    received: list[int] = []
    open_terminals = terminals()

    def handler(number, frame):
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        if number == signal.SIGHUP:
            for descriptor in open_terminals:
                os.dup2(devnull, descriptor)
        received.append(number)

    handled = [n for n in STOPS if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]
    devnull = os.open(os.devnull, os.O_WRONLY)
    try:
        former = {number: signal.signal(number, handler) for number in handled}
    except ValueError:
        former = {}
    try:
        yield received
    finally:
        for number, old in former.items():
            signal.signal(number, old)
        os.close(devnull)


def terminals() -> list[int]:
    """Returns the descriptors of standard output and error that are a terminal."""
    return [descriptor for descriptor in (1, 2) if os.isatty(descriptor)]


def stop_came(received: list[int]) -> bool:
    """Waits for a moment after a failure, and returns True if a request to stop has come, which may explain it."""
    time.sleep(0.05)
    return bool(received)
