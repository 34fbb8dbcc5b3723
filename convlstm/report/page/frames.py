"""Frames as small PNG pictures inside the page, pixel by pixel, in the colours of the other pictures."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from convlstm.report.frame_panel import GREY, picture
from convlstm.report.map_drawing import HATCH, MISSING, Scale
from convlstm.report.rain_scale import DRY, RainScale
from convlstm.report.style import MISSING as SAND

import numpy as np
from matplotlib.colors import to_hex
from PIL import Image


@dataclass
class Album:
    """Pictures of frames, without duplicates.

    Attributes:
        pictures: PNG files in base64, in the order of their first use.
        size: Number of letters of all of them.
    """

    pictures: list[str] = field(default_factory=list)
    size: int = 0
    _indices: dict[bytes, int] = field(default_factory=dict)

    def index_of(self, frame: np.ndarray, png: Callable[[np.ndarray], bytes], field: str = "") -> int:
        """Returns the index of the picture of a frame of a field, which is drawn and added if it is new."""
        key = hashlib.sha256(repr((field, frame.shape)).encode() + np.ascontiguousarray(frame).tobytes()).digest()
        if key not in self._indices:
            self._indices[key] = len(self.pictures)
            self.pictures.append(base64.b64encode(png(frame)).decode("ascii"))
            self.size += len(self.pictures[-1])
        return self._indices[key]


def colours(scale: RainScale) -> list[str]:
    """Returns the colours of a scale: dry, every class from the lowest on, missing, and its hatching."""
    classes = [to_hex(scale.colours(n)) for n in range(len(scale.levels) - 1)]
    return [DRY, *classes, to_hex(tuple(scale.colours.get_over().tolist())), MISSING, HATCH]


def map_png(frame: np.ndarray, scale: Scale) -> bytes:
    """Returns a picture of a field (H, W, 1) in the colours of a scale; missing pixels are hatched."""
    if isinstance(scale, RainScale):
        return rain_png(frame, scale)
    count = scale.colours.N
    shares = np.ma.filled(scale.norm(np.ma.masked_invalid(frame[..., 0])), 0.0)
    indices = np.clip(np.floor(count * shares), 0, count - 1)
    return _hatched(indices, frame, [*map(to_hex, scale.colours(np.arange(count))), MISSING, HATCH])


def ramp_png(scale: Scale) -> bytes:
    """Returns a strip of the colours of a continuous scale, from the lowest to the highest value."""
    return map_png(np.linspace(scale.norm.vmin or 0.0, scale.norm.vmax or 0.0, 64)[None, :, None], scale)


def rain_png(frame: np.ndarray, scale: RainScale) -> bytes:
    """Returns a picture of a field (H, W, 1) in the classes of the scale; missing pixels are hatched."""
    classes = np.searchsorted(scale.norm.boundaries, np.nan_to_num(frame[..., 0], nan=0.0), side="right")
    return _hatched(classes, frame, colours(scale))


def frame_png(frame: np.ndarray) -> bytes:
    """Returns a picture of a frame (H, W, C) in [0, 1]: three channels as RGB, any other number as a grey mean."""
    drawing = picture(frame, GREY)
    if drawing.ndim == 3:
        return _saved(Image.fromarray(np.round(255 * drawing).astype(np.uint8)))
    grey = np.round(254 * np.clip(np.ma.filled(drawing, 0.0), 0, 1)).astype(np.uint8)
    grey[np.ma.getmaskarray(drawing)] = 255
    return _png(grey, [*(f"#{3 * f'{round(255 * k / 254):02x}'}" for k in range(255)), SAND])


def shrunk(frames: np.ndarray, times: int) -> np.ndarray:
    """Returns means of frames (..., H, W, C) over squares of `times` x `times` pixels; NaN if a pixel is missing."""
    if times == 1:
        return frames
    *before, height, width, channels = frames.shape
    padding = [(0, 0)] * len(before) + [(0, -height % times), (0, -width % times), (0, 0)]
    padded = np.pad(frames, padding, mode="edge")
    high, wide = padded.shape[-3] // times, padded.shape[-2] // times
    return padded.reshape(*before, high, times, wide, times, channels).mean(axis=(-4, -2))


def factor(shapes: Iterable[Sequence[int]], most: int) -> int:
    """Returns the factor by which frames (H, W) are shrunk so that no side has more than `most` pixels."""
    return max([-(-max(shape) // most) for shape in shapes] or [1])


def _hatched(indices: np.ndarray, frame: np.ndarray, palette: Sequence[str]) -> bytes:
    """Returns the PNG file of indices into a palette, which ends with the colours of missing pixels and hatching."""
    rows, columns = np.indices(indices.shape)
    hatched = len(palette) - np.where((rows + columns) % 6 < 2, 1, 2)
    return _png(np.where(np.isnan(frame[..., 0]), hatched, indices).astype(np.uint8), palette)


def _png(indices: np.ndarray, palette: Sequence[str]) -> bytes:
    """Returns the PNG file of a picture (H, W) of indices into a palette."""
    image = Image.fromarray(indices)
    bits = 4 if len(palette) <= 16 else 8
    image.putpalette([int(colour[k : k + 2], 16) for colour in palette for k in (1, 3, 5)])
    return _saved(image, bits=bits)


def _saved(image: Image.Image, **how: Any) -> bytes:
    file = io.BytesIO()
    # A higher level of compression takes five times as long, for files that are only a twentieth smaller.
    image.save(file, format="PNG", **how)
    return file.getvalue()
