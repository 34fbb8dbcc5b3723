"""Forecasts as variables that follow the conventions for climate and forecast metadata (CF 1.11)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import convlstm
from convlstm.writers.crs import grid_mapping
from convlstm.writers.forecast import SOURCE, Forecast, Place

import numpy as np

# Name and attributes of the forecast's variable, by units of the values.
_FIELDS: dict[str, tuple[str, dict[str, str]]] = {
    "mm/h": (
        "rain_rate",
        {"standard_name": "lwe_precipitation_rate", "long_name": "rain rate", "units": "mm h-1"},
    ),
    "dBZ": (
        "reflectivity",
        {
            "standard_name": "equivalent_reflectivity_factor",
            "long_name": "equivalent reflectivity factor",
            "units": "dBZ",
        },
    ),
    "raw": ("field", {"long_name": "forecast field", "units": "1"}),
    "": ("field", {"long_name": "forecast field in [0, 1]", "units": "1"}),
}
EPOCH = "1970-01-01 00:00:00"


@dataclass(frozen=True)
class Variable:
    """An array with its name, the names of its dimensions and its attributes. A field has a value for each pixel."""

    name: str
    dimensions: tuple[str, ...]
    values: np.ndarray
    attributes: dict[str, Any]
    is_field: bool = False


def variables(forecast: Forecast) -> list[Variable]:
    """Returns the coordinates, the grid mapping, the forecast and its layers."""
    frames = forecast.values.shape[0]
    written: list[Variable] = []
    time_coordinates = []
    times, leads = forecast.times, forecast.leads
    if times is None:
        numbers = np.arange(1, frames + 1, dtype=np.int32)
        written.append(Variable("time", ("time",), numbers, {"long_name": "frames after the last input", "units": "1"}))
    else:
        valid = {"standard_name": "time", "long_name": "valid time (UTC)", "axis": "T"}
        # As in computers' clocks, every minute of UTC has 60 seconds, even one with a leap second.
        clock = {"units": f"seconds since {EPOCH}", "calendar": "proleptic_gregorian"}
        clock["units_metadata"] = "leap_seconds: none"
        written.append(Variable("time", ("time",), _seconds(times), valid | clock))
        issued = {"standard_name": "forecast_reference_time", "long_name": "time of the last input frame (UTC)"}
        assert forecast.issued is not None
        written.append(Variable("forecast_reference_time", (), _seconds(np.asarray(forecast.issued)), issued | clock))
        time_coordinates.append("forecast_reference_time")
    if leads is not None:
        period = {"standard_name": "forecast_period", "long_name": "lead time", "units": "minutes"}
        written.append(Variable("lead_time", ("time",), leads.astype(np.float64), period))
        time_coordinates.insert(0, "lead_time")
    coordinates, rows, columns = _coordinates(forecast.place)
    written += coordinates
    shared = {"coordinates": " ".join(time_coordinates)} if time_coordinates else {}
    if any(variable.name == "crs" for variable in coordinates):
        shared["grid_mapping"] = "crs"
    name, attributes = _FIELDS[forecast.units]
    values = np.asarray(forecast.values, np.float32)
    if values.ndim == 4 and values.shape[-1] == 1:
        values = values[..., 0]
    dimensions = ("time", rows, columns, "channel")[: values.ndim]
    written.append(Variable(name, dimensions, values, {**attributes, **shared}, True))
    for name, layer in forecast.layers.items():
        attributes = {"long_name": layer.long_name, "units": layer.units, **layer.attributes, **shared}
        written.append(Variable(name, dimensions[:3], np.asarray(layer.values, np.float32), attributes, True))
    return written


def attributes(forecast: Forecast) -> dict[str, Any]:
    """Returns the attributes of the file as a whole, with the forecast's provenance."""
    provenance = dict(forecast.provenance)
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    written: dict[str, Any] = {
        "Conventions": "CF-1.11",
        "title": "Forecast",
        "source": f"{SOURCE} {convlstm.__version__}, {provenance.get('model', 'a model')}",
        "history": f"{now} forecast by convlstm {convlstm.__version__}",
    }
    for name, value in provenance.items():
        if value is not None and value != {}:
            written[name] = value if isinstance(value, str | int | float) else json.dumps(value, default=str)
    return written


def _coordinates(place: Place | None) -> tuple[list[Variable], str, str]:
    """Returns the coordinates of rows and columns and the grid mapping, and the names of rows and columns."""
    if place is None:
        return [], "y", "x"
    if place.units == "deg":
        rows, columns = "lat", "lon"
        attributes = [
            {"standard_name": "latitude", "long_name": "latitude", "units": "degrees_north", "axis": "Y"},
            {"standard_name": "longitude", "long_name": "longitude", "units": "degrees_east", "axis": "X"},
        ]
    else:
        rows, columns = "y", "x"
        attributes = [
            {"standard_name": f"projection_{a}_coordinate", "long_name": f"{a} of projection", "units": "m", "axis": A}
            for a, A in (("y", "Y"), ("x", "X"))
        ]
    written = [
        Variable(name, (name,), np.asarray(values, np.float64), about)
        for name, values, about in zip((rows, columns), (place.y, place.x), attributes, strict=True)
    ]
    if mapping := grid_mapping(place.projection):
        written.append(Variable("crs", (), np.asarray(0, np.int32), mapping))
    return written, rows, columns


def _seconds(times: np.ndarray) -> np.ndarray:
    """Returns times as seconds since `EPOCH`."""
    return times.astype("datetime64[s]").astype(np.int64)
