"""A forecast as a Dataset is what xarray reads from the file of it."""

from dataclasses import replace

from convlstm.writers import Layer, cf, write
from convlstm.xarrays.as_dataset import as_dataset
from tests.support.forecasts import example

import numpy as np
import pytest

xr = pytest.importorskip("xarray")


@pytest.mark.parametrize("name", ["f.nc", "f.zarr"])
def test_it_is_what_xarray_reads_from_a_file(tmp_path, rng, name):
    pytest.importorskip("netCDF4" if name == "f.nc" else "zarr")
    forecast = example(rng)
    members = rng.uniform(0, 5, (2, *forecast.values.shape)).astype(np.float32)
    layers = {"spread": Layer(members[0], "mm h-1", "standard deviation")}
    forecast = replace(forecast, members=members, layers=layers)
    made = as_dataset(cf.variables(forecast), cf.attributes(forecast))
    path = write(tmp_path / name, forecast)
    options = {"engine": "zarr"} if name == "f.zarr" else {}
    with xr.open_dataset(path, decode_coords="all", decode_timedelta=True, **options) as read:
        assert set(made.coords) == set(read.coords)
        xr.testing.assert_equal(made, read)
        for field in read.data_vars:
            assert made[field].attrs == {k: v for k, v in read[field].attrs.items() if k != "_FillValue"}
            assert made[field].encoding["grid_mapping"] == read[field].encoding["grid_mapping"]
        assert made.attrs.keys() == read.attrs.keys()
