"""The arrays of .npy files, and of .npz files, which are zip files of these: read in parts, without the others.

Files are read, not mapped into memory: a mapped file that somebody shortens ends the whole process.
"""

from __future__ import annotations

import io
import math
import os
import struct
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple

from convlstm.datasets.readers.block_cache import BLOCKS, identity
from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.limits import SHARE, check_bytes, check_frame
from convlstm.datasets.readers.plain_files import open_plain

import numpy as np

NPY = b"\x93NUMPY"
# The format of the length of a header, by version, and the function that reads the header.
_HEADERS = {
    (1, 0): ("<H", np.lib.format.read_array_header_1_0),
    (2, 0): ("<I", np.lib.format.read_array_header_2_0),
}
_LARGEST_HEADER = 65536
_MOST_MEMBERS = 1000
_PIECE = 1 << 20


class Member(NamedTuple):
    """One array of a file; `start` is its first byte in the file, or None if it is packed."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    start: int | None

    @property
    def nbytes(self) -> int:
        """Bytes of the unpacked array."""
        return self.dtype.itemsize * math.prod(self.shape)


def is_npz(head: bytes) -> bool:
    """Returns True if a file with these first bytes is a zip file whose first entry is an array."""
    if not head.startswith(b"PK\x03\x04") or len(head) < 30:
        return False
    (length,) = struct.unpack("<H", head[26:28])
    return head[30 : 30 + length].endswith(b".npy")


def array_of(path: Path) -> Member:
    """Returns the array of an .npy file.

    Raises:
        UnreadableError: If the header makes no sense, or the file is shorter than it claims.
    """
    with open_plain(path) as file:
        return _stored(file, path.name)


def members(path: Path) -> dict[str, Member]:
    """Returns the arrays of an .npz by name.

    Raises:
        UnreadableError: If there are too many, a header makes no sense, or the file is shorter than one claims.
    """
    return dict(_members(path, identity(path)))


# Cached, since a file's frames are read after its contents, and one after the other.
@lru_cache(maxsize=16)
def _members(path: Path, _: Any) -> Mapping[str, Member]:
    arrays = {}
    with open_plain(path) as file, zipfile.ZipFile(file) as archive:
        entries = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
        if len(entries) > _MOST_MEMBERS:
            raise UnreadableError(f"has {len(entries):,} arrays, but at most {_MOST_MEMBERS:,} are read")
        for entry in entries:
            name = entry.filename.removesuffix(".npy")
            if entry.compress_type == zipfile.ZIP_STORED:
                # The lengths of name and extra field come from the entry's own header; the directory may have others.
                file.seek(entry.header_offset + 26)
                file.seek(sum(struct.unpack("<HH", file.read(4))), 1)
                arrays[name] = _stored(file, name)
            else:
                with archive.open(entry) as packed:
                    arrays[name] = Member(name, *_header(packed), None)
    return arrays


def _stored(file: BinaryIO, name: str) -> Member:
    member = Member(name, *_header(file), file.tell())
    if (missing := file.tell() + member.nbytes - os.fstat(file.fileno()).st_size) > 0:
        raise UnreadableError(f"is cut off: {missing:,} of {member.nbytes:,} bytes of {name!r} are missing")
    return member


def check_frames(member: Member) -> None:
    """Raises UnreadableError if what must be read for a frame of an array is too large to be read in one piece."""
    if member.start is not None and not member.fortran:
        check_frame(member.shape[-2:])
        return
    try:
        check_bytes(f"{member.name!r} packed, or in the order of Fortran", member.nbytes)
    except UnreadableError as error:
        raise UnreadableError(
            f"{error}. Save it as .npy or with numpy.savez, in the order of C, which are read frame by frame"
        ) from error


def read(path: Path, member: Member, share: float = SHARE) -> np.ndarray:
    """Returns an array whole, if it takes at most this share of memory. One that is packed is cached and read-only.

    Raises:
        UnreadableError: If it is too large for that, cut off, or has Python objects.
    """
    check_bytes(f"{member.name!r} of {' x '.join(map(str, member.shape)) or '1'} {member.dtype}", member.nbytes, share)
    if member.dtype.hasobject:
        raise UnreadableError(f"has Python objects in {member.name!r}, which are not read")
    if member.start is None:
        return BLOCKS.get((path, identity(path), member.name), lambda: _unpacked(path, member))
    with open_plain(path) as file:
        file.seek(member.start)
        return _array(file, member.dtype, member.shape, member.fortran)


def _unpacked(path: Path, member: Member) -> np.ndarray:
    with open_plain(path) as file, zipfile.ZipFile(file) as archive, archive.open(f"{member.name}.npy") as packed:
        _header(packed)
        return _array(packed, member.dtype, member.shape, member.fortran)


def read_frame(path: Path, member: Member, position: int) -> np.ndarray:
    """Returns frame `position` of numbers (T, H, W), or the only frame of (H, W), for position 0.

    A packed array, and one in the order of Fortran, is read whole and cached. Of all others only the frame is read.

    Raises:
        UnreadableError: If what has to be read is too large for that, or cut off.
    """
    if len(member.shape) == 2:
        return read(path, member)
    if member.start is None:
        return read(path, member)[position]
    if member.fortran:
        return BLOCKS.get((path, identity(path), member.name), lambda: read(path, member))[position]
    check_frame(member.shape[1:])
    return read_blocks(path, member, [(position,)])[0]


def read_blocks(path: Path, member: Member, places: Sequence[tuple[int, ...]]) -> np.ndarray:
    """Returns `numpy.stack([array[place] for place in places])` of a stored array in the order of C.

    Each place has an index for each of the first axes, the same number of them. Nothing else is read.

    Raises:
        UnreadableError: If the file is cut off.
        OSError: If it cannot be read.
    """
    assert member.start is not None
    assert not member.fortran
    outer, shape = member.shape[: len(places[0])], member.shape[len(places[0]) :]
    size = member.dtype.itemsize * math.prod(shape)
    parts = []
    with open_plain(path) as file:
        for place in places:
            file.seek(member.start + int(np.ravel_multi_index(place, outer)) * size)
            parts.append(_array(file, member.dtype, shape, False))
    return np.stack(parts)


def read_values(path: Path, member: Member) -> Iterator[np.ndarray]:
    """Yields all values of a stored array in pieces (K), in the order of the file.

    Raises:
        UnreadableError: If the file is cut off.
        OSError: If it cannot be read.
    """
    assert member.start is not None
    size, piece = math.prod(member.shape), _PIECE // member.dtype.itemsize
    with open_plain(path) as file:
        file.seek(member.start)
        for first in range(0, size, piece):
            yield _array(file, member.dtype, (min(piece, size - first),), False)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype, bool]:
    """Reads a header; returns shape, type, and True for the order of Fortran. The file is then at the first number."""
    version = np.lib.format.read_magic(file)  # type: ignore[arg-type]
    if version not in _HEADERS:
        raise UnreadableError(f"has an array in version {version[0]}.{version[1]} of the format .npy")
    form, parse = _HEADERS[version]
    prefix = file.read(struct.calcsize(form))
    (length,) = struct.unpack(form, prefix)
    if length > _LARGEST_HEADER:
        raise UnreadableError(f"has a header of {length:,} bytes, but at most {_LARGEST_HEADER:,} are read")
    shape, fortran, dtype = parse(io.BytesIO(prefix + file.read(length)))  # type: ignore[arg-type]
    if min(shape, default=0) < 0:
        raise UnreadableError(f"has an array of {shape}")
    return shape, dtype, fortran


def _array(file: IO[bytes], dtype: np.dtype, shape: tuple[int, ...], fortran: bool) -> np.ndarray:
    size = dtype.itemsize * math.prod(shape)
    data = np.empty(size, np.uint8)
    view = data.data
    done = 0
    while done < size:
        count = file.readinto(view[done : done + _PIECE])  # type: ignore[attr-defined]
        if not count:
            raise UnreadableError(f"is cut off: {done:,} of {size:,} bytes of an array are there")
        done += count
    return data.view(dtype).reshape(shape, order="F" if fortran else "C")
