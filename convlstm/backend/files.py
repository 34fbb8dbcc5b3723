"""Files that survive a crash: they are flushed to the disk and identified by their size and SHA-256."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
import secrets
import shutil
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from convlstm.backend.full_disk import FULL, write_error
from convlstm.backend.stop_guard import alive

try:
    from fcntl import F_FULLFSYNC, fcntl  # type: ignore[attr-defined]  # on macOS fsync stops at the drive's cache
except ImportError:
    F_FULLFSYNC = None

# Errors of file systems that cannot flush a folder.
UNABLE = (errno.EINVAL, errno.ENOTSUP, errno.EACCES)
BLOCK = 1 << 20
DAY = 24 * 3600
# Bytes after which a file is flushed, so that each flush of a slow disk takes seconds, not minutes.
PORTION = 64 << 20


class DurableFile:
    """A new file that is on the disk when its `with` block ends. Every failed write raises OSError.

    Args:
        path: The file, which must not exist.
    """

    def __init__(self, path: Path):
        self.path, self.size, self._flushed = path, 0, 0
        self._digest = hashlib.sha256()
        self._file = path.open("xb")

    def write(self, data: bytes) -> int:
        """Appends bytes."""
        self._digest.update(data)
        self.size += len(data)
        written = self._file.write(data)
        if self.size - self._flushed >= PORTION:
            self._flushed = self.size
            self._file.flush()
            sync(self._file.fileno())
        alive()
        return written

    # Methods that `mx.save_safetensors` needs besides `write`.
    def tell(self) -> int:
        """Returns the number of bytes written so far."""
        return self.size

    def read(self, *_: Any) -> bytes:
        """Returns no bytes, since the file is for writing."""
        return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        """Does nothing, since the file is always at its end."""
        return self.size

    @property
    def closed(self) -> bool:
        """True if the file has been closed."""
        return self._file.closed

    def __enter__(self) -> DurableFile:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        try:
            if kind is None:
                self._file.flush()
                sync(self._file.fileno())
        finally:
            with suppress(*(() if kind is None else (OSError,))):  # the first error is the one that counts
                self._file.close()
        if kind is None and (size := self.path.stat().st_size) != self.size:
            raise OSError(errno.EIO, f"{size:,} of {self.size:,} bytes were kept", str(self.path))

    def record(self) -> dict[str, Any]:
        """Returns the file's size and SHA-256."""
        return {"bytes": self.size, "sha256": self._digest.hexdigest()}


def record(path: Path) -> dict[str, Any]:
    """Returns a file's size and SHA-256."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            size += len(block)
    return {"bytes": size, "sha256": digest.hexdigest()}


def sync(descriptor: int) -> None:
    """Flushes an open file to the disk itself."""
    alive()
    try:
        if F_FULLFSYNC is not None:
            with suppress(OSError):  # network drives do not support it
                fcntl(descriptor, F_FULLFSYNC)
                return
        os.fsync(descriptor)
    finally:
        alive()


def sync_folder(folder: Path) -> None:
    """Flushes a folder, so that renames in it last. Does nothing if the file system cannot flush folders."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            sync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in UNABLE:
            raise


def replace(path: Path, text: str) -> None:
    """Replaces a text file. If anything fails, the former file is unchanged.

    Several processes may replace the same file at once: each writes to a temporary file of its own.
    """
    with replacing(path) as temporary, DurableFile(temporary) as file:
        file.write(text.encode())
    sync_folder(path.parent)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path, whose file replaces `path` at the end, or is removed if anything fails.

    Raises:
        OSError: The file cannot be written; the error names `path`.
    """
    temporary = temporary_of(path)
    remove_leftovers(path)
    try:
        yield temporary
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        named = getattr(error, "filename", None)
        if named is None or str(named).startswith(str(temporary)):
            wrapped = write_error(error, path)
            if isinstance(error, OSError) or wrapped.errno in FULL:
                raise wrapped from error
        raise
    finally:
        remove(temporary)


def temporary_of(path: Path, kind: str = "part") -> Path:
    """Returns a name beside a path that no other process and no other call uses; it keeps the path's ending.

    Args:
        path: The path.
        kind: A part of the name: "part" for what will replace the path, "old" for what it replaces. Default: "part".
    """
    return path.with_name(f".{path.stem}.{_machine()}-{os.getpid()}-{secrets.token_hex(3)}.{kind}{path.suffix}")


def remove_leftovers(path: Path) -> None:
    """Removes what processes that were killed have left under the names of `temporary_of`.

    Those of other machines, whose processes are unknown here, are removed a day after their last change.
    """
    stem, suffix = re.escape(path.stem), re.escape(path.suffix)
    # A file that is written to a temporary one in turn has two of these parts.
    pattern = re.compile(rf"\.+{stem}(?:\.([0-9a-f]+)-(\d+)-[0-9a-f]{{6}}\.(?:part|old))+{suffix}")
    with suppress(OSError):
        for entry in list(os.scandir(path.parent)):
            if match := pattern.fullmatch(entry.name):
                old = time.time() - entry.stat(follow_symlinks=False).st_mtime > DAY
                if old or (match[1] == _machine() and _has_ended(int(match[2]))):
                    remove(Path(entry.path))


def _machine() -> str:
    """Returns a short number for this machine's name."""
    return f"{zlib.crc32(platform.node().encode()):x}"


def _has_ended(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # it lives, or it is another user's
        return False
    return False


def remove(path: Path) -> None:
    """Removes a file or a folder, if it exists and can be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def free_bytes(path: Path) -> int | None:
    """Returns the free bytes on the disk of a path, which need not exist, or None if they are unknown."""
    for folder in (path, *path.parents):
        with suppress(OSError):
            return shutil.disk_usage(folder).free
    return None


def amount(size: int) -> str:
    """Returns a number of bytes as text, in a suitable unit."""
    for unit, bytes_each in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= bytes_each:
            return f"{size / bytes_each:.3g} {unit}"
    return f"{size} bytes"
