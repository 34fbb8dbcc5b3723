"""Libraries that MLX compiles on Linux CPUs and keeps in the folder for temporary files, for later processes."""

from __future__ import annotations

import struct
import tempfile
import time
import warnings
from contextlib import suppress
from pathlib import Path

import mlx.core as mx

SETTLED = 60.0
"""Age in seconds from which a library is no longer being written."""

# The header of a 64-bit ELF file: magic, offset of the section table, size and number of its entries.
_HEADER = struct.Struct("<4s36xQ10xHH2x")


def drop_damaged(folder: Path | None = None) -> list[Path]:
    """Removes libraries that a kill or a crash cut off while they were written, with a warning.

    MLX loads any file with a library's name. A damaged one ends this process, and every later one, without a message.
    Removed libraries are compiled anew.

    Args:
        folder: Folder of the libraries. Default: MLX's own.

    Returns:
        The removed files.
    """
    if folder is None:
        folder = Path(tempfile.gettempdir()) / "mlx" / mx.__version__ / "cpu"  # type: ignore[attr-defined]
    dropped = []
    for path in sorted(folder.glob("*.so")):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > SETTLED and not _complete(path):
                path.unlink()
                dropped.append(path)
    if dropped:
        warnings.warn(
            f"{len(dropped)} compiled kernels in '{folder}' were damaged and are compiled anew.", stacklevel=2
        )
    return dropped


def _complete(path: Path) -> bool:
    """Returns True if a library reaches to the end of its section table, which linkers write last."""
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
