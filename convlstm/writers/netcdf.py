"""NetCDF-4 files of forecasts, by the library netCDF4."""

from __future__ import annotations

import errno
from pathlib import Path
from types import ModuleType

from convlstm.writers import cf
from convlstm.writers.forecast import Forecast
from convlstm.writers.library import library

import numpy as np


def write(path: Path, forecast: Forecast) -> None:
    """Writes a forecast with CF attributes, compressed, a chunk for each frame; OSError where that fails."""
    netcdf = library("netCDF4")
    try:
        _write(netcdf, path, forecast)
    except RuntimeError as error:  # the library has no other word for it
        raise OSError(errno.EIO, f"netCDF4 cannot write it ({error}); the disk may be full", str(path)) from error


def _write(netcdf: ModuleType, path: Path, forecast: Forecast) -> None:
    with netcdf.Dataset(str(path), "w", format="NETCDF4") as file:
        for variable in (found := cf.variables(forecast)):
            for name, size in zip(variable.dimensions, variable.values.shape, strict=True):
                if name not in file.dimensions:
                    file.createDimension(name, size)
        for variable in found:
            options: dict = {}
            if variable.is_field:
                chunk = (1, *variable.values.shape[1:])
                options = {"zlib": True, "complevel": 4, "shuffle": True, "chunksizes": chunk}
                options["fill_value"] = np.float32(np.nan)
            made = file.createVariable(variable.name, variable.values.dtype, variable.dimensions, **options)
            made.setncatts(variable.attributes)
            made[...] = variable.values
        file.setncatts(cf.attributes(forecast))
