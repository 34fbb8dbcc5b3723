"""NumPy files: stacks of frames, or one frame per file with the time in its name."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from convlstm.datasets.readers.base import Contents, Reader, frame_number, without_infinity
from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.file_names import check_pattern, day_in_name, time_in_name
from convlstm.datasets.readers.grid import Grid, field_of
from convlstm.datasets.readers.limits import check_times
from convlstm.datasets.readers.numpy_arrays import (
    NPY,
    Member,
    array_of,
    check_frames,
    is_npz,
    members,
    read,
    read_frame,
)
from convlstm.datasets.readers.options import check_number, check_step, check_text, check_units
from convlstm.datasets.readers.plain_files import open_plain

import numpy as np

_TIMES = ("times", "time")
# Options that an .npz may also have as scalars of these names, beside their own names.
_NAMES = {"scale": "scale_mmh", "missing": "nodata", "step_minutes": "minutes"}
_LARGEST_SCALAR = 4096  # bytes; texts are units and times
_DATED = re.compile(r"\d{4}-\d{2}")
_CORNER = ("lat_first", "lon_first", "dlat", "dlon")


class _Stack(NamedTuple):
    """The shape (T, H, W), the arrays of frames and times (None if there are none), and the scalars by name."""

    shape: tuple[int, int, int]
    frames: Member
    times: Member | None
    scalars: dict[str, Any]


@dataclass(frozen=True)
class NumPyFiles(Reader):
    """`.npy` of (H, W) or (T, H, W), or an `.npz` with such an array: value = `scale` p + `offset` of a number p.

    NaN and numbers that equal `missing` are missing. Row 0 is the northern row. The times of a stack are an array
    `times` or `time` in the `.npz` (datetime64, text in ISO 8601, or seconds since 1970), or they start at `start` and
    are `step_minutes` apart. A single frame has its time in the file's name. An `.npz` may have the options as scalars
    of their names; `scale_mmh` is a scale to mm/h, `minutes` the step, `nodata` the number for missing, and
    `lat_first`, `lon_first`, `dlat`, `dlon` are the centre of pixel (0, 0) and the steps from pixel to pixel. An
    array in an `.npy` file or an uncompressed `.npz`, in the order of C, is read frame by frame and may be larger than
    memory. All others are read whole.

    Args:
        key: Name of the array in an `.npz`. Default: the only one of frames.
        start: Time of a stack's first frame, UTC, as 2019-06-10T00:00. Default: the time, or else the day, in the
            file's name.
        step_minutes: Minutes from frame to frame of a stack. Default: those in the `.npz`.
        pattern: strptime pattern of the time in the name, found anywhere in it. Default: 12 or 14 digits.
        units: `"mm/h"`, `"dBZ"` or `"raw"`, after `scale` and `offset`. Default: `"raw"`.
        scale: Units per step of a number. Default: 1.0.
        offset: Value of the number 0. Default: 0.0.
        missing: The number that stands for missing. Default: only NaN does.
    """

    format = "numpy"

    key: str | None = None
    start: str | None = None
    step_minutes: float | None = None
    pattern: str | None = None
    units: str | None = None
    scale: float | None = None
    offset: float | None = None
    missing: float | None = None

    def __post_init__(self):
        check_units(self.format, "raw" if self.units is None else self.units)
        check_pattern(self.format, self.pattern)
        check_step(self.format, self.step_minutes)
        check_text(self.format, "key", self.key)
        for name in ("scale", "offset", "missing"):
            check_number(self.format, name, getattr(self, name))
        if self.start is not None:
            # YAML reads a date as such, not as text. The class is frozen, but nobody has seen this object yet.
            object.__setattr__(self, "start", str(_instant(self.start)))

    def _recognises(self, path: Path, head: bytes) -> bool:
        return head.startswith(NPY) or is_npz(head)

    def _contents(self, path: Path) -> Contents:
        stack = self._open(path)
        check_times(stack.shape[0])
        check_frames(stack.frames)
        times = self._times(path, stack)
        if times.shape != stack.shape[:1]:
            raise UnreadableError(f"has {stack.shape[0]} frames but times of {times.shape}")
        return Contents(times, _grid(stack, self._units(stack)))

    def _read(self, path: Path, position: int) -> np.ndarray:
        stack = self._open(path)
        position = frame_number(position, stack.shape[0])
        numbers = read_frame(path, stack.frames, position)
        scale, offset = (float(self._option(name, stack, default)) for name, default in (("scale", 1), ("offset", 0)))
        values = (numbers * np.float32(scale) + np.float32(offset)).astype(np.float32, copy=False)
        missing = self._option("missing", stack, None)
        if missing is not None:
            values[numbers == float(missing)] = np.nan
        values = without_infinity(values, self._units(stack))
        return values[::-1] if _southern(stack) else values

    def _open(self, path: Path) -> _Stack:
        with open_plain(path) as file:
            packed = file.read(2) == b"PK"
        if not packed:
            frames = array_of(path)
            return _Stack(_shape(frames, path.name), frames, None, {})
        arrays = members(path)
        scalars = {name: read(path, member).item() for name, member in arrays.items() if _is_scalar(member)}
        times = next((arrays[name] for name in _TIMES if name in arrays), None)
        frames = arrays[self._key(arrays)]
        return _Stack(_shape(frames, repr(frames.name)), frames, times, scalars)

    def _key(self, arrays: Mapping[str, Member]) -> str:
        if self.key is not None:
            if self.key not in arrays:
                raise UnreadableError(f"has no array {self.key!r}; it has {', '.join(arrays)}")
            return self.key
        numeric = [member for member in arrays.values() if member.dtype.kind in "iufb"]
        # Latitudes and the like may stand beside a stack.
        for dimensions in (3, 2):
            names = [member.name for member in numeric if len(member.shape) == dimensions]
            if len(names) == 1:
                return names[0]
            if set(names) == {"lats", "lons"}:
                raise UnreadableError(
                    "has the coordinates of MeteoNet, no frames. Give a file of its rain, such as "
                    "rainfall_NW_2016_08.3.npz, which finds them in its folder or the one above"
                )
            if names:
                raise UnreadableError(f"has several arrays: {', '.join(names)}. Choose one with the option 'key'")
        raise UnreadableError(f"has no array (T, H, W) or (H, W); it has {', '.join(arrays) or 'none'}")

    def _units(self, stack: _Stack) -> str:
        units = str(self._option("units", stack, "mm/h" if "scale_mmh" in stack.scalars else "raw"))
        check_units(self.format, units)
        return units

    def _option(self, name: str, stack: _Stack, default: Any) -> Any:
        """Returns an option, else the file's scalar of that name, else the default."""
        value = getattr(self, name)
        for source in (name, _NAMES.get(name, name)):
            value = stack.scalars.get(source) if value is None else value
        return default if value is None else value

    def _times(self, path: Path, stack: _Stack) -> np.ndarray:
        if stack.times is not None:
            return _instants(np.ravel(read(path, stack.times)))
        count, step = stack.shape[0], self._option("step_minutes", stack, None)
        named = time_in_name(path.name, self.pattern)
        start = self._option("start", stack, day_in_name(path.name) if named is None else named)
        if start is None:
            raise UnreadableError("has no time in its name. Set the option 'pattern', or 'start' for a stack")
        if count > 1 and step is None:
            raise UnreadableError(f"has {count} frames but no times. Set the option 'step_minutes'")
        step = float(step or 0)
        if not (0 if count > 1 else -1) < step < math.inf:
            raise UnreadableError(f"has frames {step:g} minutes apart")
        seconds = np.round(np.arange(count) * 60 * step).astype("timedelta64[s]")
        return _instant(start) + seconds


