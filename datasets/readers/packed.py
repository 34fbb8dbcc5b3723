"""Packed files of any format: .gz, .bz2, and .tar of many, packed or not.

They are unpacked in memory, at most an eighth of it. A reader gets one of the files within at a time, in a private
folder that lasts as long as it reads. Links and devices in a .tar are never followed or made.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import os
import threading
import zlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from convlstm.datasets.readers.block_cache import BLOCKS, identity
from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.kept_files import opened
from convlstm.datasets.readers.limits import check_bytes
from convlstm.datasets.readers.plain_files import open_plain

import numpy as np

_ENDINGS = (".gz", ".bz2")
_MOST_FILES = 100_000
_PIECE = 1 << 20
# Part of the names of private folders, which nobody else can guess.
_TOKEN = os.urandom(8).hex()


class Member(NamedTuple):
    """A file within a packed one; `size` is None for the only file of a .gz or .bz2."""

    name: str
    start: int = 0
    size: int | None = None


def is_packed(path: Path) -> bool:
    """Returns True for a plain file that is a .gz, .bz2 or .tar by its first bytes. Errors are left to the readers."""
    try:
        with open_plain(path) as file:
            head = file.read(512)
    except (OSError, UnreadableError):
        return False
    return _packing(head) is not None or _is_tar(head)


# Cached, since the frames of a file are read one after the other.
@lru_cache(maxsize=256)
def _members(path: Path, _: tuple[int, int]) -> tuple[Member, ...]:
    import tarfile  # takes a tenth of the start of the process that reads

    with _outer(path) as file:
        head = file.read(512)
        file.seek(0)
        if not _is_tar(head):
            return (Member(path.name.removesuffix(path.suffix) if path.suffix.lower() in _ENDINGS else path.name),)
        members = []
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for number, entry in enumerate(tar):
                if number >= _MOST_FILES:
                    raise UnreadableError(f"has more than {_MOST_FILES:,} files in it")
                if entry.isreg() and not entry.issparse() and not _hidden(entry.name):
                    members.append(Member(entry.name, entry.offset_data, entry.size))
                tar.members.clear()  # type: ignore[attr-defined]  # it would keep all entries
        return tuple(sorted(members))


def members_of(path: Path) -> tuple[Member, ...]:
    """Returns the files within a packed file, in the order of their names, without hidden ones and links.

    Raises:
        UnreadableError: If there are too many, or the unpacked .tar is too large for the memory.
    """
    return _members(path, identity(path))


@contextlib.contextmanager
def lent(path: Path, member: Member) -> Iterator[Path]:
    """Writes a file within a packed one to a private folder, yields its path, and removes it.

    The same file has the same path, size and time of change each time within a thread, so that caches know it again.

    Raises:
        UnreadableError: If it is too large for the memory, or cut off.
    """
    with opened(path, _Lent, member) as lent:
        yield lent.path


class _Lent:
    """A file within a packed one, in a private folder that `close` removes."""

    def __init__(self, path: Path, member: Member):
        import tempfile

        changed = identity(path)
        key = (path, changed, member.start)
        data = BLOCKS.get(key, lambda: np.frombuffer(_unpacked_member(path, member), np.uint8))
        folder = Path(tempfile.gettempdir(), f"convlstm-{_TOKEN}-{os.getpid()}-{threading.get_ident()}")
        folder.mkdir(mode=0o700)
        try:
            name = PurePosixPath(member.name).name
            ending = PurePosixPath(name).suffix if name.lower().endswith(_ENDINGS) else ""
            self.path = folder / name.removesuffix(ending)
            self.path.write_bytes(data.data)
            time = changed[0] + member.start  # differs from file to file, unlike the name
            os.utime(self.path, ns=(time, time))
        except BaseException:
            _remove(folder)
            raise

    def close(self) -> None:
        _remove(self.path.parent)


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def first_of(path: Path, recognise: Callable[[Path], Any], tries: int = 10) -> Any:
    """Returns what `recognise` finds in the first of a packed file's files that it recognises, or None."""
    try:
        for member in members_of(path)[:tries]:
            with lent(path, member) as file:
                if (found := recognise(file)) is not None:
                    return found
    except Exception:  # of a damaged file: the reader that is named for such files says what is wrong
        pass
    return None


def _unpacked_member(path: Path, member: Member) -> bytes:
    with _outer(path) as file:
        if member.size is None:
            data = file.read()
        else:
            check_bytes(f"a file {member.name!r}", member.size)
            file.seek(member.start)
            data = file.read(member.size)
            if len(data) < member.size:
                raise UnreadableError(
                    f"is cut off: {len(data):,} of {member.size:,} bytes of {member.name!r} are there"
                )
    return _unpacked(io.BytesIO(data), packing) if (packing := _packing(data[:10])) else data


@contextlib.contextmanager
def _outer(path: Path) -> Iterator[IO[bytes]]:
    """Opens a .tar, or the unpacked content of a .gz or .bz2."""
    with open_plain(path) as file:
        packing = _packing(file.read(10))
        file.seek(0)
        if packing is None:
            yield file
            return
        data = BLOCKS.get((path, identity(path), "unpacked"), lambda: np.frombuffer(_unpacked(file, packing), np.uint8))
    yield io.BytesIO(data)  # type: ignore[arg-type]


def _unpacked(file: IO[bytes], packing: Callable[..., Any]) -> bytes:
    """Returns the content of a packed file, and stops before it is too large."""
    pieces, size = [], 0
    with packing(file) as unpacked:
        try:
            while piece := unpacked.read(_PIECE):
                size += len(piece)
                # Twice, for the pieces and the whole.
                check_bytes(f"more than {size:,} bytes once it is unpacked", 2 * size)
                pieces.append(piece)
        except (EOFError, OSError, zlib.error) as error:
            raise UnreadableError(f"cannot be unpacked ({error}); it may be cut off or damaged") from error
    return b"".join(pieces)


def _packing(head: bytes) -> Callable[..., Any] | None:
    if head[:3] == b"\x1f\x8b\x08":
        return lambda file: gzip.GzipFile(fileobj=file)
    if head[:3] == b"BZh" and head[4:10] in (b"1AY&SY", b"\x17rE8P\x90"):
        return bz2.BZ2File
    return None


def _is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar"


def _hidden(name: str) -> bool:
    return any(part.startswith(".") and part != "." for part in PurePosixPath(name).parts)
