"""An open file that is kept while everything in it is read, since opening takes long."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from convlstm.datasets.readers.block_cache import identity

# The file that was opened last, and its key.
_kept = threading.local()


@contextmanager
def keep_open() -> Iterator[None]:
    """Keeps the file that was opened last open for further reading in this thread."""
    _kept.file = _kept.key = None
    try:
        yield
    finally:
        _close()
        del _kept.file


def keeps_open() -> bool:
    """Returns True within `keep_open`."""
    return hasattr(_kept, "file")


@contextmanager
def opened(path: Path, opener: Callable[[Path], Any]) -> Iterator[Any]:
    """Opens a file, or takes the one that is kept. It is closed at the end unless it is kept.

    Args:
        path: The file.
        opener: Opens the file and returns an object with a method `close`, the same function for the same kind.
    """
    if not keeps_open():
        file = opener(path)
        try:
            yield file
        finally:
            file.close()
        return
    key = (path, identity(path), opener)
    if _kept.key != key:
        _close()
        _kept.file, _kept.key = opener(path), key
    yield _kept.file


def _close() -> None:
    file, _kept.file, _kept.key = _kept.file, None, None
    if file is not None:
        file.close()
