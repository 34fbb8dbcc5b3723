"""Errors of writing: they name the file, and the full disk where a library hides it."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a full disk, or of a user's share of it."""
_PROBE = 1 << 20


def write_error(error: OSError | RuntimeError, path: Path) -> OSError:
    """Returns the error that a file could not be written, to raise before what was written of it is removed.

    Libraries tell a full disk as "Permission denied" (netCDF4) or without a reason, and few name the file.

    Args:
        error: The error of the library or the system.
        path: The file's final path.
    """
    number = getattr(error, "errno", None) or errno.EIO
    reason = getattr(error, "strerror", None)
    if number not in FULL and is_full(path.parent):
        number, reason = errno.ENOSPC, None
    if reason is None:
        reason = f"not written ({error})" if number == errno.EIO else os.strerror(number)
    return OSError(number, reason, str(path))


def is_full(folder: Path) -> bool:
    """Returns True if a small file cannot be written to a folder because its disk is full."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_PROBE))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno in FULL
    return False
