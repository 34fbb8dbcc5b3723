"""An open file that is kept while everything in it is read, since opening takes long."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from convlstm.datasets.readers.block_cache import identity

# The file that was opened last, and the part of a packed file that was unpacked last, with their keys.
_kept = threading.local()


@contextmanager
def keep_open() -> Iterator[None]:
    """Keeps the file that was opened last open for further reading in this thread."""
    _kept.files = {}
    try:
        yield
    finally:
        for packed in list(_kept.files):
            _close(packed)
        del _kept.files


def keeps_open() -> bool:
    """Returns True within `keep_open`."""
    return hasattr(_kept, "files")


@contextmanager
def opened(path: Path, opener: Callable[..., Any], *part: Any) -> Iterator[Any]:
    """Opens a file, or takes the one that is kept. It is closed at the end unless it is kept.

    Args:
        path: The file.
        opener: Opens the file and returns an object with a method `close`, the same function for the same kind.
        part: A part to unpack, a further argument of `opener`. A file is kept beside the part in which it lies.
    """
    if not keeps_open():
        file = opener(path, *part)
        try:
            yield file
        finally:
            file.close()
        return
    key, packed = (path, identity(path), opener, part), bool(part)
    if packed not in _kept.files or _kept.files[packed][0] != key:
        _close(packed)
        _kept.files[packed] = key, opener(path, *part)
    yield _kept.files[packed][1]


def _close(packed: bool) -> None:
    _, file = _kept.files.pop(packed, (None, None))
    if file is not None:
        file.close()
