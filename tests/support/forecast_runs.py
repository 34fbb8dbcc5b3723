"""Checkpoints of untrained models, and arguments and files of `forecast`, for the tests of forecasts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import convlstm  # noqa: F401  before mlx.core
from convlstm import checkpoints
from convlstm.checkpoints.build import build

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np

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

READER = "reader={units: mm/h, scale: 0.1, missing: 255}"
"""Argument for the pictures of `radar_archives`."""


def write_run(
    folder: Path,
    model: dict[str, Any] = PERSISTENCE,
    trained: dict[str, Any] | None = RAIN,
    section: dict[str, Any] | None = None,
) -> Path:
    """Writes a run's folder with a checkpoint of an untrained model, and returns the folder.

    Args:
        folder: The run's folder.
        model: Description of the model. Default: persistence.
        trained: Record of the data in the checkpoint's state, or None for no record. Default: rain.
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


def digits(folder: Path) -> Path:
    """Writes a run of digits, whose frames have no physical units, and returns its folder."""
    return write_run(
        folder / "digits", trained={"name": "moving_mnist", "input_frames": 3, "target_frames": 2, "frame_shape": 8}
    )


def stored(folder: Path, name: str = "forecast_20200601T002500") -> tuple[np.ndarray, dict[str, Any]]:
    """Returns the values and the description of a forecast that was written as `npy`."""
    return np.load(folder / f"{name}.npy"), json.loads((folder / f"{name}.json").read_text())
