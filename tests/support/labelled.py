"""Rain and temperature as xarray has them once a file is open."""

from __future__ import annotations

from typing import Any

import numpy as np

START = np.datetime64("2024-05-01T10:00", "ns")
# Of the stereographic projection of many composites.
MAP = {
    "grid_mapping_name": "polar_stereographic",
    "latitude_of_projection_origin": 90.0,
    "straight_vertical_longitude_from_pole": 10.0,
    "standard_parallel": 60.0,
    "false_easting": 0.0,
    "false_northing": 0.0,
}


def times(count: int, minutes: float = 5) -> np.ndarray:
    """Returns times from `START` on."""
    return START + (np.arange(count) * round(minutes * 60)).astype("timedelta64[s]")


def rain(xr: Any, count: int = 12, *, minutes: float = 5, km: float = 1.0, **about: Any) -> Any:
    """Returns rain rates in mm h-1 of 16 x 20 pixels on a map, a DataArray; each value is another one."""
    rows = 1000 * km * np.arange(16)[::-1] - 3_000_000.0
    columns = 1000 * km * np.arange(20) + 100_000.0
    values = np.linspace(0.25, 40, count * 320, dtype=np.float32).reshape(count, 16, 20)
    return xr.DataArray(
        values,
        dims=("time", "y", "x"),
        coords={
            "time": times(count, minutes),
            "y": ("y", rows, {"units": "m", "standard_name": "projection_y_coordinate"}),
            "x": ("x", columns, {"units": "m", "standard_name": "projection_x_coordinate"}),
            "latitude": (("y", "x"), rows[:, None] / 1e5 + 0 * columns, {"units": "degrees_north"}),
            "spatial_ref": ((), 0, MAP),
        },
        name="rainfall",
        attrs={"units": "mm h-1", "standard_name": "rainfall_rate", "institution": "Someone", "valid_min": 0.0} | about,
    )


def temperature(xr: Any, count: int = 8) -> Any:
    """Returns temperatures in K of 6 x 9 pixels, from the south to the north, a DataArray over lon, lat and time."""
    values = 280 + np.arange(count * 54, dtype=np.float32).reshape(9, 6, count) / 50
    return xr.DataArray(
        values,
        dims=("lon", "lat", "time"),
        coords={
            "time": times(count, 360),
            "lat": ("lat", 40 + 0.5 * np.arange(6), {"units": "degrees_north"}),
            "lon": ("lon", 10 + 0.5 * np.arange(9), {"units": "degrees_east"}),
            "height": ((), 2.0, {"units": "m"}),
        },
        name="t2m",
        attrs={"units": "K", "long_name": "2 metre temperature"},
    )
