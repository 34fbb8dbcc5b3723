"""Tiles of large frames: a size that the model accepts, overlapping tiles, and the weights that blend them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

# Share of an overlap at the border of a tile whose values are not used, since the tile lacks their surroundings.
_UNUSED = 1 / 3

Size = tuple[int, int]


def accepted(size: Size, takes: Callable[[Size], bool], most: int = 512) -> tuple[Size, int] | None:
    """Returns the smallest size that is accepted, both sides multiples of one number, and that number, or None.

    Args:
        size: Height and width of the frames. The result is not smaller.
        takes: Returns True if the model accepts frames of a size.
        most: The largest number that is tried. Default: 512.
    """
    for multiple in range(1, most + 1):
        larger = (-(-size[0] // multiple) * multiple, -(-size[1] // multiple) * multiple)
        if takes(larger):
            return larger, multiple
    return None


def alignment(size: Size, takes: Callable[[Size], bool], most: int = 512) -> int:
    """Returns the smallest number by which both sides of an accepted size can grow, or 1 if there is none.

    It is the number that a model's patches and strides divide, whether the size itself is a multiple of more or not.
    """
    return next((n for n in range(1, most + 1) if takes((size[0] + n, size[1] + n))), 1)


def starts(length: int, tile: int, stride: int) -> list[int]:
    """Returns the first pixels of tiles that cover a side. The last tile ends with the side."""
    return [*range(0, length - tile, stride), length - tile]


def ramp(length: int, overlap: int, before: bool, after: bool) -> np.ndarray:
    """Returns the weights along a side of a tile, (length,): 1 inside, falling smoothly to 0 within the overlaps.

    Args:
        length: Side of the tile in pixels.
        overlap: Pixels that it shares with a neighbour.
        before, after: True if the tile has a neighbour before it, or after it.
    """
    weights = np.ones(length, np.float32)
    if overlap == 0:
        return weights
    position = (np.arange(overlap, dtype=np.float32) + 0.5) / overlap
    rise = np.clip((position - _UNUSED) / (1 - 2 * _UNUSED), 0, 1)
    rise = rise * rise * (3 - 2 * rise)
    if before:
        weights[:overlap] *= rise
    if after:
        weights[-overlap:] *= rise[::-1]
    return weights


def tiles(
    size: Size, tile: Size, overlap: int, multiple: int, *, circular: bool = False
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Yields the rows, the columns and the weights (h, w) of the tiles that cover a frame.

    If the columns go round, a tile of another width than the frame has neighbours on both sides, and the last one
    reaches over the seam: its columns are counted on from the frame's last one, see `folded`.

    Args:
        size: Height and width of the frame, multiples of `multiple`.
        tile: Height and width of a tile, multiples of `multiple`, at most those of the frame; if the columns go round,
            it may be wider.
        overlap: Pixels that neighbours share at least, less than the tile's sides.
        multiple: Tiles start at multiples of it, so that patches and strides lie as in the whole frame.
        circular: True if the columns go round. Default: False.
    """
    sides = []
    for axis, (length, side) in enumerate(zip(size, tile, strict=True)):
        stride = max((side - overlap) // multiple, 1) * multiple
        shared = min(overlap, side // 2)
        if circular and axis == 1 and side != length:
            whole = ramp(side, max(shared, side - length), True, True)
            sides.append([(slice(n, n + side), whole) for n in range(0, length, stride)])
            continue
        firsts = starts(length, side, stride)
        sides.append([(slice(n, n + side), ramp(side, shared, n > 0, n + side < length)) for n in firsts])
    for rows, down in sides[0]:
        for columns, across in sides[1]:
            # Never 0, so that a pixel on the edge of all its tiles has a weight, too.
            yield rows, columns, np.maximum(np.outer(down, across), np.float32(1e-6))


def unrolled(array: np.ndarray, tile: Size, overlap: int, multiple: int) -> np.ndarray:
    """Returns frames (N, T, H, W, C) whose columns go round, with all columns that the tiles of `tiles` name."""
    H, W = array.shape[2:4]
    width = max(columns.stop for _, columns, _ in tiles((H, W), tile, overlap, multiple, circular=True))
    return array.take(np.arange(width) % W, axis=3)


def folded(array: np.ndarray, width: int, axis: int) -> np.ndarray:
    """Returns sums over columns that are the same on a ring of `width` columns."""
    if array.shape[axis] == width:
        return array
    parts = [array.take(range(n, min(n + width, array.shape[axis])), axis) for n in range(0, array.shape[axis], width)]
    total = parts[0]
    for part in parts[1:]:
        # A part at the end may be shorter.
        total[(slice(None),) * (axis % total.ndim) + (slice(part.shape[axis]),)] += part
    return total
