"""The sequences of the splits of a synthetic radar."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

from convlstm.backend.memory import check_memory
from convlstm.datasets.sequence_dataset import SPLITS
from convlstm.datasets.synthetic_radar import SyntheticRadar

import numpy as np

_SIDE = 128
_SIZES = {"train": 2000, "validation": 100, "test": 200}


class SyntheticSequences:
    """The sequences of a synthetic radar. A sequence is a function of its split, seed, epoch and index.

    Args:
        frame_size: Height and width of a frame; None for 128 x 128.
        length: Frames of a sequence.
        settings: Other arguments of `convlstm.datasets.synthetic_radar.SyntheticRadar`.
        sizes: Number of sequences by split; None for 2000, 100 and 200.

    Attributes:
        frame_size: Height and width of a frame.
        sizes: Number of sequences by split.
        units: Units of the frames: `"mm/h"`.
        frame_interval: Minutes from frame to frame.
        pixel_km: Side of a pixel in km.

    Raises:
        ValueError: If an argument is refused, or a sequence would take more memory than this machine has.
    """

    units = "mm/h"

    def __init__(
        self,
        frame_size: tuple[int, int] | None,
        length: int,
        settings: Mapping[str, Any],
        sizes: Mapping[str, int | None],
    ):
        self.frame_size = frame_size or (_SIDE, _SIDE)
        check_memory(
            "RadarEcho",
            "a sequence of 'input_frames' and 'target_frames' of 'frame_size'",
            # Some arrays of a domain that is larger than the frame, and some of all frames.
            (100 + 16 * length) * math.prod(self.frame_size),
        )
        known = [name for name in inspect.signature(SyntheticRadar).parameters if name not in ("frame_size", "frames")]
        for name in settings:
            if name not in known:
                raise ValueError(f"[RadarEcho] 'synthetic' has {', '.join(known)} but got {name!r}.")
        self._radar = SyntheticRadar(self.frame_size, length, **settings)
        self.sizes = {split: sizes[split] or _SIZES[split] for split in SPLITS}
        self.frame_interval, self.pixel_km = self._radar.step_minutes, self._radar.pixel_km
        self.sides_km = (self.pixel_km, self.pixel_km)

    def frames(self, split: str, seed: int, epoch: int, index: int) -> np.ndarray:
        """Returns the frames of a sequence in mm/h, (T, H, W) float32."""
        return self._radar.sample(np.random.default_rng([SPLITS.index(split), seed, epoch, index]))

    def times(self, split: str, seed: int, epoch: int, index: int) -> None:
        """Returns None: the frames have no times."""

    def describe(self) -> dict[str, Any]:
        """Returns a record of the sequences for JSON."""
        return {"synthetic": self._radar.describe()}
