"""The frames of an archive that are kept from the visit to their file, so that none is decoded twice at the start."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from convlstm.datasets.archives.files import RadarFiles

import numpy as np


class KeptFrames:
    """Frames in physical units, by file and position.

    Args:
        files: The files of the frames.
        room: Bytes that all frames together may take.
    """

    def __init__(self, files: RadarFiles, room: int):
        self.room = room
        self._files = files
        self._frames: dict[tuple[Path, int], np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._frames)

    def add(self, path: Path, position: int, frame: np.ndarray, kinds: Sequence[str]) -> None:
        """Takes frame `position` of a file as its reader returned it, with the kinds of its fields' values."""
        self._frames[path, position] = self._files.physical(frame, kinds)

    def get(self, path: Path, position: int) -> np.ndarray | None:
        """Returns frame `position` of a file, or None if it was not kept."""
        return self._frames.get((path, position))
