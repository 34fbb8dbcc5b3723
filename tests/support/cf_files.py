"""Small NetCDF files of gridded fields, as the services of oceans and climate write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

LAT, LON = np.array([47.0, 46.5, 46.0], np.float32), np.array([8.0, 8.5, 9.0, 9.5], np.float32)
HOURS = {"units": "hours since 2020-01-01", "standard_name": "time"}
COORDINATES: dict[str, tuple[Sequence[str], Any, dict[str, Any]]] = {
    "time": (("time",), np.arange(6), HOURS),
    "lat": (("lat",), LAT, {"units": "degrees_north", "standard_name": "latitude"}),
    "lon": (("lon",), LON, {"units": "degrees_east", "standard_name": "longitude"}),
}


def write_cf(path: Path, variables: Mapping[str, tuple[Sequence[str], Any, Mapping[str, Any]]], **changes: Any) -> Path:
    """Writes variables, each of dimensions, values and attributes.

    Args:
        path: The file.
        variables: The variables by name.
        changes: Coordinates instead of those of 6 hours, 3 latitudes and 4 longitudes; None for none.
    """
    import netCDF4

    every = {name: one for name, one in (COORDINATES | changes).items() if one is not None} | dict(variables)
    with netCDF4.Dataset(path, "w") as file:
        for name, (dimensions, values, attributes) in every.items():
            for dimension, size in zip(dimensions, np.shape(values), strict=True):
                if dimension not in file.dimensions:
                    file.createDimension(dimension, size)
            values = np.asarray(values)
            fill = attributes.get("_FillValue")
            variable = file.createVariable(name, values.dtype, tuple(dimensions), fill_value=fill)
            variable.set_auto_maskandscale(False)
            variable.setncatts({key: value for key, value in attributes.items() if key != "_FillValue"})
            variable[...] = values
    return path


def frames(*shape: int, first: float = 1.0) -> np.ndarray:
    """Returns float32 numbers of which each is another one, rising."""
    return (first + np.arange(np.prod(shape), dtype=np.float32)).reshape(shape)
