"""Checkpoints that cost no training, for the tests of forecasts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import convlstm  # noqa: F401  before mlx.core
from convlstm import checkpoints
from convlstm.checkpoints.build import build

import mlx.core as mx
import mlx.optimizers as optim

PERSISTENCE = {"_target_": "convlstm.architectures.baselines.Persistence"}
ENCODER = {
    "_target_": "convlstm.models.EncoderForecaster",
    "in_channels": 1,
    "hidden_channels": [4],
    "kernel_size": 3,
    "patch_size": 4,
}
RAIN = {
    "name": "radar_echo",
    "input_frames": 3,
    "target_frames": 4,
    "frame_shape": [40, 48, 1],
    "frame_interval": 5.0,
    "pixel_km": None,
    "units": "mm/h",
    "transform": {"name": "LogRain", "minimum": 0.1, "maximum": 100.0},
}


def write_run(
    folder: Path,
    model: dict[str, Any] = PERSISTENCE,
    trained: dict[str, Any] | None = RAIN,
    section: dict[str, Any] | None = None,
) -> Path:
    """A run's folder with a checkpoint of a model that was not trained.

    Args:
        folder: The run's.
        model: Description of the model.
        trained: What is recorded of the data; None: nothing.
        section: The configuration's section `data`. Default: only its class.
    """
    mx.random.seed(0)
    config = {
        "model": model,
        "data": section or {"_target_": "convlstm.datasets.radar_echo.RadarEcho", "transform": None},
    }
    state: dict[str, Any] = {"step": 7, "status": "finished"} | ({} if trained is None else {"data": trained})
    checkpoints.save(folder / "checkpoints" / "best", build(model), optim.SGD(0.1), state, config)
    return folder
