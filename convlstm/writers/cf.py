"""A forecast as variables that keep the conventions for climate and forecast metadata (CF 1.11)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import convlstm
from convlstm.writers.crs import grid_mapping
from convlstm.writers.forecast import Forecast

import numpy as np

# By unit of the values: the variable's name and its attributes.
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
    """An array, its name, those of its dimensions, its attributes, and whether it has a value for each pixel."""

    name: str
    dimensions: tuple[str, ...]
    values: np.ndarray
    attributes: dict[str, Any]
    is_field: bool = False


def variables(forecast: Forecast) -> list[Variable]:
    """The coordinates, the grid mapping, the forecast and its layers."""
    frames = forecast.values.shape[0]
    found: list[Variable] = []
    also = []
    times, leads = forecast.times, forecast.leads
    if times is None:
        numbers = np.arange(1, frames + 1, dtype=np.int32)
        found.append(Variable("time", ("time",), numbers, {"long_name": "frames after the last input", "units": "1"}))
    else:
        told = {"standard_name": "time", "long_name": "valid time (UTC)", "axis": "T"}
        # As computers count: a minute of UTC with a leap second has 60 seconds, too.
        clock = {"units": f"seconds since {EPOCH}", "calendar": "proleptic_gregorian"}
        clock["units_metadata"] = "leap_seconds: none"
        found.append(Variable("time", ("time",), _seconds(times), told | clock))
        issued = {"standard_name": "forecast_reference_time", "long_name": "time of the last input frame (UTC)"}
        assert forecast.issued is not None
        found.append(Variable("forecast_reference_time", (), _seconds(np.asarray(forecast.issued)), issued | clock))
        also.append("forecast_reference_time")
    if leads is not None:
        told = {"standard_name": "forecast_period", "long_name": "lead time", "units": "minutes"}
        found.append(Variable("lead_time", ("time",), leads.astype(np.float64), told))
        also.insert(0, "lead_time")
    rows, columns, mapping = _place(forecast, found)
    inside = {"coordinates": " ".join(also)} if also else {}
    if mapping:
        inside["grid_mapping"] = mapping
    name, attributes = _FIELDS[forecast.units]
    values = np.asarray(forecast.values, np.float32)
    if values.ndim == 4 and values.shape[-1] == 1:
        values = values[..., 0]
    dimensions = ("time", rows, columns, "channel")[: values.ndim]
    found.append(Variable(name, dimensions, values, {**attributes, **inside}, True))
    for other, layer in forecast.layers.items():
        told = {"long_name": layer.long_name, "units": layer.units, **layer.attributes, **inside}
        found.append(Variable(other, dimensions[:3], np.asarray(layer.values, np.float32), told, True))
    return found


def attributes(forecast: Forecast) -> dict[str, Any]:
    """What is said of the file as a whole, with where the forecast comes from."""
    told = dict(forecast.provenance)
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    found: dict[str, Any] = {
        "Conventions": "CF-1.11",
        "title": "Forecast",
        "source": f"convlstm {convlstm.__version__}, {told.get('model', 'a model')}",
        "history": f"{now} forecast by convlstm {convlstm.__version__}",
    }
    for name, value in told.items():
        if value is not None and value != {}:
            found[name] = value if isinstance(value, str | int | float) else json.dumps(value, default=str)
    return found


def _place(forecast: Forecast, found: list[Variable]) -> tuple[str, str, str | None]:
    """Adds the coordinates of rows and columns; their names, and that of the grid mapping."""
    place = forecast.place
    if place is None:
        return "y", "x", None
    if place.units == "deg":
        names = ("lat", "lon")
        told = [
            {"standard_name": "latitude", "long_name": "latitude", "units": "degrees_north", "axis": "Y"},
            {"standard_name": "longitude", "long_name": "longitude", "units": "degrees_east", "axis": "X"},
        ]
    else:
        names = ("y", "x")
        told = [
            {"standard_name": f"projection_{a}_coordinate", "long_name": f"{a} of projection", "units": "m", "axis": A}
            for a, A in (("y", "Y"), ("x", "X"))
        ]
    for name, values, attributes in zip(names, (place.y, place.x), told, strict=True):
        found.append(Variable(name, (name,), np.asarray(values, np.float64), attributes))
    mapping = grid_mapping(place.projection)
    if not mapping:
        return *names, None
    found.append(Variable("crs", (), np.asarray(0, np.int32), mapping))
    return *names, "crs"


def _seconds(times: np.ndarray) -> np.ndarray:
    return times.astype("datetime64[s]").astype(np.int64)
