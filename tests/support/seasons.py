"""A small NetCDF file of a temperature with a daily cycle, and one of fixed fields on its grid."""

from __future__ import annotations

from pathlib import Path

from tests.support.cf_files import write_cf

import numpy as np

FRAMES, SHAPE, STEP = 80, (8, 12), 3
DEGC = {"units": "degC", "standard_name": "air_temperature"}
AXES = {
    "lat": (("lat",), 60 - 0.5 * np.arange(SHAPE[0]), {"units": "degrees_north", "standard_name": "latitude"}),
    "lon": (("lon",), 0.5 * np.arange(SHAPE[1]), {"units": "degrees_east", "standard_name": "longitude"}),
}


def cycle(hours: np.ndarray) -> np.ndarray:
    """Returns the daily cycle (F, H, W), which is larger in the south."""
    angle = 2 * np.pi * np.asarray(hours)[:, None, None] / 24
    return (12 + np.arange(SHAPE[0])[:, None] * np.sin(angle) + 0 * np.arange(SHAPE[1])).astype(np.float32)


def weather(frames: int = FRAMES) -> np.ndarray:
    """Returns departures from the cycle (F, H, W): two days of each sign, smaller in the east, and a corner unknown."""
    sign = np.where(np.arange(frames) // 16 % 2, -1, 1)[:, None, None]
    values = (sign * (2 - 0.1 * np.arange(SHAPE[1])) * np.ones((SHAPE[0], 1))).astype(np.float32)
    values[:, 0, 0] = np.nan
    return values


def write_seasons(path: Path, frames: int = FRAMES, first: int = 0, name: str = "t2m") -> Path:
    """Writes `t2m`, or a field of another name, every 3 hours, from an hour after 2020-01-01 on."""
    hours = first + STEP * np.arange(frames)
    time = (("time",), hours, {"units": "hours since 2020-01-01", "standard_name": "time"})
    values = cycle(hours) + weather(frames)
    return write_cf(path, {name: (("time", "lat", "lon"), values, DEGC)}, time=time, **AXES)


def heights() -> np.ndarray:
    """Returns the height of the ground in m, (H, W), which nobody knows in the last pixel."""
    values = (100.0 * np.arange(SHAPE[0])[:, None] + np.arange(SHAPE[1])).astype(np.float32)
    values[-1, -1] = np.nan
    return values


def write_heights(path: Path, **changes) -> Path:
    """Writes the height `z` and a land mask `lsm`, without times."""
    lsm = (np.arange(SHAPE[1]) < 5) * np.ones((SHAPE[0], 1), np.int8)
    fields = {"z": (("lat", "lon"), heights(), {"units": "m", "long_name": "height of the ground"})}
    return write_cf(
        path, fields | {"lsm": (("lat", "lon"), lsm.astype(np.int8), {"units": "1"})}, time=None, **(AXES | changes)
    )
