"""The child processes that are kept for the next request, and jobs that several of them do."""

from __future__ import annotations

import os
import select
import threading
import time
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from convlstm.backend.child_process import ChildError, ChildProcess, EndedError, NoChildError, RaisedError

_MOST = min(2, os.cpu_count() or 1)
# A second process costs two tenths of a second of computing. It is started once the first one has worked for `_SOON`
# seconds of processor time, if more than `_WORTH_IT` seconds of it seem to be left, or has been silent for `_SILENT`
# seconds.
_SOON, _WORTH_IT, _SILENT = 0.1, 1.5, 2.0
_lock = threading.RLock()
_idle: list[ChildProcess] = []
_holders = 0
_warned = False


class Hold:
    """Keeps child processes for later requests, until it is closed or deleted. It is a context manager."""

    def __init__(self):
        global _holders
        with _lock:
            _holders += 1
        self.close = weakref.finalize(self, _release, os.getpid())

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def start_ahead(*modules: str) -> None:
    """Starts a child process for the requests to come. It ends with the first `Hold` that ends, or with this process.

    Args:
        modules: Names of modules that it imports meanwhile.
    """
    with _lock, suppress(NoChildError):  # a request will say what is wrong
        _idle.append(ChildProcess(*modules))


def renew() -> None:
    """Ends the processes that are kept, so that the next ones start with the environment variables of now."""
    with _lock:
        while _idle:
            _idle.pop().stop()


def call(function: Callable[..., Iterator[Any]], *arguments: Any, seconds: float | None = None) -> Any:
    """Returns the first value of a generator function that runs in a child process.

    If no child process can be started, it runs in this process, with one warning.

    Args:
        function: A function of a module. It yields what `convlstm.backend.messages.pack` takes.
        arguments: Its arguments, which can be pickled.
        seconds: Time limit. Default: `convlstm.backend.child_process.seconds_of_step()`.

    Raises:
        RaisedError: If the function has raised an error.
        EndedError: If the process has ended, or the limit is over.
    """
    try:
        child = _take()
        try:
            (value,) = child.values(function, *arguments, seconds=seconds)
            return value
        finally:
            _give_back(child)
    except NoChildError as error:
        _warn(error)
        (value,) = _here(function, arguments)
        return value


@dataclass
class _Job:
    key: Any
    function: Callable[..., Iterator[Any]]
    arguments: tuple[Any, ...]


