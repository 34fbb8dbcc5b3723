"""Forecasts as variables that follow the conventions for climate and forecast metadata (CF 1.11)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import convlstm
from convlstm.writers.crs import grid_mapping
from convlstm.writers.forecast import SOURCE, Forecast, Place, Quantity

import numpy as np

# Name and attributes of the forecast's variable, by units of the values.
_FIELDS = {
    "mm/h": Quantity("rain_rate", "mm/h", "lwe_precipitation_rate", "rain rate"),
    "dBZ": Quantity("reflectivity", "dBZ", "equivalent_reflectivity_factor", "equivalent reflectivity factor"),
    "": Quantity("field", "", long_name="forecast field in [0, 1]"),
}
# The spelling of UDUNITS.
_UNITS = {"mm/h": "mm h-1", "raw": "1", "": "1"}
EPOCH = "1970-01-01 00:00:00"
_SIZE = "number_of_realizations"


@dataclass(frozen=True)
class Variable:
    """An array with its name, the names of its dimensions and its attributes. A field has a value for each pixel."""

    name: str
    dimensions: tuple[str, ...]
    values: np.ndarray
    attributes: dict[str, Any]
    is_field: bool = False

    @property
    def chunks(self) -> tuple[int, ...]:
        """The shape of the chunks in which it is stored: a frame of a field, one of a member."""
        frames = self.dimensions.index("time") + 1 if self.is_field else 0
        return (1,) * frames + self.values.shape[frames:]


def variables(forecast: Forecast) -> list[Variable]:
    """Returns the coordinates, the grid mapping, the forecast, its layers and its members.

    The members of `rain_rate` are `rain_rate_members`, with the dimension `realization` in front. What stands beside
    the forecast are its ancillary variables, so that readers know which of the fields is the forecast.
    """
    frames = forecast.values.shape[0]
    written: list[Variable] = []
    auxiliary = []
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
        auxiliary.append("forecast_reference_time")
    if leads is not None:
        period = {"standard_name": "forecast_period", "long_name": "lead time", "units": "minutes"}
        written.append(Variable("lead_time", ("time",), leads.astype(np.float64), period))
        auxiliary.insert(0, "lead_time")
    about_forecast = dict(forecast.about)
    # The axis over which the members are combined, as a coordinate: the dimension is gone.
    if size := about_forecast.pop("ensemble_size", None):
        number = {"long_name": "number of members", "units": "1"}
        written.append(Variable(_SIZE, (), np.asarray(size, np.int32), number))
    place = forecast.place
    rows, columns = ("y", "x") if place is None else place.dimensions
    shared = {}
    if place is not None:
        written += coordinates_of(place)
        # Latitudes and longitudes of each pixel.
        auxiliary += [c.name for c in place.coordinates if len(c.dimensions) == 2]
        if mapping := place.mapping or next((v.name for v in written if v.name == "crs"), None):
            shared["grid_mapping"] = mapping
    if auxiliary:
        shared["coordinates"] = " ".join(auxiliary)
    values, members = np.asarray(forecast.values, np.float32), forecast.members
    dimensions: tuple[str, ...] = ("time", rows, columns)
    fields = forecast.fields or (_FIELDS.get(forecast.units, Quantity("field", forecast.units, "", "forecast field")),)
    if values.ndim == 3:
        values, members = values[..., None], None if members is None else members[..., None]
    of_fields: list[Variable] = []
    separate = values.shape[-1] == len(fields)
    for n, one in enumerate(fields if separate else fields[:1]):
        channels, last = (n, ()) if separate else (slice(None), ("channel",))
        about = {**about_of(one), **shared}
        beside = [*forecast.layers, *([f"{one.name}_members"] if members is not None else [])]
        further = _combined(about_forecast, shared, size)
        if beside:
            further["ancillary_variables"] = " ".join(beside)
        written.append(Variable(one.name, (*dimensions, *last), values[..., channels], about | further, True))
        if members is not None:
            # A view, as members are large.
            of_one = np.asarray(members, np.float32)[..., channels]
            described = about | {"long_name": f"members of {about.get('long_name', one.name)}"}
            axes = ("realization", *dimensions, *last)
            of_fields.append(Variable(f"{one.name}_members", axes, of_one, described, True))
    for name, layer in forecast.layers.items():
        attributes = {"long_name": layer.long_name, "units": layer.units, **shared}
        attributes |= _combined(layer.attributes, shared, size)
        written.append(Variable(name, dimensions, np.asarray(layer.values, np.float32), attributes, True))
    if members is not None:
        numbers = np.arange(1, len(members) + 1, dtype=np.int32)
        about_number = {"standard_name": "realization", "long_name": "number of the member", "units": "1"}
        written.append(Variable("realization", ("realization",), numbers, about_number))
    return written + of_fields


def _combined(about: Mapping[str, Any], shared: Mapping[str, Any], size: int | None) -> dict[str, Any]:
    """Returns attributes of a field; one that is made of all members has their number among its coordinates."""
    if not size or not str(about.get("cell_methods", "")).startswith("realization:"):
        return dict(about)
    return {**about, "coordinates": " ".join(filter(None, (shared.get("coordinates"), _SIZE)))}


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
    return written | dict(forecast.attributes)


def about_of(field: Quantity) -> dict[str, Any]:
    """Returns the attributes of a field."""
    named = {"standard_name": field.standard_name, "long_name": field.long_name}
    about = {name: text for name, text in named.items() if text} | {"units": _UNITS.get(field.units, field.units)}
    if field.standard_name.endswith("temperature"):  # no difference of two, which other programs convert differently
        about["units_metadata"] = "temperature: on_scale"
    return about


def coordinates_of(place: Place) -> list[Variable]:
    """Returns the coordinates of the pixels and the grid mapping."""
    written = [Variable(c.name, c.dimensions, np.asarray(c.values), dict(c.attributes)) for c in place.coordinates]
    if place.mapping is None and (mapping := mapping_of(place)):
        written.append(Variable("crs", (), np.asarray(0, np.int32), mapping))
    return written


def mapping_of(place: Place) -> dict[str, Any]:
    """Returns the attributes of the grid mapping: those of the input, else those of the projection; {} for neither."""
    return place.mapping_attributes or grid_mapping(place.projection)


def _seconds(times: np.ndarray) -> np.ndarray:
    """Returns times as seconds since `EPOCH`."""
    return times.astype("datetime64[s]").astype(np.int64)
