"""Variables as files of forecasts have them, as an xarray Dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from convlstm.writers.cf import EPOCH, Variable
from convlstm.xarrays.library import xarray

_CLOCK = f"seconds since {EPOCH}"


def as_dataset(variables: Sequence[Variable], attributes: Mapping[str, Any]) -> Any:
    """Returns the Dataset that xarray reads from a file of these variables, with times and lead times decoded.

    Variables without a field are coordinates, also the grid mapping. Fields name it in their encoding, where xarray and
    rioxarray look for it, and their attributes have no list of coordinates.
    """
    xr = xarray()
    fields: dict[str, Any] = {}
    coordinates: dict[str, Any] = {}
    for variable in variables:
        values, about = variable.values, dict(variable.attributes)
        encoding: dict[str, Any] = {}
        if about.get("units") == _CLOCK:
            encoding |= {name: about.pop(name) for name in ("units", "calendar") if name in about}
            values = values.astype("datetime64[s]").astype("datetime64[ns]")
        elif about.get("standard_name") == "forecast_period":
            encoding["units"] = about.pop("units")
            values = (values * 60e9).round().astype("timedelta64[ns]")
        about.pop("coordinates", None)
        if "grid_mapping" in about:
            encoding["grid_mapping"] = about.pop("grid_mapping")
        made = xr.Variable(variable.dimensions, values, about, encoding)
        (fields if variable.is_field else coordinates)[variable.name] = made
    return xr.Dataset(fields, coordinates, dict(attributes))
