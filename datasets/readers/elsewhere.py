"""Reading of files from elsewhere in another process: no damaged file can end or block this one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from convlstm.backend.child_pool import call
from convlstm.backend.child_process import ChildError, RaisedError
from convlstm.datasets.readers import Contents, MissingLibraryError, Reader, ReadError, jobs
from convlstm.datasets.readers.errors import printable

import numpy as np


def format_of(path: Path, readers: Sequence[Reader]) -> str:
    """Returns the format of a file, or `""` if no reader recognises it.

    Raises:
        ReadError: If a library has crashed, or has not come to an end.
    """
    try:
        return str(call(jobs.format_of, path.absolute(), readers))
    except ChildError as error:
        raise read_error(error, path) from error


def contents(path: Path, reader: Reader) -> Contents:
    """Returns the times and the grid of a file; the errors are those of `Reader.contents`, also after a crash."""
    try:
        return jobs.from_record(call(jobs.contents, path.absolute(), reader))
    except ChildError as error:
        raise read_error(error, path, reader) from error


def read(path: Path, position: int, reader: Reader) -> np.ndarray:
    """Returns frame `position` of a file; the errors are those of `Reader.read`, also after a crash."""
    try:
        frame: np.ndarray = call(jobs.read, path.absolute(), position, reader)
        return frame
    except ChildError as error:
        raise read_error(error, path, reader) from error


def read_error(error: ChildError, path: Path, reader: Reader | None = None) -> ReadError:
    """Returns the error of a reader in another process as if it had been raised in this one."""
    if isinstance(error, RaisedError) and error.name == MissingLibraryError.__name__:
        return MissingLibraryError(str(error))
    if isinstance(error, RaisedError) and error.name == ReadError.__name__:
        return ReadError(str(error))
    reason = f"cannot be read ({error.name}: {error})" if isinstance(error, RaisedError) else str(error)
    return ReadError(printable(f"[{'recognise' if reader is None else reader.format}] {path} {reason}."))
