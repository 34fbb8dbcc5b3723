"""NumPy files of forecasts."""

from __future__ import annotations

import json
from pathlib import Path

from convlstm.writers.forecast import Forecast

import numpy as np


def write(path: Path, forecast: Forecast) -> None:
    """Writes the values (T, H, W) as `.npy`, and beside them, as `.json`, what an array cannot say."""
    with path.open("wb") as file:
        np.save(file, np.asarray(forecast.values, np.float32), allow_pickle=False)


def beside(forecast: Forecast) -> str:
    """The text of the file beside the array: times, place, units and where the forecast comes from."""
    times, leads, place = forecast.times, forecast.leads, forecast.place
    told = {
        "shape": list(forecast.values.shape),
        "units": forecast.units or "1",
        "forecast_reference_time": None if forecast.issued is None else f"{forecast.issued.astype('datetime64[s]')}Z",
        "times": None if times is None else [f"{time}Z" for time in times],
        "lead_minutes": None if leads is None else leads.tolist(),
        "projection": None if place is None else place.projection,
        "coordinate_units": None if place is None else place.units,
        "x": None if place is None else np.asarray(place.x).tolist(),
        "y": None if place is None else np.asarray(place.y).tolist(),
        "provenance": dict(forecast.provenance),
    }
    return json.dumps(told, indent=1, default=str) + "\n"
