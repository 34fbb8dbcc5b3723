"""Requests to stop, such as Ctrl-C, SIGTERM or a closed terminal. The training loop obeys them between two steps."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from convlstm.backend import stop_guard

# SIGHUP reaches a program whose terminal or ssh connection has closed, and after Ctrl-C a rank on another machine.
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
REQUESTS = (*STOPS, signal.SIGPIPE)
"""Numbers in the list of `stop_requests`. SIGPIPE is not received: it stands for an output that nobody reads."""


class StopRequested(BaseException):
    """A request to stop that came while the program waited, see `interruptible`."""


class _Requests(list[int]):
    """The requests so far.

    Attributes:
        waiting: True while the program waits for something that it can do without.
    """

    waiting = False


_current: _Requests | None = None


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Collects SIGINT, SIGTERM and SIGHUP in a list, which it yields, and SIGPIPE if nobody reads the output any more.

    A second SIGINT interrupts at once, unless a `stop_guard` ends the process at a second request.

    SIGHUP is ignored if the program was started to survive it, with `nohup`. After SIGHUP nothing is written to the
    terminal, since that would fail.

    Outside the main thread, where Python cannot receive signals, the list stays empty.
    """
    global _current
    received, outer = _Requests(), _current
    open_terminals = terminals()

    def handler(number, frame):
        if received and stop_guard.active():
            return  # it ends the process, unless this is the same request once more
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        if number == signal.SIGHUP:
            for descriptor in open_terminals:
                os.dup2(devnull, descriptor)
        received.append(number)
        if received.waiting:
            raise StopRequested

    handled = [n for n in STOPS if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]
    devnull = os.open(os.devnull, os.O_WRONLY)
    try:
        former = {number: signal.signal(number, handler) for number in handled}
    except ValueError:
        former = {}
    else:
        _current = received
    try:
        yield received
    finally:
        _current = outer
        for number, old in former.items():
            signal.signal(number, old)
        os.close(devnull)


@contextmanager
def interruptible(*, pending: bool = True) -> Iterator[None]:
    """Marks a wait for something that a program can do without when it stops, such as the next batch.

    Args:
        pending: False if a request that has come before does not count. Default: True.

    Raises:
        StopRequested: A request to stop comes during the wait, or has come before it.
    """
    requests = _current
    if requests is None:
        yield
        return
    requests.waiting = True
    try:
        if requests and pending:
            raise StopRequested
        yield
    finally:
        requests.waiting = False


def nobody_reads() -> bool:
    """Returns True if the program goes on without an output that nobody reads any more, False if it ends.

    It goes on within `stop_requests`, which get a request to stop as by a closed terminal, and under `nohup`.
    """
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    if _current is None and not ignored:
        return False
    devnull = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        if not is_read(stream):
            os.dup2(devnull, stream)
    os.close(devnull)
    if _current is not None and not _current and not ignored:
        _current.append(signal.SIGPIPE)
    return True


def is_read(descriptor: int) -> bool:
    """Returns False if a descriptor is a pipe or a socket whose other end has been closed."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    # A descriptor that is closed itself reports POLLNVAL.
    return not any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


def terminals() -> list[int]:
    """Returns the descriptors of standard output and error that are a terminal."""
    return [descriptor for descriptor in (1, 2) if os.isatty(descriptor)]


def stop_came(received: list[int]) -> bool:
    """Waits for a moment after a failure, and returns True if a request to stop has come, which may explain it."""
    time.sleep(0.05)
    return bool(received)
