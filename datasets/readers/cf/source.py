"""The way from the stored numbers of a CF variable to a channel of the frames."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from convlstm.datasets.readers.base import without_infinity
from convlstm.datasets.readers.cf.axes import Axes
from convlstm.datasets.readers.cf.differences import ROUNDING, Differences, difference
from convlstm.datasets.readers.grid import Field

import numpy as np

# Values of numbers that were never written, which libraries of NetCDF mask if no attribute names others.
_NEVER_WRITTEN = {"i2": -32767, "i4": -2147483647, "f4": 9.969209968386869e36, "f8": 9.969209968386869e36}
_NAMES_MISSING = ("_FillValue", "missing_value", "valid_min", "valid_max", "valid_range")


class Source(NamedTuple):
    """A variable of a file, and the way from its stored numbers to a channel of the frames."""

    name: str
    attributes: Mapping[str, Any]
    field: Field
    factors: np.ndarray  # of each frame, from the units in the file to the field's
    axes: Axes
    flips: tuple[int, ...]  # axes of a frame to flip, counted from the last
    frame_bytes: int  # of a frame as stored
    block: int  # frames that are stored together
    frames: int  # in the file
    differences: Differences | None = None  # the sums in the file that frames belong to, if they are others
    is_sum: bool = False  # True if the frames are differences of the sums

    def frame(self, read: Callable[[int], np.ndarray], position: int) -> np.ndarray:
        """Returns rows and columns of values of a frame; `read` reads the stored numbers of one in the file."""
        steps, factor = self.differences, float(self.factors[position])
        if steps is None:
            return self._values(read(position), factor)
        values = self._values(read(int(steps.sums[position])), factor)
        base = int(steps.bases[position])
        if base < 0 or not self.is_sum:
            return values
        rounding = ROUNDING * 60 / float(steps.minutes[position]) if self.field.is_rain else 0.0
        return difference(values, self._values(read(base), factor), rounding)

    def _values(self, stored: np.ndarray, factor: float) -> np.ndarray:
        values = decode(stored, self.attributes, factor)
        if values.ndim == 3:  # of several versions, the first one that has a value counts
            first, *others = values[list(self.axes.versions)]
            for other in others:
                first = np.where(np.isnan(first), other, first)
            values = first
        return np.flip(without_infinity(values, self.field.kind), self.flips)


def decode(stored: np.ndarray, attributes: Mapping[str, Any], factor: float = 1.0) -> np.ndarray:
    """Returns float32 values of stored numbers: scaled, and NaN where the attributes call them missing.

    If they name no missing numbers, those of NetCDF for numbers that were never written are missing.
    """
    if str(attributes.get("_Unsigned", "")).lower() == "true" and stored.dtype.kind == "i":
        stored = stored.view(f"u{stored.dtype.itemsize}")
    missing = np.isnan(stored) if stored.dtype.kind == "f" else np.zeros(stored.shape, bool)
    with np.errstate(invalid="ignore", over="ignore"):  # a code may lie outside the range of the dtype
        codes = [_codes(attributes.get(name), stored.dtype) for name in ("_FillValue", "missing_value")]
        if not any(map(len, codes)):
            codes.append(_codes(_NEVER_WRITTEN.get(stored.dtype.str[1:]), stored.dtype))
    for code in np.concatenate(codes):
        missing |= stored == code
    low, high = (attributes.get(f"valid_{end}") for end in ("min", "max"))
    low, high = attributes.get("valid_range", (low, high))
    if low is not None:
        missing |= stored < np.asarray(low).astype(stored.dtype)
    if high is not None:
        missing |= stored > np.asarray(high).astype(stored.dtype)
    scale, offset = (float(attributes.get(name, default)) for name, default in (("scale_factor", 1), ("add_offset", 0)))
    values = stored * np.float32(scale * factor) + np.float32(offset * factor)
    values[missing] = np.nan
    return values.astype(np.float32, copy=False)


def _codes(value: Any, dtype: np.dtype) -> np.ndarray:
    """Returns fill values as numbers of `dtype`; xarray writes those of floats as base64 into Zarr 3."""
    if value is None:
        return np.zeros(0, dtype)
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            value = struct.unpack("<d", base64.standard_b64decode(value))[0]
    # The code of unsigned numbers may be stored as the signed number of the same bits.
    return np.ravel(np.asarray(value).astype(dtype))


def names_missing(attributes: Mapping[str, Any]) -> bool:
    """Returns True if the attributes of a variable name numbers that stand for missing values."""
    return any(name in attributes for name in _NAMES_MISSING)
