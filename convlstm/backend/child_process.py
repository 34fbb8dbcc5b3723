"""A Python process that runs functions for this one, so that files from elsewhere can neither end nor block this one.

A C library that loops, crashes or asks for all memory, as some do for a damaged file, ends the other process only.
"""

from __future__ import annotations

import atexit
import io
import os
import pickle
import select
import signal
import subprocess
import sys
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from convlstm.backend import messages
from convlstm.backend.child_main import PATIENCE
from convlstm.backend.python_process import command

LIMIT = "CONVLSTM_READ_SECONDS"
_DEFAULT_SECONDS = 4.0
# Seconds that the process has beyond the limit until this one ends it, and for its imports.
_GRACE, _IMPORTS = 3.0, 60.0
# A request that is as short as this fits into a pipe that nobody reads.
_SHORT = 4096
_PIPE_BYTES = 1 << 20
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ of Linux, which Python 3.9 does not name
# Imports are a tenth faster without the collection of garbage. The package's own file imports more than a process needs
# that only reads data: a BLAS and MLX.
_CODE = """
import gc, os, types
gc.disable()
package = sys.modules["convlstm"] = types.ModuleType("convlstm")
package.__path__ = [os.path.join(sys.argv[1], "convlstm")]
from convlstm.backend.child_main import main
main(sys.argv[2:])
"""


class ChildError(Exception):
    """A function has not returned everything."""


class EndedError(ChildError):
    """The process has ended, or was ended. The text says why, after the name of a file."""


class RaisedError(ChildError):
    """The function has raised an error.

    Attributes:
        name: Name of the error's class.
    """

    def __init__(self, name: str, text: str):
        super().__init__(text)
        self.name = name


class NoChildError(ChildError):
    """The process cannot be started, or does not find the function. The text says why."""


def seconds_of_step() -> float:
    """Returns the limit of a step in seconds of processor time: `CONVLSTM_READ_SECONDS`, or 4.

    Raises:
        ValueError: If the variable is no positive number.
    """
    text = os.environ.get(LIMIT, "")
    try:
        seconds = float(text or _DEFAULT_SECONDS)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise ValueError(f"[convlstm] {LIMIT} must be a number of seconds above 0 but got {text!r}.")
    return seconds