def _is_scalar(member: Member) -> bool:
    small = member.shape in ((), (1,)) and member.dtype.itemsize <= _LARGEST_SCALAR
    return small and member.name not in _TIMES and member.dtype.kind in "iufbUSM"


def _shape(array: Member, name: str) -> tuple[int, int, int]:
    """Returns (T, H, W) of an array of frames, or of one frame."""
    if array.dtype.kind not in "iufb" or len(array.shape) not in (2, 3):
        raise UnreadableError(f"must have numbers of (T, H, W) or (H, W) but {name} is {array.dtype} of {array.shape}")
    *frames, height, width = (int(side) for side in array.shape)
    return (frames[0] if frames else 1), height, width


def _instant(value: Any) -> np.datetime64:
    """Returns the time of a text in ISO 8601, or of a date."""
    try:
        text = str(value).strip().removesuffix("Z")
        if not _DATED.match(text):  # NumPy takes other digits for a year
            raise ValueError(text)
        return np.datetime64(text, "s")
    except ValueError as error:
        raise ValueError(f"[numpy] 'start' must be a time such as 2019-06-10T00:00 but got {value!r}.") from error


def _instants(times: np.ndarray) -> np.ndarray:
    if times.dtype.kind == "M":
        return times.astype("datetime64[s]")
    if times.dtype.kind in "US":
        return np.array([np.datetime64(str(text).removesuffix("Z"), "s") for text in times.astype(str)])
    # Smaller numbers would be times before 1973, so they count something else.
    if times.dtype.kind not in "iuf" or len(times) == 0 or times.min() < 1e8:
        raise UnreadableError("has times that are neither datetime64, nor text in ISO 8601, nor seconds since 1970")
    return np.datetime64(0, "s") + np.round(times).astype("timedelta64[s]")


def _southern(stack: _Stack) -> bool:
    """Returns True if row 0 is the southern one: latitudes rise from row to row."""
    return float(stack.scalars.get("dlat", 0)) > 0


def _grid(stack: _Stack, units: str) -> Grid:
    _, height, width = stack.shape
    if not all(name in stack.scalars for name in _CORNER):
        return Grid(shape=(height, width), fields=(field_of(units),))
    latitude, longitude, dlat, dlon = (float(stack.scalars[name]) for name in _CORNER)
    # From the centre of a pixel to the outer edges.
    ys = sorted((latitude - dlat / 2, latitude + (height - 0.5) * dlat))
    xs = sorted((longitude - dlon / 2, longitude + (width - 0.5) * dlon))
    return Grid(
        shape=(height, width),
        fields=(field_of(units),),
        pixel_size=(abs(dlat), abs(dlon)),
        pixel_units="deg",
        projection="+proj=longlat +datum=WGS84 +no_defs",
        extent=(xs[0], ys[0], xs[1], ys[1]),
    )
