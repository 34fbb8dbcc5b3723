"""NetCDF-4 files of forecasts, by the library netCDF4."""

from __future__ import annotations

from pathlib import Path

from convlstm.writers import cf
from convlstm.writers.forecast import Forecast
from convlstm.writers.library import library

import numpy as np


def write(path: Path, forecast: Forecast) -> None:
    """Writes a forecast with CF attributes, compressed, a chunk for each frame."""
    netcdf = library("netCDF4")
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
