"""The Met Office's NIMROD binary files: records of a header and a field, all big-endian.

An own reader, since the records are simple. Its values and coordinates agree with those of Iris, which brings SciPy,
cartopy, dask and others.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from convlstm.datasets.readers.block_cache import identity
from convlstm.datasets.readers.cf.reader import CFReader
from convlstm.datasets.readers.cf.variable import Variable
from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.limits import check_frame
from convlstm.datasets.readers.plain_files import open_plain

import numpy as np

_HEADER = 512
_MOST_FIELDS = 10_000
_EPOCH = "seconds since 1970-01-01"
_MISSING = -32767.0  # of an element of the header
_NAMES = {
    12: "air_pressure", 27: "snow_fraction", 28: "snow_probability", 29: "fog_fraction", 58: "temperature",
    61: "precipitation_amount", 63: "precipitation_rate", 155: "visibility", 213: "rain_rate",
    214: "precipitation_amount", 218: "snowfall", 421: "precipitation_type", 480: "reflectivity", 804: "wind_speed",
    806: "wind_direction",
}  # fmt: skip
# Airy's ellipsoid of the National Grid, and the International one of 1924.
_ELLIPSOIDS = {0: "+a=6377563.396 +b=6356256.909", 1: "+a=6378388 +b=6356911.946"}


class _Field(NamedTuple):
    """A record: `start` is the first byte of the numbers."""

    name: str
    units: str
    factor: float
    offset: float
    time: np.datetime64
    begin: np.datetime64
    treatment: int
    level: float
    member: int
    shape: tuple[int, int]
    y: tuple[float, float]
    x: tuple[float, float]
    projection: str | None
    dtype: str
    missing: float
    start: int


@dataclass(frozen=True)
class Nimrod(CFReader):
    """NIMROD binary: every field by its name, in the units of the file, whose factors (`mm/hr*32`) are taken out.

    `CFReader` describes the options. The time is the validity time. A file with several fields needs `variable`, or
    `select` for levels; sums become rates over the period in the header. Several periods or treatments of a field are
    told apart by minutes and the code of the treatment in the name, such as `rain_rate_60min_8192`.

    Source: Met Office (2003), Met Office rain radar data from the NIMROD system, NCAS British Atmospheric Data Centre.
    """

    format = "nimrod"

    def _recognises(self, path: Path, head: bytes) -> bool:
        # The length of the header's record, a plausible date, and the end of that record if it is among the bytes.
        if head[:4] != struct.pack(">L", _HEADER) or len(head) < 14:
            return False
        year, month, day, hour = struct.unpack(">4h", head[4:12])
        ended = len(head) < _HEADER + 8 or head[_HEADER + 4 : _HEADER + 8] == head[:4]
        return 1900 <= year <= 2200 and 1 <= month <= 12 and 1 <= day <= 31 and 0 <= hour <= 24 and ended

    @contextmanager
    def _open(self, path: Path) -> Iterator[Mapping[str, Variable]]:
        groups: dict[tuple[Any, ...], list[_Field]] = {}
        for field in _fields(path, identity(path)):
            period = field.time - field.begin
            key = (field.name, period, field.treatment, field.shape, field.y, field.x, field.projection)
            groups.setdefault(key, []).append(field)
        variables: dict[str, Variable] = {}
        names = [name for name, *_ in groups]
        periods = [key[:2] for key in groups]
        for number, ((name, period, treatment, *_), fields) in enumerate(groups.items()):
            # The same field over several periods, or treated in several ways, has several names.
            full = name if names.count(name) == 1 else f"{name}_{period // np.timedelta64(60, 's')}min"
            full = full if periods.count((name, period)) == 1 else f"{full}_{treatment}"
            for variable in _variables(path, full, fields, "" if number == 0 else f"_{number}"):
                variables[variable.name] = variable
        yield variables

    def _identity(self, path: Path) -> Any:
        return identity(path)


def _variables(path: Path, name: str, fields: list[_Field], suffix: str) -> Iterator[Variable]:
    first = fields[0]
    places = {(field.time, field.level): field for field in fields}
    times, levels = sorted({field.time for field in fields}), sorted({field.level for field in fields})
    if len(places) < len(fields) or len(places) < len(times) * len(levels):
        raise UnreadableError(
            f"has {len(fields)} fields {name!r} for {len(times)} times and {len(levels)} levels, such as several "
            "members or treatments of the same field. Split it first"
        )
    time = f"time{suffix}"
    begins = [places[moment, levels[0]].begin for moment in times]
    about = {"units": _EPOCH, "standard_name": "time"}
    if begins != times:
        about["bounds"] = f"{time}_bounds"
        bounds = np.stack([np.array(begins), np.array(times)], 1).astype(np.int64)
        yield _stored(f"{time}_bounds", (time, "bounds"), bounds, {})
    yield _stored(time, (time,), np.array(times).astype(np.int64), about)
    dimensions, shape = [time], [len(times)]
    if len(levels) > 1:
        dimensions.append(f"level{suffix}")
        shape.append(len(levels))
        yield _stored(f"level{suffix}", (f"level{suffix}",), np.array(levels), {"positive": "up"})
    kind = ("projection_{}_coordinate", "m") if first.projection else ("", "")
    geographic = {"y": ("latitude", "degrees_north"), "x": ("longitude", "degrees_east")}
    for axis, (start, step), size in (("y", first.y, first.shape[0]), ("x", first.x, first.shape[1])):
        standard, units = (kind[0].format(axis), kind[1]) if first.projection else geographic[axis]
        # The origin is in float32, as are the steps.
        values = start + np.arange(size) * step
        yield _stored(f"{axis}{suffix}", (f"{axis}{suffix}",), values, {"units": units, "standard_name": standard})
        dimensions.append(f"{axis}{suffix}")
    attributes: dict[str, Any] = {"units": first.units, "scale_factor": first.factor, "add_offset": first.offset}
    attributes["_FillValue"] = first.missing
    if first.projection:
        attributes["grid_mapping"] = f"crs{suffix}"
        yield _stored(f"crs{suffix}", (), np.zeros((), np.int32), {"crs_wkt": first.projection})

    def load(index: tuple[Any, ...]) -> np.ndarray:
        level = levels[index[1]] if len(levels) > 1 else levels[0]
        return _numbers(path, places[times[index[0]], level])

    yield Variable(name, tuple(dimensions), (*shape, *first.shape), np.dtype(first.dtype), attributes, load)


def _stored(name: str, dimensions: tuple[str, ...], values: np.ndarray, attributes: dict[str, Any]) -> Variable:
    return Variable(name, dimensions, values.shape, values.dtype, attributes, lambda index: values[index])


def _numbers(path: Path, field: _Field) -> np.ndarray:
    dtype = np.dtype(field.dtype)
    size = field.shape[0] * field.shape[1] * dtype.itemsize
    with open_plain(path) as file:
        file.seek(field.start)
        data = file.read(size)
    if len(data) < size:
        raise UnreadableError(f"is cut off: {len(data):,} of {size:,} bytes of a field are there")
    return np.frombuffer(data, dtype).reshape(field.shape).astype(dtype.newbyteorder("="))


# Cached, since the frames of a file are read one after the other.
@lru_cache(maxsize=256)
def _fields(path: Path, _: tuple[int, int]) -> tuple[_Field, ...]:
    found: list[_Field] = []
    with open_plain(path) as file:
        size, place = os.fstat(file.fileno()).st_size, 0
        while place < size:
            file.seek(place)
            record = file.read(_HEADER + 8)
            if len(record) < _HEADER + 8 or record[:4] != record[-4:] or record[:4] != struct.pack(">L", _HEADER):
                raise UnreadableError(f"has no header of NIMROD at its byte {place:,}")
            length = int.from_bytes(file.read(4), "big")
            found.append(_field(record[4:-4], length, place + _HEADER + 12))
            place += _HEADER + 8 + length + 8
            if place > size:
                raise UnreadableError(f"is cut off: {place - size:,} bytes are missing")
            if len(found) > _MOST_FIELDS:
                raise UnreadableError(f"has more than {_MOST_FIELDS:,} fields")
    if not found:
        raise UnreadableError("has no NIMROD fields")
    return tuple(found)


def _field(header: bytes, length: int, start: int) -> _Field:
    # Elements 1-31 are int16, 32-59 and 60-104 float32, 105-107 text, 108-159 int16.
    general, real = struct.unpack(">31h", header[:62]), struct.unpack(">28f", header[62:174])
    specific = struct.unpack(">51h", header[410:512])
    units, title = (_text(header[a:b]) for a, b in ((354, 362), (386, 410)))
    kind, itemsize = general[11], general[12]
    dtype = {(0, 4): ">f4", (1, 1): ">i1", (1, 2): ">i2", (1, 4): ">i4", (2, 1): ">i1"}.get((kind, itemsize))
    shape = (general[15], general[16])
    if dtype is None or min(shape) < 1 or length != shape[0] * shape[1] * itemsize:
        raise UnreadableError(f"has a field of {shape} numbers of {itemsize} bytes in {length:,} bytes; it is damaged")
    check_frame(shape)
    if general[23] not in (0, -32767):
        raise UnreadableError("has fields that do not begin at the north-western corner, which are not read")
    time = _time(general[:6])
    seconds = specific[50] if specific[50] not in (0, -32767) else 60 * max(0, general[25])
    code = general[18]
    name = _NAMES.get(code, re.sub(r"\W+", "_", title.lower()).strip("_") or f"field_{code}")
    units, factor, offset = _units(units)
    return _Field(
        name, units, factor, offset, time, time - np.timedelta64(seconds, "s"), int(general[30]),
        0.0 if real[0] <= _MISSING else float(real[0]), general[28], shape,
        (float(real[2]), -float(real[3])), (float(real[4]), float(real[5])), _projection(general, real), dtype,
        float(real[6]) if kind == 0 else float(general[24]), start,
    )  # fmt: skip


def _text(data: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 else " " for byte in data).strip()


def _time(parts: tuple[int, ...]) -> np.datetime64:
    year, month, day, hour, minute, second = (max(0, part) for part in parts)
    return np.datetime64(f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}", "s")


def _units(text: str) -> tuple[str, float, float]:
    """Returns the units, and the factor and the offset of the stored numbers, as in `mm/hr*32`."""
    if text == "m/2-25k":
        return "m", 2.0, 50000.0
    match = re.fullmatch(r"(.*?)\*(\d+(?:\.\d+)?)(?:\^(-?\d+))?", text)
    if match is None:
        return text, 1.0, 0.0
    divisor = float(match[2]) ** int(match[3] or 1)
    return match[1].strip(), 1.0 / divisor, 0.0


def _projection(general: tuple[int, ...], real: tuple[float, ...]) -> str | None:
    """Returns the projection, or None for latitudes and longitudes."""
    kind, ellipsoid = general[14], general[27]
    if kind == 1:
        return None
    if kind not in (0, 4):
        raise UnreadableError(f"has a grid of the type {kind}; the National Grid, UTM and latitudes are read")
    earth = _ELLIPSOIDS.get(ellipsoid if ellipsoid != -32767 else (0 if kind == 0 else 1), _ELLIPSOIDS[0])
    defaults = (49.0, -2.0, 400000.0, -100000.0, 0.9996012717) if kind == 0 else (0.0, 0.0, 500000.0, 0.0, 0.9996)
    latitude, longitude, x, y, scale = (
        default if value <= _MISSING else value for value, default in zip(real[11:16], defaults, strict=True)
    )
    # Some files have the origin in km, and float32 rounds the scale.
    x, y = (400000.0 if x == 400 else x), (-100000.0 if y == -100 else y)
    scale = 0.9996012717 if abs(scale - 0.9996012717) < 1e-4 else scale
    origin = f"+lat_0={latitude:.10g} +lon_0={longitude:.10g} +x_0={x:.10g} +y_0={y:.10g}"
    return f"+proj=tmerc {origin} +k={scale} {earth} +units=m"
