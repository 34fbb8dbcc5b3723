"""Zarr stores of forecasts, versions 2 and 3: arrays with CF attributes and a chunk for each frame."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

from convlstm.backend.plain_files import parse_json, read_bytes
from convlstm.writers import cf
from convlstm.writers.forecast import SOURCE, Forecast
from convlstm.writers.optional_imports import MissingWriterError, library

import numpy as np

LONGEST = 1 << 22
"""Largest size of the attributes, in bytes."""


def write(path: Path, forecast: Forecast) -> None:
    """Writes a forecast as a store of version 2, which every zarr reads, with consolidated metadata."""
    _write(path, forecast, 2)


def write_version_3(path: Path, forecast: Forecast) -> None:
    """Writes a forecast as a store of version 3, with consolidated metadata.

    Raises:
        MissingWriterError: The library is older than zarr 3.
    """
    _write(path, forecast, 3)


def is_forecast(path: Path) -> bool:
    """Returns True if a folder is a store that this project has written, or is empty."""
    if not any(path.iterdir()):
        return True
    if (path / "zarr.json").is_file():
        group = parse_json(read_bytes(path / "zarr.json", LONGEST))
        attributes = group.get("attributes") if isinstance(group, dict) else None
    else:
        attributes = parse_json(read_bytes(path / ".zattrs", LONGEST))
    return isinstance(attributes, dict) and str(attributes.get("source", "")).startswith(SOURCE)


def _write(path: Path, forecast: Forecast, version: int) -> None:
    zarr = library("zarr")
    knows_3 = not zarr.__version__.startswith("2.")
    if version == 3 and not knows_3:
        raise MissingWriterError(
            f"a store of version 3 needs zarr 3 but zarr {zarr.__version__} is installed. Upgrade it (pip install "
            "'zarr>=3', with Python 3.11 or later), or write version 2: format=zarr."
        )
    chosen = {"zarr_format": version} if knows_3 else {}
    group = zarr.open_group(str(path), mode="w", **chosen)
    group.attrs.update(cf.attributes(forecast))
    for variable in cf.variables(forecast):
        values = variable.values
        fill = float("nan") if variable.is_field else None
        options: dict = {"shape": values.shape, "chunks": variable.chunks, "dtype": values.dtype, "fill_value": fill}
        attributes = _plain(variable.attributes)
        if version == 3:
            options["dimension_names"] = variable.dimensions
        else:
            attributes = {"_ARRAY_DIMENSIONS": list(variable.dimensions), **attributes}
        if variable.is_field:
            options["compressors" if knows_3 else "compressor"] = _zstd(zarr, version)
        array = (group.create_array if knows_3 else group.create_dataset)(variable.name, **options)
        array.attrs.update(attributes)
        array[...] = values
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # consolidated metadata of version 3 are an extension
        zarr.consolidate_metadata(str(path), **chosen)


def _zstd(zarr: ModuleType, version: int) -> Any:
    """Returns the codec of the fields: Zstandard, which packs them best among those that every zarr knows."""
    if version == 3:
        return zarr.codecs.ZstdCodec(level=5)
    return library("numcodecs").Zstd(level=5)


def _plain(attributes: dict) -> dict:
    return {name: value.tolist() if isinstance(value, np.generic) else value for name, value in attributes.items()}
