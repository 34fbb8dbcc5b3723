"""Opening of plain files only: pipes, devices and sockets may block for ever, or do more than to be read."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from convlstm.datasets.readers.errors import UnreadableError

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_plain(path: Path) -> None:
    """Raises UnreadableError if `path` is not a plain file or a link to one, and OSError if it does not exist."""
    _check(path.stat().st_mode)


def open_plain(path: Path) -> BinaryIO:
    """Opens a plain file, or a link to one, to read bytes.

    Raises:
        OSError: If it does not exist or may not be read.
        UnreadableError: If it is a pipe, a device, a socket or a folder. It is not opened, so nothing waits for it.
    """
    check_plain(path)
    # If a pipe has just taken the file's place, this does not wait for somebody to write into it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        _check(os.fstat(descriptor).st_mode)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _check(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise UnreadableError(f"is {_KINDS.get(stat.S_IFMT(mode), 'something else')}, not a plain file")
