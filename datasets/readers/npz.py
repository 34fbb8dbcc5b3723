"""What is in an .npz file, without reading it: an .npz is a zip file of .npy files."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import IO, NamedTuple

from convlstm.datasets.readers.base import UnreadableError
from convlstm.datasets.readers.hdf5 import identity
from convlstm.datasets.readers.kept import BLOCKS

import numpy as np

_PACKED_LIMIT = 1 << 30
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class Member(NamedTuple):
    """One array of an .npz: where it begins in the file if it is not packed."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    start: int | None

    @property
    def nbytes(self) -> int:
        """Bytes of the array, unpacked."""
        return self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))


def is_npz(head: bytes) -> bool:
    """Whether a file that begins so is a zip file whose first entry is an array."""
    if not head.startswith(b"PK\x03\x04") or len(head) < 30:
        return False
    (length,) = struct.unpack("<H", head[26:28])
    return head[30 : 30 + length].endswith(b".npy")


def members(path: Path) -> dict[str, Member]:
    """The arrays of an .npz by name."""
    found = {}
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        for entry in archive.infolist():
            if not entry.filename.endswith(".npy"):
                continue
            name = entry.filename.removesuffix(".npy")
            with archive.open(entry) as packed:
                shape, fortran, dtype = _header(packed)
            start = None
            if entry.compress_type == zipfile.ZIP_STORED:
                # The lengths of name and extra field are those of the entry's own header, not of the directory.
                file.seek(entry.header_offset + 26)
                file.seek(sum(struct.unpack("<HH", file.read(4))), 1)
                _header(file)
                start = file.tell()
            found[name] = Member(name, shape, dtype, fortran, start)
    return found


def load(path: Path, member: Member) -> np.ndarray:
    """An array: mapped into memory if it is not packed, else unpacked whole and kept for the next call.

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
