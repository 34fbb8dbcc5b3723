"""The known pixels of frames, kept from the visit to their file, so that no frame is decoded twice for an index."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

# Files, and frames of a file, beyond which packing the pixels of all frames takes longer than decoding a few again.
MOST_FILES, MOST_FRAMES = 256, 256
_BYTES = 64 << 20


class KnownPixels:
    """The known pixels of some frames, at most 64 MiB of them. Frames with the same ones share memory."""

    def __init__(self) -> None:
        self._left = _BYTES
        self._digests: dict[tuple[Path, int], bytes] = {}
        self._packed: dict[bytes, np.ndarray] = {}

    def add(self, path: Path, position: int, packed: np.ndarray) -> None:
        """Takes the known pixels of frame `position` of a file, as `pack` returns them."""
        digest = hashlib.blake2b(packed.data, digest_size=16).digest()
        if digest not in self._packed:
            if packed.nbytes > self._left:
                return
            self._left -= packed.nbytes
            self._packed[digest] = packed
        self._digests[path, position] = digest

    def of(self, path: Path, position: int, shape: tuple[int, int]) -> np.ndarray | None:
        """Returns the known pixels of a frame, bool (H, W), or None if it has not been read, or there was no room."""
        digest = self._digests.get((path, position))
        if digest is None:
            return None
        return np.unpackbits(self._packed[digest], count=shape[0] * shape[1]).view(bool).reshape(shape)


def pack(known: np.ndarray) -> np.ndarray:
    """Returns bools (H, W) as bits, uint8 of (H * W / 8)."""
    return np.packbits(known)
