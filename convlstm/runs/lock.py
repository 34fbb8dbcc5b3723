"""A lock on a run's folder: one process at a time trains in it. The lock ends with the process, however that ends."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCKED = (errno.EWOULDBLOCK, errno.EACCES)
"""Errors that mean that another process has the lock."""
PATIENCE = 0.5
"""Seconds that a start waits for a lock, since `is_locked` takes one for a moment."""


class RunInUseError(RuntimeError):
    """Another process trains in the folder."""


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Holds an exclusive lock on a run's folder, creating the folder if needed.

    On a file system without locks it does nothing.

    Raises:
        RunInUseError: Another process has the lock.
    """
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in LOCKED:
                    if time.monotonic() < end:
                        time.sleep(0.01)
                        continue
                    raise RunInUseError(
                        f"another process is training in '{folder}'. Wait until it ends or stop it, or choose another "
                        "folder (name=...)."
                    ) from None
            break
        yield
    finally:
        os.close(descriptor)


def is_locked(folder: Path) -> bool:
    """Returns True if a process, this one included, trains in a folder; False on a file system without locks."""
    import fcntl

    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in LOCKED
    finally:
        os.close(descriptor)
    return False
