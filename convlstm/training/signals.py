"""Requests to stop: Ctrl-C and SIGTERM, which the training loop heeds between two steps."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

STOPS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM in the list that it gives; a second SIGINT interrupts at once.

    Outside the main thread, where Python cannot receive signals, the list stays empty.
    """
    received: list[int] = []

    def handler(number, frame):
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    try:
        former = {number: signal.signal(number, handler) for number in STOPS}
    except ValueError:
        former = {}
    try:
        yield received
    finally:
        for number, old in former.items():
            signal.signal(number, old)


def came(received: list[int]) -> bool:
    """Whether a request to stop came, in time or together with the failure that makes this a question."""
    time.sleep(0.05)
    return bool(received)
