"""What MLX compiles on Linux CPUs: libraries in the folder for temporary files, where later processes find them."""

from __future__ import annotations

import struct
import tempfile
import time
import warnings
from contextlib import suppress
from pathlib import Path

import mlx.core as mx

SETTLED = 60.0
"""Seconds after which nobody is writing a library any more."""

# Of ELF, 64 bits: the magic, the place of the section table, the size of its entries and their number.
_HEADER = struct.Struct("<4s36xQ10xHH2x")


def drop_damaged(folder: Path | None = None) -> list[Path]:
    """Removes libraries that were cut off while they were written, by a kill or a crash of the machine, with a warning.

    MLX takes whatever is there under a library's name; of one that is damaged the process dies without a word, and so
    does every later one. What has been removed is compiled anew.

    Args:
        folder: Where they are. Default: MLX's own.

    Returns:
        What has been removed.
    """
    if folder is None:
        folder = Path(tempfile.gettempdir()) / "mlx" / mx.__version__ / "cpu"  # type: ignore[attr-defined]
    dropped = []
    for path in sorted(folder.glob("*.so")):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > SETTLED and not _whole(path):
                path.unlink()
                dropped.append(path)
    if dropped:
        warnings.warn(
            f"{len(dropped)} compiled kernels in '{folder}' were damaged and are compiled anew.", stacklevel=2
        )
    return dropped


def _whole(path: Path) -> bool:
    """Whether a library reaches up to the end of its section table, which linkers write last."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEADER.size)
        if len(head) < _HEADER.size:
            return False
        magic, start, entry, number = _HEADER.unpack(head)
        if magic != b"\x7fELF" or start == 0 or start + entry * number > size:
            return False
        file.seek(start)
        return any(file.read(entry * number))
