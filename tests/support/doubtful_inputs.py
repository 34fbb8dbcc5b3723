"""Wrong or doubtful inputs, written as small files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.cf_files import HOURS, LAT, LON, frames, write_cf

import numpy as np

DIMENSIONS = ("time", "lat", "lon")
DEGC = {"units": "degC", "standard_name": "sea_surface_temperature"}


def sst(path: Path, values: Any = None, about: Any = None, dimensions=DIMENSIONS, more: Any = None, **changes) -> Path:
    """Writes one variable `sst` on 12 hours, or on the coordinates in `changes`."""
    values = frames(12, 3, 4) if values is None else values
    changes = {"time": (("time",), np.arange(12), HOURS)} | changes
    return write_cf(path, {"sst": (dimensions, values, DEGC if about is None else about), **(more or {})}, **changes)


def rain(path: Path, about: dict[str, Any], values: Any = None, **changes) -> Path:
    """Writes one variable `precipitation` on 12 hours."""
    values = frames(12, 3, 4) / 20 if values is None else values
    changes = {"time": (("time",), np.arange(12), HOURS)} | changes
    return write_cf(path, {"precipitation": (DIMENSIONS, values, about)}, **changes)


def hours(values: Any, **about: Any) -> dict[str, Any]:
    """Returns the coordinate of other times."""
    return {"time": (("time",), np.asarray(values), HOURS | about)}


def folder(path: Path, *writers: Callable[[Path], Any]) -> Path:
    """Writes a folder of files."""
    path.mkdir()
    for n, write in enumerate(writers):
        write(path / f"{n}.nc")
    return path


def of_hour(n: int, **options: Any) -> Callable[[Path], Path]:
    """Returns a writer of a file with a single hour."""
    shape = options.pop("shape", (1, 3, 4))
    return lambda path: sst(path, options.pop("values", frames(*shape)), **hours([n]), **options)


def one_day(path: Path, calendar: str, day: int) -> Path:
    """Writes the hours of a day, counted from the start of 2020, in a calendar."""
    return sst(path, **hours(np.arange(12) + 24 * day, calendar=calendar))


def shifted(degrees: float) -> dict[str, Any]:
    """Returns longitudes that lie further east."""
    return {"lon": (("lon",), LON + np.float32(degrees), {"units": "degrees_east", "standard_name": "longitude"})}


def one_hour(path: Path, hour: int, calendar: str) -> Path:
    """Writes a file with a single hour in a calendar."""
    return sst(path, frames(1, 3, 4), **hours([hour], calendar=calendar))


def packed(path: Path, numbers: Any, **about: Any) -> Path:
    """Writes 16-bit numbers with a scale and an offset."""
    return sst(path, np.asarray(numbers, np.int16), DEGC | {"scale_factor": 0.01, "add_offset": 20.0} | about)


def with_land(value: float) -> np.ndarray:
    """Returns temperatures whose first column is land of a value that nobody declares."""
    values = 10 + frames(12, 3, 4) / 100
    values[..., 0] = value
    return values


COUNTED = np.arange(144).reshape(12, 3, 4)
NAN = np.full((12, 3, 4), np.nan, np.float32)
OTHER = {"u10": (DIMENSIONS, frames(12, 3, 4), {"units": "m s-1"})}
LEVEL = {"level": (("level",), np.array([500.0, 850.0]), {"units": "hPa"})}
MEMBERS = {"number": (("number",), np.arange(2), {"standard_name": "realization"})}
EXPVER = {"expver": (("expver",), np.array([1, 5], np.int32), {})}
WITH_LEVEL = ("time", "level", "lat", "lon")
SUMS = {"units": "m", "standard_name": "lwe_thickness_of_precipitation_amount"}
MONTHS = np.array([0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334])
SINCE_2021 = {"units": "days since 2021-01-01"}
# Unwritten numbers of NetCDF, which the second frame has.
UNWRITTEN = np.where(np.arange(144).reshape(12, 3, 4) == 17, 9.969209968386869e36, frames(12, 3, 4)).astype(np.float32)


def accumulated_to(n: int) -> Callable[[Path], Path]:
    """Returns a writer of a file with the sum of n hours."""
    bounds = {"bounds": (("time", "two"), np.array([[0, n]]), {})}
    time = (("time",), [n], HOURS | {"bounds": "bounds"})
    return lambda path: write_cf(path, {"tp": (DIMENSIONS, n * frames(1, 3, 4), SUMS), **bounds}, time=time)


FILES: dict[str, Callable[[Path], Any]] = {
    "units missing": lambda p: sst(p, about={"long_name": "temperature"}),
    "units odd": lambda p: sst(p, about={"units": "furlongs per fortnight"}),
    "NaN only": lambda p: sst(p, NAN),
    "several variables": lambda p: sst(p, more=OTHER),
    "one dimension too many": lambda p: sst(p, frames(12, 2, 3, 4), None, ("time", "level", "lat", "lon"), **LEVEL),
    "transposed": lambda p: sst(p, frames(12, 4, 3), None, ("time", "lon", "lat")),
    "calendar noleap": lambda p: one_day(p, "noleap", 59),
    "calendar 360_day": lambda p: one_day(p, "360_day", 58),
    "30 February": lambda p: one_day(p, "360_day", 59),
    "calendar unknown": lambda p: one_day(p, "maya", 58),
    "irregular steps": lambda p: sst(p, **hours([0, 1, 3, 4, 8, 9, 10, 14, 15, 16, 21, 22])),
    "step from 1 h to 3 h": lambda p: sst(p, **hours([0, 1, 2, 3, 4, 5, 6, 9, 12, 15, 18, 21])),
    "monthly steps": lambda p: sst(p, **hours(MONTHS, **SINCE_2021)),
    "a month is missing": lambda p: sst(p, frames(11, 3, 4), **hours(np.delete(MONTHS, 6), **SINCE_2021)),
    "times unsorted": lambda p: sst(p, **hours([0, 3, 1, 2, 5, 4, 7, 6, 9, 8, 11, 10])),
    "a time is missing": lambda p: sst(p, **hours(np.where(np.arange(12) == 5, np.nan, np.arange(12.0)))),
    "duplicate times": lambda p: sst(p, **hours([0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10])),
    "times decrease": lambda p: sst(p, **hours(np.arange(12)[::-1])),
    "south first": lambda p: sst(p, lat=(("lat",), LAT[::-1].copy(), {"units": "degrees_north"})),
    "longitudes decrease": lambda p: sst(p, lon=(("lon",), LON[::-1].copy(), {"units": "degrees_east"})),
    "degF": lambda p: sst(p, about={"units": "degF"}),
    "rain without units": lambda p: rain(p, {"long_name": "rainfall"}),
    "rain in unknown units": lambda p: rain(p, {"units": "unknown", "standard_name": "rainfall_rate"}),
    "rain as sum 5min": lambda p: rain(p, {"units": "sum 5min", "standard_name": "precipitation_amount"}),
    "rain in mm/5min": lambda p: rain(p, {"units": "mm/5min", "standard_name": "rainfall_rate"}),
    "rain as dBZ": lambda p: rain(p, {"units": "dBZ"}),
    "a flux that is no rain": lambda p: sst(p, about={"units": "kg m-2 s-1", "long_name": "flux of CO2"}),
    "percent": lambda p: sst(p, about={"units": "%", "long_name": "cloud cover"}),
    "accumulation since start": lambda p: rain(p, SUMS, np.cumsum(frames(12, 10, 10), 0) / 1e5, lat=None, lon=None),
    "accumulation by its bounds": lambda p: write_cf(
        p,
        {
            "tp": (DIMENSIONS, np.cumsum(frames(12, 3, 4), 0) / 1e4, SUMS),
            "bounds": (("time", "two"), np.stack([np.zeros(12), np.arange(1, 13)], 1), {}),
        },
        time=(("time",), np.arange(1, 13), HOURS | {"bounds": "bounds"}),
    ),
    "accumulations in files": lambda p: folder(p, *[accumulated_to(n) for n in range(1, 9)]),
    "negative rain": lambda p: rain(
        p, {"units": "mm h-1", "standard_name": "rainfall_rate"}, frames(12, 3, 4, first=-70.0)
    ),
    "absurd rain": lambda p: rain(p, {"units": "mm h-1", "standard_name": "rainfall_rate"}, 1e5 * frames(12, 3, 4)),
    "infinite values": lambda p: sst(p, np.where(frames(12, 3, 4) % 3 == 0, np.inf, 1).astype(np.float32)),
    "a huge gap": lambda p: sst(p, **hours([0, 1, 2, 3, 4, 5, 1000, 1001, 1002, 1003, 1004, 1005])),
    "frames of the future": lambda p: sst(p, **hours(np.arange(12) + 24 * 365 * 60)),
    "mixed grids": lambda p: folder(
        p,
        *[of_hour(n) for n in range(8)],
        of_hour(8, shape=(1, 3, 2), lon=(("lon",), LON[:2], {"units": "degrees_east"})),
    ),
    "mixed units": lambda p: folder(
        p, *[of_hour(n) for n in range(8)], of_hour(8, about={"units": "K", "standard_name": "sea_surface_temperature"})
    ),
    "files of another place": lambda p: folder(p, *[of_hour(n) for n in range(8)], of_hour(8, **shifted(10))),
    "longitudes from 0 and from -180": lambda p: folder(
        p,
        *[of_hour(n, values=frames(1, 3, 4, first=12 * n + 1)) for n in range(8)],
        *[of_hour(n, values=frames(1, 3, 4, first=12 * n + 1), **shifted(360)) for n in range(8, 12)],
    ),
    "mixed calendars": lambda p: folder(p, *[of_hour(n) for n in range(8)], lambda q: one_hour(q, 8, "noleap")),
    "mixed packing": lambda p: folder(
        p,
        *[of_hour(n) for n in range(8)],
        lambda q: sst(q, frames(1, 3, 4).astype(np.int16), DEGC | {"scale_factor": 1.0}, **hours([8])),
    ),
    "packed without fill": lambda p: packed(p, np.where(np.arange(144).reshape(12, 3, 4) % 3, 200, -32768)),
    "packed with a fill": lambda p: packed(p, np.where(COUNTED % 12 == 5, -999, COUNTED), _FillValue=np.int16(-999)),
    "unwritten numbers": lambda p: sst(p, UNWRITTEN),
    "land as -9999": lambda p: sst(p, with_land(-9999)),
    "land as 1e20": lambda p: sst(p, with_land(1e20)),
    "members": lambda p: sst(p, frames(12, 2, 3, 4), None, ("time", "number", "lat", "lon"), **MEMBERS),
    "an unknown dimension": lambda p: sst(p, frames(12, 2, 3, 4), None, ("time", "band", "lat", "lon")),
    "a level that is not there": lambda p: sst(p, frames(12, 2, 3, 4), None, WITH_LEVEL, **LEVEL),
    "a level by a word": lambda p: sst(p, frames(12, 2, 3, 4), None, WITH_LEVEL, **LEVEL),
    "a dimension that is not there": lambda p: sst(p),
    "a variable that is not there": lambda p: sst(p),
    "differences of a temperature": lambda p: sst(p),
    "final and preliminary": lambda p: sst(
        p,
        np.stack([np.where(np.arange(12)[:, None, None] < 9, frames(12, 3, 4), np.nan), 9 + frames(12, 3, 4)], 1),
        None,
        ("time", "expver", "lat", "lon"),
        **EXPVER,
    ),
    "some frames NaN": lambda p: sst(p, np.where(np.arange(12)[:, None, None] == 5, np.nan, frames(12, 3, 4))),
    "a temperature as rain": lambda p: sst(p),
    "times with a zone": lambda p: sst(p, **hours(np.arange(12), units="hours since 2020-01-01 00:00:00 +02:00")),
    "times without units": lambda p: sst(p, time=(("time",), np.arange(12), {"standard_name": "time"})),
    "no time at all": lambda p: sst(p, frames(3, 4), None, ("lat", "lon"), time=None),
    "no rows": lambda p: sst(
        p, np.zeros((12, 0, 4), np.float32), lat=(("lat",), np.zeros(0, np.float32), {"units": "degrees_north"})
    ),
    "no frames": lambda p: sst(p, np.zeros((0, 3, 4), np.float32), **hours(np.zeros(0))),
    "a single frame": lambda p: sst(p, frames(1, 3, 4), **hours([0])),
    "a text variable": lambda p: sst(p, np.full((12, 3, 4), "x", "S1")),
    "a constant": lambda p: sst(p, np.ones((12, 3, 4), np.float32)),
    "complex numbers": lambda p: np.save(p.with_suffix(".npy"), np.ones((12, 3, 4), np.complex64)),
    "objects": lambda p: np.save(p.with_suffix(".npy"), np.array([{}] * 12, object)),
    "an empty file": lambda p: p.write_bytes(b""),
    "a text file": lambda p: p.write_text("no data"),
    "an empty folder": lambda p: p.mkdir(),
}
