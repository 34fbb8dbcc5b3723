"""Frames in tiles: a grid that a model takes, the places of overlapping tiles, and the weights that blend them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

# A share of an overlap on either side is not used at all: there a tile lacks its surroundings.
_UNUSED = 1 / 3

Size = tuple[int, int]


def accepted(size: Size, takes: Callable[[Size], bool], most: int = 512) -> tuple[Size, int] | None:
    """The smallest size from `size` on that a model takes, both sides multiples of one number, and that number.

    Args:
        size: Height and width.
        takes: Whether the model takes frames of a size.
        most: The largest multiple that is tried. Default: 512.

    Returns:
        None where there is none.
    """
    for multiple in range(1, most + 1):
        larger = (-(-size[0] // multiple) * multiple, -(-size[1] // multiple) * multiple)
        if takes(larger):
            return larger, multiple
    return None


def starts(length: int, tile: int, stride: int) -> list[int]:
    """First pixels of tiles that cover a side; the last one ends with the side."""
    return [*range(0, length - tile, stride), length - tile]


def ramp(length: int, overlap: int, before: bool, after: bool) -> np.ndarray:
    """Weights along a side of a tile, (length,): 1 inside, falling smoothly to 0 within the overlaps.

    Args:
        length: Of the tile, in pixels.
        overlap: Pixels that it shares with a neighbour.
        before, after: Whether there is a neighbour before it, and after it.
    """
    weights = np.ones(length, np.float32)
    if overlap == 0:
        return weights
    place = (np.arange(overlap, dtype=np.float32) + 0.5) / overlap
    rise = np.clip((place - _UNUSED) / (1 - 2 * _UNUSED), 0, 1)
    rise = rise * rise * (3 - 2 * rise)
    if before:
        weights[:overlap] *= rise
    if after:
        weights[-overlap:] *= rise[::-1]
    return weights


def tiles(size: Size, tile: Size, overlap: int, multiple: int) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Rows, columns and weights (h, w) of the tiles that cover a frame.

    Args:
        size: Height and width of the frame, multiples of `multiple`.
        tile: Of a tile, likewise, at most those of the frame.
        overlap: Pixels that neighbours share at least, below the tile's sides.
        multiple: Tiles start at multiples of it, so that patches and strides fall as they do in the whole frame.
    """
    sides = []
    for length, side in zip(size, tile, strict=True):
        stride = max((side - overlap) // multiple, 1) * multiple
        at = starts(length, side, stride)
        shared = min(overlap, side // 2)
        sides.append([(slice(a, a + side), ramp(side, shared, a > 0, a + side < length)) for a in at])
    for rows, down in sides[0]:
        for columns, across in sides[1]:
            # Not quite 0, so that a pixel in the very edge of all its tiles has a weight.
            yield rows, columns, np.maximum(np.outer(down, across), np.float32(1e-6))
