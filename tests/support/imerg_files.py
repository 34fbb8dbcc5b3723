"""IMERG files for tests."""

import h5py
import numpy as np

RAIN = np.arange(12, dtype=np.float32).reshape(1, 4, 3)  # time, lon, lat


def write_imerg(path, version=7):
    """Writes a global grid of 4 longitudes and 3 latitudes; returns the path."""
    name = "precipitation" if version == 7 else "precipitationCal"
    seconds, since = (643852800, "1980-01-06") if version == 7 else (959817600, "1970-01-01")
    rain = RAIN.copy()
    rain[0, 0, 0] = -9999.9
    variables = {
        "time": ("time", np.array([seconds], np.int32), f"seconds since {since} 00:00:00 UTC"),
        "lon": ("lon", np.array([-179.95, -179.85, -179.75, -179.65], np.float32), "degrees_east"),
        "lat": ("lat", np.array([-89.95, -89.85, -89.75], np.float32), "degrees_north"),
        name: ("time,lon,lat", rain, "mm/hr"),
        "randomError": ("time,lon,lat", rain / 10, "mm/hr"),
        "time_bnds": ("time,nv", np.array([[seconds, seconds + 1800]], np.int32), f"seconds since {since}"),
    }
    with h5py.File(path, "w") as file:
        group = file.create_group("Grid")
        group.attrs["GridHeader"] = np.bytes_(b"BinMethod=ARITHMETIC_MEAN;\n")
        for label, (dimensions, values, units) in variables.items():
            item = group.create_dataset(label, data=values)
            item.attrs["DimensionNames"], item.attrs["units"] = np.bytes_(dimensions), np.bytes_(units)
            if label == "time":
                item.attrs["calendar"] = np.bytes_(b"julian")
            if "lon," in dimensions:
                item.attrs["_FillValue"] = np.float32(-9999.9)
    return path
