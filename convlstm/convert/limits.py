"""Limits on a stranger's file of weights, checked before memory is asked for: a header may claim anything."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from convlstm.backend.memory import memory

import numpy as np

# Packed weights are hardly smaller than unpacked ones. A file beyond both limits is made to fill the memory.
MOST_TIMES, HARMLESS = 50, 1 << 28
MOST_PARTS = 100_000
MOST_SETTINGS = 1 << 24
# Errors of zip files that are damaged, locked or packed in an unknown way.
DAMAGED = (OSError, EOFError, RuntimeError, struct.error, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
_HEADERS: dict[tuple[int, int], Any] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def check_file(path: Path) -> None:
    """Raises OSError if a file does not exist, and ValueError if it is no plain file or too large to be read."""
    size = path.stat().st_size
    if not path.is_file():
        raise ValueError("it is not a plain file")
    check_bytes(path, size)


def check_bytes(path: Path, needed: int) -> None:
    """Raises ValueError if arrays of `needed` bytes are too many for this machine, or for the size of their file."""
    most, size = memory() // 4, path.stat().st_size
    if needed > most:
        raise ValueError(
            f"it claims {needed / 2**30:,.1f} GiB of arrays, more than a quarter of this machine's memory "
            f"({most / 2**30:,.1f} GiB)"
        )
    if needed > max(HARMLESS, MOST_TIMES * size):
        raise ValueError(f"it would unpack to {needed:,} bytes, more than {MOST_TIMES} times its own {size:,}")


def check_parts(path: Path, parts: Iterable[zipfile.ZipInfo]) -> None:
    """Raises ValueError if the parts of a zip file are too many, or too large together when they are unpacked."""
    parts = list(parts)
    if len(parts) > MOST_PARTS:
        raise ValueError(f"it has {len(parts):,} parts, more than {MOST_PARTS:,}")
    check_bytes(path, sum(part.file_size for part in parts))


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Returns the arrays of an `.npz` file.

    Raises:
        ValueError: It is damaged, holds something else than arrays of numbers, or breaks a limit of this module.
        zipfile.BadZipFile: It is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        check_parts(path, archive.infolist())
        for part in archive.infolist():
            with archive.open(part) as file:
                version = np.lib.format.read_magic(file)  # type: ignore[arg-type]
                if version not in _HEADERS:
                    raise ValueError(f"its part {part.filename!r} is of the unknown version {version}")
                try:
                    shape, _, dtype = _HEADERS[version](file)
                except Exception as error:  # NumPy's parser raises errors of many kinds
                    raise ValueError(f"its part {part.filename!r} has a damaged header") from error
            check_numbers(part.filename, dtype)
            if (needed := dtype.itemsize * int(np.prod(shape, dtype=object))) > part.file_size:
                raise ValueError(f"its part {part.filename!r} claims {needed:,} bytes and has {part.file_size:,}")
    with path.open("rb") as source, np.load(source, allow_pickle=False) as arrays:
        return dict(arrays)


def check_numbers(name: str, dtype: np.dtype) -> None:
    """Raises ValueError if an array's elements are not numbers of at most 8 bytes."""
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise ValueError(f"its array {name!r} holds {dtype} instead of numbers")
