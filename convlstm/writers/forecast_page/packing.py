"""Frames of a page as compressed bytes, small enough for all of them together."""

from __future__ import annotations

import base64
import zlib

from convlstm.report.palettes import Palette

import numpy as np


def packed(values: np.ndarray, palette: Palette, side: int = 1) -> list[str]:
    """Returns each frame of (T, H, W) as bytes, compressed (zlib), in base64.

    Each byte is that of the palette less that of the row above, modulo 256, which takes less room.

    Args:
        values: The frames, NaN where missing.
        palette: The table of values.
        side: Side in pixels of the squares whose mean is written. Default: 1.
    """
    return [_compressed(palette.encode(averaged(frame, side))) for frame in values]


def averaged(frame: np.ndarray, side: int) -> np.ndarray:
    """Returns means of squares of known pixels, (ceil(H / side), ceil(W / side)); squares at the end may be smaller."""
    if side == 1:
        return frame
    height, width = frame.shape
    padded = np.pad(frame, ((0, -height % side), (0, -width % side)), constant_values=np.nan)
    squares = padded.reshape(padded.shape[0] // side, side, -1, side)
    known = np.isfinite(squares)
    counts = known.sum(axis=(1, 3))
    sums = np.where(known, squares, 0).sum(axis=(1, 3))
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _compressed(codes: np.ndarray) -> str:
    changes = np.diff(codes, axis=0, prepend=np.zeros_like(codes[:1]))
    return base64.b64encode(zlib.compress(np.ascontiguousarray(changes).tobytes(), 6)).decode()
