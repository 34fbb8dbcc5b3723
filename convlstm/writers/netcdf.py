"""NetCDF-4 files of forecasts, by the library netCDF4."""

from __future__ import annotations

import errno
from pathlib import Path
from types import ModuleType

from convlstm.writers import cf
from convlstm.writers.forecast import SOURCE, Forecast
from convlstm.writers.optional_imports import library

import numpy as np


def write(path: Path, forecast: Forecast) -> None:
    """Writes a forecast with CF attributes, compressed, with a chunk for each frame. Raises OSError if that fails."""
    netcdf = library("netCDF4")
    try:
        _write(netcdf, path, forecast)
    except RuntimeError as error:  # the library raises nothing more precise
        raise OSError(errno.EIO, f"netCDF4 cannot write it ({error}); the disk may be full", str(path)) from error


def is_forecast(path: Path) -> bool:
    """Returns True if the file says that this project has written it."""
    with library("netCDF4").Dataset(str(path)) as file:
        return str(getattr(file, "source", "")).startswith(SOURCE)


def _write(netcdf: ModuleType, path: Path, forecast: Forecast) -> None:
    variables = cf.variables(forecast)
    with netcdf.Dataset(str(path), "w", format="NETCDF4") as file:
        for variable in variables:
            for name, size in zip(variable.dimensions, variable.values.shape, strict=True):
                if name not in file.dimensions:
                    file.createDimension(name, size)
        for variable in variables:
            options: dict = {}
            if variable.is_field:
                options = {"zlib": True, "complevel": 4, "shuffle": True, "chunksizes": variable.chunks}
                options["fill_value"] = np.float32(np.nan)
            created = file.createVariable(variable.name, variable.values.dtype, variable.dimensions, **options)
            created.setncatts(variable.attributes)
            created[...] = variable.values
        file.setncatts(cf.attributes(forecast))
