"""One process at a time trains in a folder: a lock on it that ends with the process, however that ends."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BUSY = (errno.EWOULDBLOCK, errno.EACCES)


class RunInUseError(RuntimeError):
    """Another process trains in this folder."""


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Meanwhile this process is the only one that trains in a folder, which is made where it is not there.

    Where the file system knows no locks, nothing is held.

    Raises:
        RunInUseError: Another process holds it.
    """
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in BUSY:
                raise RunInUseError(
                    f"another process is training in '{folder}'. Wait until it ends or stop it, or choose another "
                    "name=..."
                ) from None
        yield
    finally:
        os.close(descriptor)


def held(folder: Path) -> bool:
    """Whether a process, this one included, trains in a folder. False also where the file system knows no locks."""
    import fcntl

    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in BUSY
    finally:
        os.close(descriptor)
    return False
