"""Statistics of one stored frame: missing and wet pixels, the position of wet pixels, and impossible values."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from convlstm.datasets.transforms import reflectivity

import numpy as np

WET = 0.1  # mm/h
_LIMIT = float(np.finfo(np.float32).max)
# The range of possible values. More rain is a fill value that the file does not declare, 1e20 or so: the highest rate
# ever measured is near 2000 mm/h, and codes of reflectivity go up to 95 dBZ. -inf dBZ means no echo at all.
_RANGES = {"mm/h": (0.0, 1e6), "dBZ": (-np.inf, 120.0), "raw": (-_LIMIT, _LIMIT)}
# Bits of a frame's flags.
UNREADABLE, NEGATIVE, INFINITE = 1, 2, 4
# Side of a block in pixels, and the most blocks in a row: large frames have larger blocks.
_BLOCK, _BLOCKS = 32, 16


def known(frame: np.ndarray, units: str) -> np.ndarray:
    """Returns True for the pixels of a frame (H, W) with a possible value: not NaN, infinite or negative rain."""
    low, high = _RANGES[units]
    return (frame >= low) & (frame <= high)


def known_in_all(frame: np.ndarray, kinds: Sequence[str]) -> np.ndarray:
    """Returns True for the pixels of a frame, (H, W) or (H, W, C), that are `known` in all of its fields, (H, W)."""
    if frame.ndim == 2:
        return known(frame, kinds[0])
    valid = np.ones(frame.shape[:2], bool)
    for n, kind in enumerate(kinds):
        valid &= known(frame[..., n], kind)
    return valid


def cleaned(frame: np.ndarray, units: str) -> np.ndarray:
    """Returns the frame with NaN for all pixels that are not `known`; the frame itself if there are none to change."""
    low, high = _RANGES[units]
    # Two passes without a copy, for nearly every frame.
    if np.fmin.reduce(frame, axis=None) >= low and np.fmax.reduce(frame, axis=None) <= high:
        return frame
    return np.where(known(frame, units), frame, np.float32(np.nan))


def wet_from(units: str, zr: tuple[float, float]) -> float:
    """Returns the lowest value of a wet pixel: 0.1 mm/h, its reflectivity, or the least positive raw value."""
    if units == "raw":
        return float(np.finfo(np.float32).tiny)
    return WET if units == "mm/h" else float(reflectivity(np.array(WET), *zr))


def blocks_of(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first rows and columns of a frame's blocks: of 32 pixels, or larger so that there are 16 at most."""
    sides = [max(_BLOCK, -(-length // _BLOCKS)) for length in shape]
    rows, columns = (np.arange(0, length, side) for length, side in zip(shape, sides, strict=True))
    return rows, columns


def measure(frame: np.ndarray, kinds: Sequence[str], zr: tuple[float, float]) -> tuple[float, float, int, np.ndarray]:
    """Returns the statistics of a frame.

    Args:
        frame: The frame as its reader returned it, (H, W), or (H, W, C) for several fields. A pixel of several is
            known if all of them are, and wet if the first rain is, else the first field.
        kinds: Treatment of each field's values: `"mm/h"`, `"dBZ"` or `"raw"`.
        zr: `(a, b)` of Z = a R^b, for the lowest value of a wet pixel.

    Returns:
        The share of missing pixels; the share of wet pixels among the known ones; flags; and the share of wet pixels
        in each block of `blocks_of`, (rows, columns) uint16, in 1/65535.
    """
    if frame.ndim == 2:
        return _measure(frame, kinds[0], wet_from(kinds[0], zr))
    wet = next((n for n, kind in enumerate(kinds) if kind != "raw"), 0)
    flags = 0
    for n, kind in enumerate(kinds):
        flags |= _measure(np.ascontiguousarray(frame[..., n]), kind, wet_from(kind, zr))[2]
    of_wet = np.where(known_in_all(frame, kinds), frame[..., wet], np.float32(np.nan))
    missing, share, _, blocks = _measure(of_wet, kinds[wet], wet_from(kinds[wet], zr))
    return missing, share, flags, blocks


def _measure(frame: np.ndarray, units: str, wet: float) -> tuple[float, float, int, np.ndarray]:
    """Returns the statistics of one field (H, W)."""
    low, high = _RANGES[units]
    least, most = frame.min(), frame.max()
    count, flags = frame.size, 0
    soaked = frame >= wet
    if not (least >= low and most <= high):  # NaN is neither
        valid = known(frame, units)
        soaked &= valid
        count = int(np.count_nonzero(valid))
        impossible = frame[~(valid | np.isnan(frame))]
        negative = (impossible < 0) & (impossible > -np.inf)
        flags = NEGATIVE * bool(negative.any()) + INFINITE * bool((~negative).any())
    rows, columns, areas = _areas_of(frame.shape)
    in_rows = np.add.reduceat(soaked.view(np.uint8), columns, axis=1, dtype=np.uint16)
    sums = np.add.reduceat(in_rows, rows, axis=0, dtype=np.uint32)
    shares = np.rint(sums / areas * 65535).astype(np.uint16)
    return 1 - count / frame.size, float(sums.sum()) / max(count, 1), flags, shares


@lru_cache(maxsize=16)
def _areas_of(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the first rows and columns of `blocks_of`, and the number of pixels of each block."""
    rows, columns = blocks_of(shape)
    return rows, columns, np.outer(np.diff(rows, append=shape[0]), np.diff(columns, append=shape[1]))
