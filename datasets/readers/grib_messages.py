"""The messages of GRIB files: their bytes, one field in each, and the parts of their headers that a series needs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from convlstm.datasets.readers.base import library
from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.limits import check_bytes, check_frame
from convlstm.datasets.readers.plain_files import open_plain

import numpy as np

_MOST_MESSAGES = 100_000
# Between two messages there may be a header of a bulletin or padding.
_GAP = 4096
_SECTIONS = range(1, 8)
_SAME_BITMAP = 254  # as that of the field before
# Parameters by discipline, category and number of centres whose tables ecCodes lacks: name, units, description, and the
# values that stand for missing. MRMS: NOAA's table of its GRIB2 products; -3 is outside of the radars' coverage.
_MRMS, _NO_COVERAGE = 209, (-1.0, -3.0)
_PARAMETERS: dict[tuple[int, int, int], tuple[str, str, str, tuple[float, ...]]] = {
    (_MRMS, 6, 1): ("PrecipRate", "mm/h", "precipitation rate", _NO_COVERAGE),
    (_MRMS, 6, 2): ("RadarOnlyQPE01H", "mm", "radar precipitation accumulation of 1 hour", _NO_COVERAGE),
    (_MRMS, 10, 0): ("MergedReflectivityQCComposite", "dBZ", "composite reflectivity", (-99.0, -999.0)),
}
_UNKNOWN = ("", "unknown", "~")


class Message(NamedTuple):
    """A field of a file. `parts` are the bytes of the file that make up its message, as starts and ends."""

    parts: tuple[tuple[int, int], ...]
    name: str
    units: str
    standard_name: str
    long_name: str
    missing: tuple[float, ...]
    level_type: str
    level: float
    level_units: str
    member: int
    begin: np.datetime64
    end: np.datetime64
    is_sum: bool
    grid: tuple[tuple[str, Any], ...]


def eccodes(path: Path | str) -> ModuleType:
    """Returns the library; raises MissingLibraryError if it is not installed."""
    # It brings a PROJ of its own, whose functions take the place of those of a pyproj that is imported later.
    with suppress(ImportError):
        import_module("pyproj")
    return library("eccodes", path)


# Cached, since the frames of a file are read one after the other.
@lru_cache(maxsize=64)
def messages_of(path: Path, _: tuple[int, int]) -> tuple[Message, ...]:
    """Returns all fields of a file.

    Raises:
        UnreadableError: If a message is cut off or not understood.
    """
    found = []
    with open_plain(path) as file:
        for parts in _split(file):
            with _opened(path, file, parts) as (codes, handle):
                found.append(_message(codes, handle, parts))
            if len(found) > _MOST_MESSAGES:
                raise UnreadableError(f"has more than {_MOST_MESSAGES:,} fields")
    if not found:
        raise UnreadableError("has no GRIB messages")
    return tuple(found)


def values_of(path: Path, message: Message) -> np.ndarray:
    """Returns the values of a field in the order of its grid, float64 of (Nj, Ni), NaN where missing."""
    with open_plain(path) as file, _opened(path, file, message.parts) as (codes, handle):
        missing = -9.9e36
        codes.codes_set(handle, "missingValue", missing)
        values = np.asarray(codes.codes_get_array(handle, "values"), np.float64)
    for code in (missing, *message.missing):
        values[values == code] = np.nan
    grid = dict(message.grid)
    rows, columns = grid["Nj"], grid["Ni"]
    if values.size != rows * columns:
        raise UnreadableError(f"has {values.size:,} values for {rows} x {columns} pixels")
    field = values.reshape(columns, rows).T if grid["jPointsAreConsecutive"] else values.reshape(rows, columns)
    if grid["alternativeRowScanning"]:
        field = field.copy()
        field[1::2] = field[1::2, ::-1]
    return field


def _split(file: Any) -> Iterator[tuple[tuple[int, int], ...]]:
    """Yields the bytes of each field. One message of edition 2 may have several, which share their first sections."""
    size = os.fstat(file.fileno()).st_size
    place = 0
    while True:
        file.seek(place)
        head = file.read(_GAP)
        start = head.find(b"GRIB")
        if start < 0 or len(head) - start < 16:
            return
        head, place = head[start : start + 16], place + start
        length = int.from_bytes(head[8:16] if head[7] == 2 else head[4:7], "big")
        if head[7] not in (1, 2):
            raise UnreadableError(f"is of GRIB edition {head[7]}; editions 1 and 2 are read")
        if head[7] == 1 and length >= 1 << 23:
            raise UnreadableError("has messages of GRIB 1 above 8 MB. Convert them (grib_set -s edition=2)")
        if length < 20 or place + length > size:
            raise UnreadableError(f"is cut off: {size - place:,} of {length:,} bytes of a message are there")
        check_bytes("a GRIB message", length)
        yield from [((place, place + length),)] if head[7] == 1 else _fields(file, place, length)
        place += length


def _fields(file: Any, start: int, length: int) -> Iterator[tuple[tuple[int, int], ...]]:
    sections: dict[int, tuple[int, int]] = {}
    place, end = start + 16, start + length - 4
    while place < end:
        file.seek(place)
        head = file.read(6)
        size, number = int.from_bytes(head[:4], "big"), head[4]
        if size < 5 or place + size > end or number not in _SECTIONS:
            raise UnreadableError(f"has a section {number} of {size:,} bytes in a message of {length:,}; it is damaged")
        if number != 6 or head[5] != _SAME_BITMAP or 6 not in sections:
            sections[number] = (place, place + size)
        place += size
        if number == 7:
            yield ((start, start + 16), *(sections[key] for key in sorted(sections)), (end, end + 4))


@contextmanager
def _opened(path: Path, file: Any, parts: tuple[tuple[int, int], ...]) -> Iterator[tuple[Any, Any]]:
    """Opens a field; yields the library and its handle."""
    codes = eccodes(path)
    data = bytearray()
    for start, end in parts:
        file.seek(start)
        data += file.read(end - start)
    if data[7] == 2:
        data[8:16] = len(data).to_bytes(8, "big")
    handle = codes.codes_new_from_message(bytes(data))
    try:
        yield codes, handle
    finally:
        codes.codes_release(handle)


def _message(codes: Any, handle: Any, parts: tuple[tuple[int, int], ...]) -> Message:
    def get(key: str, default: Any = None, kind: type | None = None) -> Any:
        try:
            return codes.codes_get(handle, key, kind)
        except (codes.CodesInternalError, ValueError):
            return default

    grid = {key: get(key) for key in _GRID_KEYS}
    if grid["Ni"] is None or grid["Nj"] is None or min(grid["Ni"], grid["Nj"]) < 1 or grid["gridType"] not in _GRIDS:
        raise UnreadableError(
            f"has a grid of the type {grid['gridType']!r}, not rows and columns ({', '.join(sorted(_GRIDS))}). "
            "Interpolate it first, as by 'cdo remapbil,global_0.25 in.grib out.grib'"
        )
    check_frame((grid["Nj"], grid["Ni"]))
    key = tuple(get(name, -1) for name in ("discipline", "parameterCategory", "parameterNumber"))
    name, units, text = (str(get(name, "")) for name in ("shortName", "units", "name"))
    missing: tuple[float, ...] = ()
    if name in _UNKNOWN:
        fallback = "param_" + "_".join(map(str, key)) if key[0] != -1 else f"param_{get('paramId', 0)}"
        name, units, text, missing = _PARAMETERS.get(key, (fallback, "", "", ()))  # type: ignore[call-overload]
    standard = str(get("cfName", ""))
    begin, end = _times(codes, handle, get)
    return Message(
        parts,
        name,
        "" if units in _UNKNOWN else units,
        "" if standard in _UNKNOWN else standard,
        text,
        missing,
        str(get("typeOfLevel", "")),
        float(get("level", 0)),
        str(get("pressureUnits", "") if "hPa" in str(get("typeOfLevel", "")) else ""),
        int(get("perturbationNumber", get("number", 0)) or 0),
        begin,
        end,
        get("stepType") == "accum",
        tuple(grid.items()),
    )


def _times(codes: Any, handle: Any, get: Any) -> tuple[np.datetime64, np.datetime64]:
    """Returns begin and end of a field's period, which are the same for a moment."""
    date, clock, second = int(get("dataDate")), int(get("dataTime")), int(get("second", 0) or 0)
    day = f"{date // 10000:04d}-{date // 100 % 100:02d}-{date % 100:02d}"
    start = np.datetime64(f"{day}T{clock // 100:02d}:{clock % 100:02d}:{second:02d}", "s")
    codes.codes_set(handle, "stepUnits", "s")
    begin, end = (start + np.timedelta64(int(get(key, kind=int)), "s") for key in ("startStep", "endStep"))
    return begin, end


_GRIDS = frozenset(["regular_ll", "regular_gg", "rotated_ll", "lambert", "polar_stereographic", "mercator"])
_GRID_KEYS = (
    "gridType",
    "Ni",
    "Nj",
    "iScansNegatively",
    "jScansPositively",
    "jPointsAreConsecutive",
    "alternativeRowScanning",
    "latitudeOfFirstGridPointInDegrees",
    "longitudeOfFirstGridPointInDegrees",
    "latitudeOfLastGridPointInDegrees",
    "longitudeOfLastGridPointInDegrees",
    "latitudeOfSouthernPoleInDegrees",
    "longitudeOfSouthernPoleInDegrees",
    "angleOfRotationInDegrees",
    "N",
    "DxInMetres",
    "DyInMetres",
    "DiInMetres",
    "DjInMetres",
    "LoVInDegrees",
    "LaDInDegrees",
    "Latin1InDegrees",
    "Latin2InDegrees",
    "orientationOfTheGridInDegrees",
    "projectionCentreFlag",
    "shapeOfTheEarth",
    "radius",
    "earthMajorAxisInMetres",
    "earthMinorAxisInMetres",
)