class ChildProcess:
    """A process that runs generator functions, one after the other. One thread may use it.

    It imports what it needs, but neither MLX nor the main module of this process. Start it with `request`.

    Args:
        modules: Names of modules that it imports before the first request.

    Attributes:
        seconds: Processor time of the process up to its last message, without that of imports of libraries.
    """

    def __init__(self, *modules: str):
        self._pid = os.getpid()
        self._ready = False
        # Seconds of the requests that have no answer yet.
        self._requests: deque[float] = deque()
        self._heard = self.seconds = 0.0
        if not sys.executable:
            raise NoChildError("the Python program is not known")
        root = str(Path(__file__).resolve().parents[2])
        try:
            # Without `site`, since the search path is given.
            program, *arguments = command(_CODE, root, *modules)
            self._process = subprocess.Popen(
                [program, "-S", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
        except OSError as error:
            raise NoChildError(str(error)) from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = cast(io.RawIOBase, self._process.stdin), cast(io.RawIOBase, self._process.stdout)
        self._poll = select.poll()
        self._poll.register(self._output, select.POLLIN)
        with suppress(OSError, ImportError):
            import fcntl

            fcntl.fcntl(self._output, _SET_PIPE_SIZE, _PIPE_BYTES)
        _started.add(self)

    @property
    def usable(self) -> bool:
        """True if it is idle and belongs to this process, not to one from which this one was forked."""
        return self._pid == os.getpid() and not self._requests and self._process.poll() is None

    def fileno(self) -> int:
        return self._output.fileno()

    @property
    def deadline(self) -> float:
        """The time at which this process ends the other one unless a message has come, by `time.monotonic`."""
        return self._heard + PATIENCE * self._requests[0] + _GRACE + (0 if self._ready else _IMPORTS)

    @property
    def silence(self) -> float:
        """Seconds since the last message, or since the time up to which it may be silent."""
        return time.monotonic() - self._heard

    def request(self, function: Callable[..., Iterator[Any]], *arguments: Any, seconds: float | None = None) -> bool:
        """Asks for the values of a generator function. It is called once those of earlier requests are complete.

        Args:
            function: A function of a module. It yields what `convlstm.backend.messages.pack` takes.
            arguments: Its arguments, which can be pickled.
            seconds: Time limit of each step up to a value. Default: `seconds_of_step()`.

        Returns:
            False if the request is too long to be sent before the values of earlier ones have been received.

        Raises:
            NoChildError: If the function or an argument cannot be sent.
        """
        seconds = seconds_of_step() if seconds is None else seconds
        try:
            request = pickle.dumps((seconds, function, arguments))
        except Exception as error:
            raise NoChildError(str(error)) from error
        if self._requests and (len(request) > _SHORT or len(self._requests) > 1):
            return False
        if not self._requests:
            self._heard = time.monotonic()
        self._requests.append(seconds)
        content = memoryview(len(request).to_bytes(8, "little") + request)
        try:
            while len(content):
                content = content[self._input.write(content) or 0 :]
        except OSError:  # the process has ended, which `receive` will find
            pass
        except BaseException:
            self.stop()
            raise
        return True

    def receive(self) -> tuple[bool, Any]:
        """Returns True and the next value of the first request, or False and None after its last value.

        Raises:
            RaisedError: If the function has raised an error. The request is over.
            EndedError: If the process has ended, or the limit is over. It cannot be used any more.
            NoChildError: If the process does not work, or does not find the function.
        """
        try:
            while True:
                kind, value, self.seconds = messages.unpack(self._fill)
                self._heard, self._ready = time.monotonic(), True
                if kind == "busy":
                    self._heard += _IMPORTS
                elif kind != "ready":
                    break
        except (messages.MessageError, ValueError):
            self._raise_ended()
        except BaseException:  # also Ctrl-C: the rest of the message would be taken for the next one
            self.stop()
            raise
        if kind == "value":
            return True, value
        self._requests.popleft()
        if kind == "raised":
            raise RaisedError(*map(str, value))
        if kind == "unknown":
            raise NoChildError(str(value))
        return False, None

    def values(
        self, function: Callable[..., Iterator[Any]], *arguments: Any, seconds: float | None = None
    ) -> Iterator[Any]:
        """Yields the values of a generator function; `request` and `receive` list arguments and errors."""
        self.request(function, *arguments, seconds=seconds)
        try:
            while True:
                more, value = self.receive()
                if not more:
                    return
                yield value
        finally:
            if self._requests:
                self.stop()

    def stop(self) -> None:
        """Ends the process."""
        for pipe in (self._input, self._output):
            with suppress(OSError):
                pipe.close()
        if self._pid != os.getpid():  # it belongs to the process from which this one was forked
            return
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            # A process that waits for a dead disk cannot be ended. Python asks for its end when it starts another one.
            self._process.wait(1.0)
        _started.discard(self)

    def _fill(self, buffer: memoryview) -> None:
        while len(buffer):
            if not self._poll.poll(max(0.0, self.deadline - time.monotonic()) * 1000):
                self._raise_ended(late=True)
            count = self._output.readinto(buffer)
            if not count:
                self._raise_ended()
            buffer = buffer[count:]

    def _raise_ended(self, late: bool = False) -> None:
        seconds = self._requests[0]
        with suppress(subprocess.TimeoutExpired):
            if not late:  # what has closed its pipe is about to end
                self._process.wait(1.0)
        code = self._process.poll()
        self.stop()
        if late or code in (-signal.SIGALRM, -signal.SIGPROF):
            raise EndedError(f"took more than {seconds:g} s. For a slow disk set {LIMIT} to more seconds")
        if not self._ready:
            raise NoChildError(f"it ended at once, with {_name_of(code)}")
        memory = ", perhaps for lack of memory" if code == -signal.SIGKILL else ""
        raise EndedError(f"ended the process that read it, with {_name_of(code)}{memory}; it may be damaged")


def _name_of(code: int | None) -> str:
    try:
        return signal.Signals(-(code or 0)).name
    except ValueError:
        return f"status {code}"


_started: weakref.WeakSet[ChildProcess] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    for child in list(_started):
        child.stop()
