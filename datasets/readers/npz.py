"""The arrays of an .npz file, a zip file of .npy files, read without unpacking the others."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import IO, NamedTuple

from convlstm.datasets.readers.block_cache import BLOCKS, identity
from convlstm.datasets.readers.errors import UnreadableError

import numpy as np

_PACKED_LIMIT = 1 << 30
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class Member(NamedTuple):
    """One array of an .npz; `start` is its first byte in the file, or None if it is packed."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    start: int | None

    @property
    def nbytes(self) -> int:
        """Bytes of the unpacked array."""
        return self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))


def is_npz(head: bytes) -> bool:
    """Returns True if a file with these first bytes is a zip file whose first entry is an array."""
    if not head.startswith(b"PK\x03\x04") or len(head) < 30:
        return False
    (length,) = struct.unpack("<H", head[26:28])
    return head[30 : 30 + length].endswith(b".npy")


def members(path: Path) -> dict[str, Member]:
    """Returns the arrays of an .npz by name."""
    arrays = {}
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        for entry in archive.infolist():
            if not entry.filename.endswith(".npy"):
                continue
            name = entry.filename.removesuffix(".npy")
            with archive.open(entry) as packed:
                shape, fortran, dtype = _header(packed)
            start = None
            if entry.compress_type == zipfile.ZIP_STORED:
                # The lengths of name and extra field come from the entry's own header; the directory may have others.
                file.seek(entry.header_offset + 26)
                file.seek(sum(struct.unpack("<HH", file.read(4))), 1)
                _header(file)
                start = file.tell()
            arrays[name] = Member(name, shape, dtype, fortran, start)
    return arrays


def load(path: Path, member: Member) -> np.ndarray:
    """Returns an array, mapped into memory if it is not packed. A packed one is unpacked whole and cached.

    Raises:
        UnreadableError: If it is packed and larger than 1 GiB.
    """
    if member.start is not None and member.nbytes:
        order = "F" if member.fortran else "C"
        return np.memmap(path, member.dtype, "r", member.start, member.shape, order)  # type: ignore[call-overload]
    if member.nbytes > _PACKED_LIMIT:
        raise UnreadableError(
            f"has {member.name!r} packed, which must be unpacked whole: {member.nbytes / 2**30:.1f} GiB. Save it as "
            ".npy or with numpy.savez, which are read frame by frame"
        )

    def unpack() -> np.ndarray:
        with np.load(path, allow_pickle=False) as arrays:
            return arrays[member.name]

    return BLOCKS.get((path, identity(path), member.name), unpack)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    return _HEADERS[np.lib.format.read_magic(file)](file)  # type: ignore[arg-type]
