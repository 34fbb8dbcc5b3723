"""HKO-7: the Hong Kong Observatory's reflectivities as grey PNG pictures, with masks of the known pixels."""

from __future__ import annotations

import math
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from convlstm.datasets.readers.base import Contents, Reader, frame_number
from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.file_names import time_in_name
from convlstm.datasets.readers.grid import REFLECTIVITY, Grid
from convlstm.datasets.readers.plain_files import open_plain
from convlstm.datasets.readers.png import in_masks, is_grey, pixels_of, shape_of

import numpy as np

_NAME = re.compile(r"RAD\d{12}\.png", re.IGNORECASE)
_SIDE = 480  # pixels of 512 km
# Folders from the picture up to the data set: radarPNG/2009/01/01.
_LEVELS = 4
# Bytes that a packed mask may have beyond its pixels.
_SPARE = 4096


@dataclass(frozen=True)
class HKO7(Reader):
    """HKO-7 PNG, RADyymmddHHMMSS.png of 8 bits: dBZ = 70 p / 255 - 10. North is up.

    Pixels that are 0 in the picture's mask are missing. A mask has the picture's name, ending in `.mask` (the original
    format: bytes, packed by zlib) or `.png`. It lies beside the picture (a PNG as NAME_mask.png), or at the same path
    in a folder `mask` or `masks` beside the folder of the pictures, or in a folder named after that one with `_mask`
    added, as in radarPNG and radarPNG_mask. All pixels of a picture without a mask are known.

    Source: Shi et al. (2017), Deep learning for precipitation nowcasting: a benchmark and a new model.
    """

    format = "hko7_png"

    def _recognises(self, path: Path, head: bytes) -> bool:
        return _NAME.fullmatch(path.name) is not None and is_grey(head) and not in_masks(path)

    def _contents(self, path: Path) -> Contents:
        time = time_in_name(path.name, "RAD%y%m%d%H%M%S")
        if time is None:
            raise UnreadableError("must be named RADyymmddHHMMSS.png after its time")
        shape = shape_of(path)
        pixel_size = (512000 / _SIDE, 512000 / _SIDE) if shape == (_SIDE, _SIDE) else None
        return Contents(np.array([time]), Grid(shape=shape, fields=(REFLECTIVITY,), pixel_size=pixel_size))

    def _read(self, path: Path, position: int) -> np.ndarray:
        frame_number(position, 1)
        shape_of(path)
        pixels = pixels_of(path)
        values = pixels * np.float32(70 / 255) - np.float32(10)
        mask = _mask_of(path)
        if mask is not None:
            known = _known(mask, pixels.shape)
            values[known == 0] = np.nan
        return values


def _known(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    if path.suffix.lower() == ".png":
        mask = pixels_of(path)
    else:
        size = math.prod(shape)
        with open_plain(path) as file:
            data = zlib.decompressobj().decompress(file.read(2 * size + _SPARE), size + 1)
        mask = np.frombuffer(data, np.uint8)
        if mask.size == size:
            mask = mask.reshape(shape)
    if mask.shape != shape:
        raise UnreadableError(f"must be a mask of {shape} as its picture but is {mask.shape}")
    return mask


def _mask_of(path: Path) -> Path | None:
    """Returns the mask of a picture, or None."""
    candidates = [path.with_suffix(".mask"), path.with_name(f"{path.stem}_mask.png")]
    folders = [folder for folder in list(path.absolute().parents)[:_LEVELS] if folder.name]
    for folder in folders:
        inside = path.absolute().relative_to(folder)
        for name in ("mask", "masks", f"{folder.name}_mask"):
            candidates += [folder.parent / name / inside.with_suffix(suffix) for suffix in (".mask", ".png")]
    # A folder of masks inside the folder of the pictures.
    for name in ("mask", "masks"):
        candidates += [path.parent / name / f"{path.stem}{suffix}" for suffix in (".mask", ".png")]
    return next((candidate for candidate in candidates if candidate.is_file()), None)
