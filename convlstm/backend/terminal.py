"""Output for a terminal, in which names and values from files cannot act: escape sequences are shown, not obeyed."""

from __future__ import annotations

import contextlib
import errno
import re
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from functools import partial
from typing import Any, TextIO

from convlstm.backend.signals import nobody_reads

# C0 without tab, line feed and carriage return; DEL and C1; marks that turn the direction of writing.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str, *, rewriting: bool = False) -> str:
    """Returns a text with control characters written as escapes, such as `\\x1b`.

    Args:
        text: The text.
        rewriting: If True, a carriage return stays, with which a progress bar rewrites its line. Default: False.
    """
    text = _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
    return text if rewriting else text.replace("\r", "\\r")


@contextlib.contextmanager
def printable_output() -> Iterator[None]:
    """Makes everything printable that is written to the standard output and the standard error."""
    with _through(_Printable, partial(_Printable, rewriting=True)):
        yield


class _Printable:
    """A stream that passes text on to another one, made printable."""

    def __init__(self, stream: TextIO, *, rewriting: bool = False):
        self._stream, self._rewriting = stream, rewriting

    def write(self, text: str) -> int:
        with _unread():
            self._stream.write(printable(text, rewriting=self._rewriting))
        return len(text)

    def flush(self) -> None:
        with _unread():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def dispensable_output() -> Iterator[None]:
    """Makes a program go on if the disk is full that its standard output or standard error are written to.

    Lines that do not fit are lost. This is for programs whose results are elsewhere and that must not end.
    """
    with _through(_Dispensable, _Dispensable):
        yield


class _Dispensable:
    """A stream that passes text on to another one, if there is room."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        with _no_room():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with _no_room():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def timed_output() -> Iterator[None]:
    """Begins each line of the standard output and the standard error with the time (UTC)."""
    with _through(_Timed, _Timed):
        yield


class _Timed:
    """A stream that passes text on to another one, with the time before each line."""

    def __init__(self, stream: TextIO):
        self._stream, self._at_start = stream, True

    def write(self, text: str) -> int:
        moment = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ ")
        for line in text.splitlines(keepends=True):
            self._stream.write(f"{moment}{line}" if self._at_start and line.strip() else line)
            self._at_start = line.endswith("\n")
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _through(out: Callable[[TextIO], Any], err: Callable[[TextIO], Any]) -> Iterator[None]:
    """Puts a stream of one's own in front of the standard output, and one in front of the standard error."""
    with contextlib.ExitStack() as stack:
        if sys.stdout is not None:  # None if the program was started with it closed
            stack.enter_context(contextlib.redirect_stdout(out(sys.stdout)))
        if sys.stderr is not None:
            stack.enter_context(contextlib.redirect_stderr(err(sys.stderr)))
        yield


@contextlib.contextmanager
def _no_room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise


@contextlib.contextmanager
def _unread() -> Iterator[None]:
    """Turns the error that nobody reads the output any more into a request to stop, where those are obeyed."""
    try:
        yield
    except BrokenPipeError:
        if not nobody_reads():
            raise
