"""Limits on what is read in one piece, relative to memory: a header may claim anything."""

from __future__ import annotations

import math
from collections.abc import Sequence

from convlstm.backend.memory import memory
from convlstm.datasets.readers.errors import UnreadableError

# Bytes for each pixel while a frame is read: as stored, as float32, and masks.
_PIXEL = 16
# Bytes for each frame of a file in the index of an archive.
_FRAME = 64


# Share of this machine's memory that is read in one piece.
SHARE = 1 / 8


def check_bytes(what: str, needed: int, share: float = SHARE) -> None:
    """Raises UnreadableError if something needs more than a share of this machine's memory.

    Args:
        what: Part of a file, such as "an array 'x'".
        needed: Bytes to read it in one piece.
        share: The share. Default: an eighth.
    """
    if needed > (most := int(memory() * share)):
        raise UnreadableError(
            f"has {what[:200]}, which needs {_gib(needed)} of memory. At most {_gib(most)} are read in one piece, "
            f"{share:.3g} of this machine's memory"
        )


def check_frame(shape: Sequence[int]) -> None:
    """Raises UnreadableError if a frame of these rows and columns is too large to be read in one piece."""
    check_bytes(f"frames of {' x '.join(map(str, shape))}", math.prod(map(int, shape)) * _PIXEL)


def check_times(frames: int) -> None:
    """Raises UnreadableError if a file has more frames than an archive can list."""
    check_bytes(f"{frames:,} frames", int(frames) * _FRAME)


def _gib(size: int) -> str:
    return f"{size / 2**30:,.2f} GiB" if size < 2**70 else "far more than a billion GiB"
