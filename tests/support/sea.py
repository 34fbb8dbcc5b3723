"""Forecasts of the sea's temperature and of wind, as an evaluation knows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from convlstm.architectures.baselines import Persistence
from convlstm.evaluation.scoring import Evaluation, evaluate
from convlstm.writers import Quantity
from tests.support.pages import fading

import numpy as np

SST = Quantity("sst", "degC", long_name="sea surface temperature")
WIND = Quantity("u10", "m s-1")
LAND = (slice(0, 4), slice(0, 6))


@dataclass
class Sea:
    """Temperatures of 0 to 30 degC and winds of -20 to 20 m/s, six hours apart.

    Attributes:
        target_fields: The fields.
        frame_interval: Minutes from frame to frame.
        timed: True if times are known.
    """

    target_fields: list[Quantity] = field(default_factory=lambda: [SST, WIND])
    frame_interval: float | None = 360.0
    pixel_km: float | None = None
    timed: bool = True

    @property
    def target_channels(self) -> list[int]:
        return list(range(len(self.target_fields)))

    def physical(self, x: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
        values = np.asarray(x) * [30, 40][: len(self.target_fields)] + [0, -20][: len(self.target_fields)]
        return values if reference is None else values + reference

    def times(self, split: str, index: int) -> np.ndarray | None:
        start = np.datetime64("2020-03-01T00:00") + np.timedelta64(6 * index, "h")
        return start + np.arange(99) * np.timedelta64(6, "h") if self.timed else None


def batch(data: Sea, sequences: int = 3, inputs: int = 2, horizon: int = 3) -> dict[str, np.ndarray]:
    """Returns a batch of random frames with land in their north-west."""
    rng = np.random.default_rng(0)
    frames = rng.random((sequences, inputs + horizon, 12, 16, len(data.target_fields))).astype(np.float32)
    known = np.ones(frames.shape, bool)
    known[:, :, LAND[0], LAND[1], 0] = False
    truth = np.where(known, data.physical(frames), np.nan)
    return {
        "inputs": frames[:, :inputs], "targets": frames[:, inputs:], "truth": truth[:, inputs:],
        "input_mask": known[:, :inputs], "mask": known[:, inputs:],
    }  # fmt: skip


def evaluation(data: Sea | None = None, more: dict[str, Any] | None = None, **sizes: int) -> Evaluation:
    """Returns an evaluation of a forecast that fades, of others in `more`, and of persistence."""
    data = Sea() if data is None else data
    forecasters = {"model": fading(0.9), **(more or {}), "persistence": Persistence()}
    return evaluate(forecasters, [batch(data, **sizes)], fields=data, ssim=False, keep=1, cases=1)
