from convlstm.datasets.readers import ReadError, recognise

import netCDF4
import pytest


def cfradial(path, kind):
    with netCDF4.Dataset(path, "w", format=kind) as file:
        for name, size in {"time": 4, "range": 5, "sweep": 1}.items():
            file.createDimension(name, size)
        for name in ("azimuth", "elevation"):
            file.createVariable(name, "f4", ("time",))[:] = 0
        file.createVariable("range", "f4", ("range",))[:] = 1
        file.createVariable("sweep_mode", "i4", ("sweep",))[:] = 0
        file.createVariable("DBZ", "f4", ("time", "range"))[:] = 3
    return path


@pytest.mark.parametrize("kind", ["NETCDF4", "NETCDF3_CLASSIC"])
def test_polar_scans_are_refused_with_the_way_to_grid_them(tmp_path, kind):
    path = cfradial(tmp_path / "sweep.nc", kind)
    reader = recognise(path)
    assert reader.format == "polar"
    for call in (reader.contents, lambda path: reader.read(path, 0)):
        with pytest.raises(ReadError, match=r"sweep\.nc is a polar scan of a single radar.*Grid it first, by xradar"):
            call(path)
