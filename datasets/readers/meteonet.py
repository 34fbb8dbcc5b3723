"""MeteoNet's stacks of rain or reflectivity in .npz. Their dates are pickled, but no pickle is run."""

from __future__ import annotations

import pickletools
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from convlstm.datasets.readers.base import Contents, Reader, frame_number
from convlstm.datasets.readers.block_cache import identity
from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.grid import REFLECTIVITY, Coordinate, Field, Grid
from convlstm.datasets.readers.limits import check_bytes, check_times
from convlstm.datasets.readers.numpy_arrays import check_frames, is_npz, members, read, read_frame
from convlstm.datasets.readers.plain_files import open_plain

import numpy as np

_MISSING, _MISSING_DBZ = -1, 255
_STEP = 5.0  # minutes of an accumulation
_LARGEST = 64 << 20
# Bytes of memory for each byte of a pickle while its operations are listed.
_MEMORY = 20
_RAIN = Field("rainfall", "mm/h", "lwe_precipitation_rate", "rain rate", "0.01 mm in 5 min", True)
# rainfall_NW_2016_08.3.npz has its coordinates in radar_coords_NW.npz, beside it or in the folder above.
_NAME = re.compile(r"(rainfall|reflectivity(?:_old_product|_new_product)?)_([A-Z]{2})_")


@dataclass(frozen=True)
class MeteoNet(Reader):
    """MeteoNet `data` (T, H, W) with `dates`: rain in 0.01 mm of 5 minutes as mm/h, or reflectivity in dBZ.

    The number -1 is missing, for reflectivity also 255. The times in `dates` are the ends of the periods. Places come
    from the file of coordinates, such as `radar_coords_NW.npz`, if it lies in the same folder or the one above.

    Source: Larvor et al. (2020), MeteoNet, an open reference weather dataset by Météo-France.
    """

    format = "meteonet"

    def _recognises(self, path: Path, head: bytes) -> bool:
        return is_npz(head) and _NAME.search(path.name) is not None and {"data", "dates"} <= set(members(path))

    def _contents(self, path: Path) -> Contents:
        frames = members(path)["data"]
        if len(frames.shape) != 3 or frames.dtype.kind not in "iu":
            raise UnreadableError(
                f"must have whole numbers (T, H, W) in 'data' but has {frames.dtype} of {frames.shape}"
            )
        check_times(frames.shape[0])
        check_frames(frames)
        times = _dates(path, identity(path))
        if len(times) != frames.shape[0]:
            raise UnreadableError(f"has {frames.shape[0]} frames but {len(times)} dates")
        return Contents(times, _grid(path, frames.shape[1:], _field(path)))

    def _read(self, path: Path, position: int) -> np.ndarray:
        frames = members(path)["data"]
        numbers = read_frame(path, frames, frame_number(position, frames.shape[0]))
        factor = 1.0 if _field(path).units == "dBZ" else 0.01 * 60 / _STEP
        values = numbers.astype(np.float32) * np.float32(factor)
        values[(numbers == _MISSING) | ((factor == 1.0) & (numbers == _MISSING_DBZ))] = np.nan
        return values


def _field(path: Path) -> Field:
    match = _NAME.search(path.name)
    if match is None:
        raise UnreadableError("is not called rainfall_ZONE_... or reflectivity_ZONE_..., as MeteoNet's files are")
    return _RAIN if match[1] == "rainfall" else REFLECTIVITY


# Cached, since the frames of a file are read one after the other.
@lru_cache(maxsize=64)
def _dates(path: Path, _: tuple[int, int]) -> np.ndarray:
    member = members(path)["dates"]
    if not member.dtype.hasobject:
        return read(path, member).astype("datetime64[s]")
    with open_plain(path) as file, zipfile.ZipFile(file) as archive, archive.open("dates.npy") as packed:
        data = packed.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise UnreadableError(f"has more than {_LARGEST:,} bytes of dates")
    check_bytes("its dates", _MEMORY * len(data))
    start = data.index(b"\n") + 1
    return np.array(list(_datetimes(data[start:])), "datetime64[s]")


def _datetimes(pickled: bytes) -> Iterator[str]:
    """Yields the dates of a pickled list: the ten bytes that `datetime` keeps of each, from the list of operations."""
    try:
        for operation, value, _ in pickletools.genops(pickled):
            argument: Any = value
            if operation.name in ("SHORT_BINBYTES", "BINUNICODE", "SHORT_BINUNICODE") and len(argument) == 10:
                year, month, day, hour, minute, second = _numbers(argument)
                yield f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}"
            elif operation.name == "GLOBAL" and argument not in _KNOWN:
                raise UnreadableError(f"has objects {argument[:100]!r} among its dates, which are not read")
    except ValueError as error:
        if isinstance(error, UnreadableError):
            raise
        raise UnreadableError(f"has dates that are not understood ({error})") from error


_KNOWN = (
    "numpy.core.multiarray _reconstruct",
    "numpy._core.multiarray _reconstruct",
    "numpy ndarray",
    "numpy dtype",
    "datetime datetime",
    "_codecs encode",
)


def _numbers(argument: bytes | str) -> tuple[int, ...]:
    """Returns year, month, day, hour, minute and second; older pickles have the bytes as a text."""
    data = argument.encode("latin-1") if isinstance(argument, str) else argument
    return (data[0] * 256 + data[1], *data[2:7])


def _grid(path: Path, shape: tuple[int, ...], field: Field) -> Grid:
    match = _NAME.search(path.name)
    assert match is not None
    name = f"radar_coords_{match[2]}.npz"
    grid = Grid(shape=(int(shape[0]), int(shape[1])), fields=(field,))
    beside = next((folder / name for folder in (path.parent, path.parent.parent) if (folder / name).is_file()), None)
    if beside is None:
        return Grid(grid.shape, grid.fields, unplaced=f"{name} lies neither beside the file nor above it")
    arrays = members(beside)
    if not {"lats", "lons"} <= set(arrays) or {arrays[key].shape for key in ("lats", "lons")} != {grid.shape}:
        return Grid(grid.shape, grid.fields, unplaced=f"{name} has no 'lats' and 'lons' of {grid.shape}")
    latitudes, longitudes = read(beside, arrays["lats"])[:, 0], read(beside, arrays["lons"])[0]
    dy, dx = (abs(float(values[-1] - values[0])) / (len(values) - 1) for values in (latitudes, longitudes))
    about = {"y": ("latitude", "degrees_north"), "x": ("longitude", "degrees_east")}
    coordinates = tuple(
        Coordinate.of(standard, (standard,), values, {"standard_name": standard, "units": units})
        for (standard, units), values in zip(about.values(), (latitudes, longitudes), strict=True)
    )
    return Grid(
        grid.shape,
        grid.fields,
        pixel_size=(dy, dx),
        pixel_units="deg",
        projection="+proj=longlat +datum=WGS84 +no_defs",
        extent=(
            float(longitudes[0]) - dx / 2,
            float(latitudes[-1]) - dy / 2,
            float(longitudes[-1]) + dx / 2,
            float(latitudes[0]) + dy / 2,
        ),
        dimensions=("latitude", "longitude"),
        coordinates=coordinates,
    )
