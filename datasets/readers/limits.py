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


def limit() -> int:
    """Returns the most bytes that are read in one piece: an eighth of this machine's memory."""
    return memory() // 8


def check_bytes(what: str, needed: int) -> None:
    """Raises UnreadableError if `needed` bytes are more than `limit()`. `what` needs them, such as "an array 'x'"."""
    if needed > (most := limit()):
        raise UnreadableError(
            f"has {what}, which needs {_gib(needed)} of memory, more than the {_gib(most)} (an eighth of this "
            "machine's memory) that are read in one piece"
        )


def check_frame(shape: Sequence[int]) -> None:
    """Raises UnreadableError if a frame of these rows and columns is too large to be read in one piece."""
    check_bytes(f"frames of {' x '.join(map(str, shape))}", math.prod(map(int, shape)) * _PIXEL)


def check_times(frames: int) -> None:
    """Raises UnreadableError if a file has more frames than an archive can list."""
    check_bytes(f"{frames:,} frames", int(frames) * _FRAME)


def _gib(size: int) -> str:
    return f"{size / 2**30:,.2f} GiB"