class Jobs:
    """Generator functions that run in up to two child processes. Iterating yields what comes from them.

    An item is the key of a job, and a value of its function; or the key and None after its last value; or the key and
    a `RaisedError` or `EndedError`, which is the job's last item. Jobs may be added meanwhile. If no child process can
    be started, they run in this process, with one warning.
    """

    def __init__(self) -> None:
        self._waiting: deque[_Job] = deque()
        self._working: dict[ChildProcess, deque[_Job]] = {}
        self._here = False
        # Jobs that have been finished after the first one, which takes longer, and the processor time of the process at
        # the end of that one; before, -1 and the time at its first value.
        self._done = -1
        self._begun: float | None = None

    def add(self, key: Any, function: Callable[..., Iterator[Any]], *arguments: Any) -> None:
        """Adds a job; `call` describes function and arguments."""
        self._waiting.append(_Job(key, function, arguments))

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        try:
            while self._waiting or any(self._working.values()):
                if self._here:
                    yield from self._run_here()
                    continue
                if self._waiting and self._needs_another():
                    self._start()
                self._send()
                for child in self._ready():
                    yield from self._received(child)
        finally:
            for child in self._working:
                _give_back(child)
            self._working.clear()

    def _needs_another(self) -> bool:
        if len(self._working) in (0, _MOST):
            return not self._working
        (child,) = self._working
        if self._begun is None:
            return False
        worked = child.seconds - self._begun
        if self._done > 0:
            left = worked / self._done * len(self._waiting) if worked > _SOON else 0.0
        else:
            left = worked
        return left > _WORTH_IT or child.silence > _SILENT

    def _start(self) -> None:
        try:
            self._working[_take()] = deque()
        except NoChildError as error:
            self._give_up(error)

    def _send(self) -> None:
        """Sends each process the next job ahead, so that it does not wait for this one."""
        for child, jobs in list(self._working.items()):
            while self._waiting and len(jobs) < 2:
                job = self._waiting[0]
                try:
                    if not child.request(job.function, *job.arguments):
                        break
                except NoChildError as error:
                    self._give_up(error)
                    return
                jobs.append(self._waiting.popleft())

    def _ready(self) -> list[ChildProcess]:
        """Waits until something has come, or a process is late; returns the processes of which this is true."""
        busy = [child for child, jobs in self._working.items() if jobs]
        if len(busy) == 1 and (len(self._working) == _MOST or not self._waiting):
            return busy  # which waits by itself
        poll = select.poll()
        for child in busy:
            poll.register(child, select.POLLIN)
        wait = min((child.deadline for child in busy), default=0.0) - time.monotonic()
        if len(self._working) < _MOST and self._waiting:
            wait = min(wait, _SOON)
        came = {descriptor for descriptor, _ in poll.poll(max(0.0, wait) * 1000)}
        return [child for child in busy if child.fileno() in came or child.deadline <= time.monotonic()]

    def _received(self, child: ChildProcess) -> Iterator[tuple[Any, Any]]:
        jobs = self._working[child]
        job = jobs[0]
        try:
            more, value = child.receive()
        except NoChildError as error:
            self._give_up(error)
            return
        except EndedError as error:
            del self._working[child]
            self._begun, self._done = None, -1
            jobs.popleft()
            self._waiting.extendleft(reversed(jobs))
            yield job.key, error
            return
        except RaisedError as error:
            jobs.popleft()
            value = error
        else:
            if not more:
                jobs.popleft()
                self._done += 1
            if self._begun is None or (self._done == 0 and not more):
                self._begun = child.seconds
        yield job.key, value

    def _give_up(self, error: NoChildError) -> None:
        """Does the rest in this process. Jobs that have been begun begin anew."""
        _warn(error)
        self._here = True
        for child, jobs in self._working.items():
            child.stop()
            self._waiting.extendleft(reversed(jobs))
        self._working.clear()

    def _run_here(self) -> Iterator[tuple[Any, Any]]:
        job = self._waiting.popleft()
        try:
            for value in _here(job.function, job.arguments):
                yield job.key, value
        except ChildError as error:
            yield job.key, error
        else:
            yield job.key, None


def _here(function: Callable[..., Iterator[Any]], arguments: tuple[Any, ...]) -> Iterator[Any]:
    values = function(*arguments)
    while True:
        try:
            value = next(values)
        except StopIteration:
            return
        except Exception as error:
            raise RaisedError(type(error).__name__, str(error)) from error
        yield value


def _take() -> ChildProcess:
    with _lock:
        while _idle:
            child = _idle.pop()
            if child.usable:
                return child
            child.stop()
    return ChildProcess()


def _give_back(child: ChildProcess) -> None:
    with _lock:
        if _holders > 0 and child.usable and len(_idle) < _MOST:
            _idle.append(child)
            return
    child.stop()


def _release(pid: int) -> None:
    global _holders
    with _lock:
        _holders -= pid == os.getpid()  # not the holders in the process from which this one was forked
        while _holders == 0 and _idle:
            _idle.pop().stop()


def _warn(error: NoChildError) -> None:
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            f"[convlstm] files are read in this process, which a damaged one may block or end, since no other Python "
            f"process can be started ({error}).",
            stacklevel=3,
        )


def _after_fork() -> None:
    """Lets a forked process start its own processes, also if another thread had the lock."""
    global _lock, _holders
    _lock, _holders = threading.RLock(), 0
    while _idle:
        _idle.pop().stop()


os.register_at_fork(after_in_child=_after_fork)
