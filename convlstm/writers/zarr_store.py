"""Zarr stores of forecasts: arrays with CF attributes, a chunk for each frame."""

from __future__ import annotations

import warnings
from pathlib import Path

from convlstm.writers import cf
from convlstm.writers.forecast import Forecast
from convlstm.writers.library import library

import numpy as np


def write(path: Path, forecast: Forecast) -> None:
    """Writes a forecast as a store of version 2, which every zarr reads, with its metadata in one place."""
    zarr = library("zarr")
    new = not zarr.__version__.startswith("2.")
    how = {"zarr_format": 2} if new else {}
    group = zarr.open_group(str(path), mode="w", **how)
    group.attrs.update(cf.attributes(forecast))
    for variable in cf.variables(forecast):
        values = variable.values
        chunks = (1, *values.shape[1:]) if variable.is_field else values.shape
        fill = float("nan") if variable.is_field else None
        shape: dict = {"shape": values.shape, "chunks": chunks, "dtype": values.dtype, "fill_value": fill}
        array = group.create_array(variable.name, **shape) if new else group.create_dataset(variable.name, **shape)
        array.attrs.update({"_ARRAY_DIMENSIONS": list(variable.dimensions), **_plain(variable.attributes)})
        array[...] = values
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of version 3 alone, which this is not
        zarr.consolidate_metadata(str(path), **how)


def _plain(attributes: dict) -> dict:
    return {name: value.tolist() if isinstance(value, np.generic) else value for name, value in attributes.items()}
