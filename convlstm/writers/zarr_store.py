"""Zarr stores of forecasts: arrays with CF attributes and a chunk for each frame."""

from __future__ import annotations

import warnings
from pathlib import Path

from convlstm.backend.plain_files import parse_json, read_bytes
from convlstm.writers import cf
from convlstm.writers.forecast import SOURCE, Forecast
from convlstm.writers.optional_imports import library

import numpy as np

LONGEST = 1 << 22
"""Largest size of the attributes, in bytes."""


def write(path: Path, forecast: Forecast) -> None:
    """Writes a forecast as a store of version 2, which every zarr reads, with consolidated metadata."""
    zarr = library("zarr")
    is_zarr_3 = not zarr.__version__.startswith("2.")
    version = {"zarr_format": 2} if is_zarr_3 else {}
    group = zarr.open_group(str(path), mode="w", **version)
    group.attrs.update(cf.attributes(forecast))
    for variable in cf.variables(forecast):
        values = variable.values
        fill = float("nan") if variable.is_field else None
        shape: dict = {"shape": values.shape, "chunks": variable.chunks, "dtype": values.dtype, "fill_value": fill}
        array = (group.create_array if is_zarr_3 else group.create_dataset)(variable.name, **shape)
        array.attrs.update({"_ARRAY_DIMENSIONS": list(variable.dimensions), **_plain(variable.attributes)})
        array[...] = values
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the warnings concern stores of version 3
        zarr.consolidate_metadata(str(path), **version)


def is_forecast(path: Path) -> bool:
    """Returns True if a folder is a store that this project has written, or is empty."""
    if not any(path.iterdir()):
        return True
    attributes = parse_json(read_bytes(path / ".zattrs", LONGEST))
    return isinstance(attributes, dict) and str(attributes.get("source", "")).startswith(SOURCE)


def _plain(attributes: dict) -> dict:
    return {name: value.tolist() if isinstance(value, np.generic) else value for name, value in attributes.items()}
