"""A small NetCDF file of the sea: surface temperature in degC with land, wind, and the depth of the sea."""

from __future__ import annotations

from pathlib import Path

import numpy as np

FRAMES, SHAPE, HOURS = 60, (16, 24), 6
LAND = (slice(0, 4), slice(0, 8))
"""Rows and columns of the land, in the north-west."""


def temperature(frames: int = FRAMES, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Returns temperatures (F, H, W) in degC: a wave that moves to the east over a slope from north to south."""
    rows, columns = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    time = np.arange(frames)[:, None, None]
    values = 12 + 0.4 * rows + 3 * np.sin(2 * np.pi * (columns - 0.5 * time) / 12)
    values[:, LAND[0], LAND[1]] = np.nan
    return values.astype(np.float32)


def wind(frames: int = FRAMES, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Returns winds (F, H, W) in m s-1, of both signs."""
    time = np.arange(frames)[:, None, None]
    return np.broadcast_to(5 * np.sin(2 * np.pi * time / 15), (frames, *shape)).astype(np.float32)


def write_ocean(path: Path, frames: int = FRAMES, shape: tuple[int, int] = SHAPE) -> Path:
    """Writes the file: `sst`, `u10` and `depth` on latitudes and longitudes, a frame every 6 hours."""
    import netCDF4

    with netCDF4.Dataset(path, "w") as file:
        for name, size in (("time", frames), ("latitude", shape[0]), ("longitude", shape[1])):
            file.createDimension(name, size)
        axes = {
            "time": (np.arange(frames) * HOURS, "hours since 2020-01-01"),
            "latitude": (60 - 0.25 * np.arange(shape[0]), "degrees_north"),
            "longitude": (-20 + 0.25 * np.arange(shape[1]), "degrees_east"),
        }
        for name, (values, units) in axes.items():
            variable = file.createVariable(name, "f8", (name,))
            variable.units, variable.standard_name = units, name
            variable[:] = values
        fields = {
            "sst": (temperature(frames, shape), "degC", "sea_surface_temperature"),
            "u10": (wind(frames, shape), "m s-1", "eastward_wind"),
            "depth": (np.broadcast_to(10.0 * np.arange(shape[1]), shape), "m", "sea_floor_depth_below_geoid"),
        }
        for name, (values, units, standard_name) in fields.items():
            dimensions = ("time", "latitude", "longitude")[3 - values.ndim :]
            variable = file.createVariable(name, "f4", dimensions, fill_value=np.float32(-999))
            variable.units, variable.standard_name = units, standard_name
            variable[:] = np.where(np.isnan(values), np.float32(-999), values)
    return path
