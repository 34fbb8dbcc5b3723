"""Results of a function, computed ahead in background threads that nobody ever waits for."""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")
# Seconds that Python's exit grants to calls that still run. Foreign code in C++ may abort the process if its thread is
# stopped in the middle, so short calls are given time to end; a call that is blocked for good is left behind.
_LAST_CALLS = 1.0


class _Shared:
    """State that the consumer and the background threads share.

    It has no lock: a queue's `put` may be called from anywhere, also by the garbage collector in the middle of another
    `put` or `get` of the same queue, and assignments to a dict are atomic. So nothing here can wait for a thread.

    Attributes:
        closed: True if no further call is wanted.
        tasks: Numbers for which the function is to be called; None ends a thread.
        ready: The result and the error by number.
        arrivals: One item for each number that became ready, to wake the consumer.
        threads: The background threads.
    """

    def __init__(self) -> None:
        self.closed = False
        self.tasks: SimpleQueue[int | None] = SimpleQueue()
        self.ready: dict[int, tuple[Any, BaseException | None]] = {}
        self.arrivals: SimpleQueue[None] = SimpleQueue()
        self.threads: list[threading.Thread] = []

    def stop(self) -> None:
        """Ends every thread after the call that it is in, and wakes the consumer."""
        self.closed = True
        for _ in self.threads:
            self.tasks.put(None)
        self.arrivals.put(None)


_ALL: weakref.WeakSet[_Shared] = weakref.WeakSet()


class Prefetch(Generic[T]):
    """An iterator over `function(number)` for some numbers, in their order, computed ahead in background threads.

    An exception of the function is raised unchanged at its number, with its traceback; nothing is yielded after it. The
    threads end when the numbers are used up, at an exception, by `close`, and when the iterator is dropped. Each ends
    after the call that it is in, and neither `close` nor dropping waits for that: a call that never returns keeps
    neither the caller nor the end of the process waiting. A signal interrupts the wait for a result.

    Args:
        function: Maps a number to a result. It runs in several threads at a time if `threads` is above 1.
        numbers: The numbers.
        ahead: Results to compute ahead of the one that was yielded last, at least 1.
        threads: Background threads, at least 1.
    """

    def __init__(self, function: Callable[[int], T], numbers: range, *, ahead: int, threads: int):
        self._numbers, self._position = numbers, 0
        self._ahead = min(ahead, len(numbers))
        # The threads refer to `shared`, never to `self`: dropping the iterator must be enough to stop them.
        self._shared = shared = _Shared()
        self._stop = weakref.finalize(self, shared.stop)
        self._stop.atexit = False  # `_leave` does it
        for number in numbers[: self._ahead]:
            shared.tasks.put(number)
        for _ in range(min(threads, self._ahead)):
            thread = threading.Thread(target=_work, args=(shared, function), name="prefetch", daemon=True)
            thread.start()
            shared.threads.append(thread)
        _ALL.add(shared)

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Prefetch[T]:
        return self

    def __next__(self) -> T:
        shared = self._shared
        if shared.closed or self._position == len(self._numbers):
            self.close()
            raise StopIteration
        number = self._numbers[self._position]
        # If a signal interrupts this at any line, the next call starts again with the same number.
        while number not in shared.ready:
            if shared.closed:
                raise StopIteration
            shared.arrivals.get()
        if self._position + self._ahead < len(self._numbers):
            shared.tasks.put(self._numbers[self._position + self._ahead])
        self._position += 1
        result, error = shared.ready.pop(number)
        if error is not None:
            self.close()
            try:
                raise error
            finally:
                del error  # its traceback refers to this frame
        return result

    def close(self) -> None:
        """Stops the threads, without waiting for calls that have begun. It may be called twice, and from a thread."""
        self._stop()


def _work(shared: _Shared, function: Callable[[int], Any]) -> None:
    while (number := shared.tasks.get()) is not None and not shared.closed:
        try:
            shared.ready[number] = function(number), None
        except StopIteration as error:  # it would end the loop over the results without a word
            wrapped = RuntimeError(f"the function of number {number} raised StopIteration: {error}")
            wrapped.__cause__ = error
            shared.ready[number] = None, wrapped
        except BaseException as error:
            shared.ready[number] = None, error
        shared.arrivals.put(None)


@atexit.register
def _leave() -> None:
    """Stops all threads when Python ends, and grants the calls that still run a moment."""
    everything = list(_ALL)
    for shared in everything:
        shared.stop()
    deadline = time.monotonic() + _LAST_CALLS
    for thread in [thread for shared in everything for thread in shared.threads]:
        thread.join(max(0.0, deadline - time.monotonic()))
