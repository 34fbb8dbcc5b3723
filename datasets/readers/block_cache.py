"""A shared cache of decoded blocks, for files that cannot decode a single frame cheaply."""

from __future__ import annotations

from pathlib import Path

from convlstm.datasets.array_cache import ArrayCache

# One for all formats, so that there is one bound. The last block stays even if it is larger.
BLOCKS = ArrayCache(256 << 20, least=1)
# Larger blocks are not decoded for the sake of one frame.
LARGEST_BLOCK = 64 << 20


def identity(path: Path) -> tuple[int, int]:
    """Returns a file's time of change and size: what is cached of the file is valid while these stay the same."""
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size
