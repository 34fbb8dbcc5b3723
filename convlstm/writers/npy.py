"""NumPy files of forecasts, each with a JSON file beside it for the facts that an array cannot hold."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from convlstm.backend.plain_files import parse_json, read_bytes
from convlstm.writers.forecast import Forecast

import numpy as np

LONGEST = 1 << 26
"""Largest size of a description, in bytes."""


def write(path: Path, forecast: Forecast) -> None:
    """Writes the values (T, H, W) as `.npy`, and times, place, units and provenance as `.json`.

    If the forecast has members, they are written in its place, (M, T, H, W): the array can hold one or the other.
    """
    with path.open("wb") as file:
        np.save(file, np.asarray(_values(forecast), np.float32), allow_pickle=False)
    path.with_suffix(".json").write_text(_description(forecast), encoding="utf-8")


def is_forecast(path: Path) -> bool:
    """Returns True if the file beside the array is a description as `write` leaves it."""
    described = parse_json(read_bytes(path.with_suffix(".json"), LONGEST))
    keys = {"shape", "forecast_reference_time", "provenance"}
    return not path.is_dir() and isinstance(described, dict) and keys <= described.keys()


def _values(forecast: Forecast) -> np.ndarray:
    """Returns what the array holds."""
    return forecast.values if forecast.members is None else forecast.members


def _description(forecast: Forecast) -> str:
    times, leads, place = forecast.times, forecast.leads, forecast.place
    values, channel = _values(forecast), ["channel"] if forecast.values.ndim == 4 else []
    description = {
        "shape": list(values.shape),
        "dimensions": [*(["realization"] if values is forecast.members else []), "time", "y", "x", *channel],
        "units": forecast.units or "1",
        "fields": [asdict(field) for field in forecast.fields],
        "forecast_reference_time": None if forecast.issued is None else f"{forecast.issued.astype('datetime64[s]')}Z",
        "times": None if times is None else [f"{time}Z" for time in times],
        "lead_minutes": None if leads is None else leads.tolist(),
        "projection": None if place is None else place.projection or place.mapping_attributes,
        "coordinate_units": None if place is None else place.units,
        "x": None if place is None or place.x is None else np.asarray(place.x).tolist(),
        "y": None if place is None or place.y is None else np.asarray(place.y).tolist(),
        "attributes": dict(forecast.attributes),
        "provenance": dict(forecast.provenance),
    }
    return json.dumps(description, indent=1, default=str) + "\n"
