"""Grey PNG pictures, one frame per file, with the time in the name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from convlstm.datasets.readers.base import Contents, Reader, frame_number
from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.file_names import check_pattern, time_in_name
from convlstm.datasets.readers.grid import Grid, field_of
from convlstm.datasets.readers.limits import check_frame
from convlstm.datasets.readers.options import check_number, check_units
from convlstm.datasets.readers.plain_files import open_plain

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _PALETTE = 0, 3


@dataclass(frozen=True)
class PNG(Reader):
    """Grey PNG of 8 or 16 bits, one frame per file: value = `scale` p + `offset` of a pixel p.

    A picture with a palette is read by the numbers of its colours, but only if the format is named: it may as well be
    a drawing, so it is not recognised. North is up.

    Args:
        pattern: strptime pattern of the time in the name, found anywhere in it. Default: 12 or 14 digits.
        units: `"mm/h"`, `"dBZ"` or `"raw"`, after `scale` and `offset`. Default: `"raw"`.
        scale: Units per step of a pixel. Default: 1.0.
        offset: Value of pixel 0. Default: 0.0.
        missing: The pixel value that stands for missing. Default: none does.
    """

    format = "png"

    pattern: str | None = None
    units: str = "raw"
    scale: float = 1.0
    offset: float = 0.0
    missing: int | None = None

    def __post_init__(self):
        check_units(self.format, self.units)
        for name in ("scale", "offset", "missing"):
            check_number(self.format, name, getattr(self, name))
        check_pattern(self.format, self.pattern)

    def _recognises(self, path: Path, head: bytes) -> bool:
        return is_grey(head) and not in_masks(path) and time_in_name(path.name, self.pattern) is not None

    def _contents(self, path: Path) -> Contents:
        time = time_in_name(path.name, self.pattern)
        if time is None:
            wanted = "12 or 14 digits" if self.pattern is None else repr(self.pattern)
            raise UnreadableError(f"has no time in its name ({wanted}); set the option 'pattern'")
        return Contents(np.array([time]), Grid(shape=shape_of(path), fields=(field_of(self.units),)))

    def _read(self, path: Path, position: int) -> np.ndarray:
        frame_number(position, 1)
        shape_of(path)
        pixels = pixels_of(path)
        values = pixels * np.float32(self.scale) + np.float32(self.offset)
        if self.missing is not None:
            values[pixels == self.missing] = np.nan
        return values


def is_grey(head: bytes) -> bool:
    """Returns True if a file with these first bytes is a grey PNG."""
    return head.startswith(SIGNATURE) and len(head) > 25 and head[25] == _GREY


def shape_of(path: Path) -> tuple[int, int]:
    """Returns height and width of a PNG whose pixels are numbers, and raises UnreadableError for any other file."""
    with open_plain(path) as file:
        head = file.read(33)
    if len(head) < 33 or not head.startswith(SIGNATURE):
        raise UnreadableError("is not a PNG file")
    bits, colours = head[24], head[25]
    if (colours, bits) not in ((_GREY, 8), (_GREY, 16), (_PALETTE, 8)):
        raise UnreadableError(
            f"must be a grey PNG of 8 or 16 bits but is of colour type {colours} and {bits} bits: colours carry no "
            "values"
        )
    return int.from_bytes(head[20:24], "big"), int.from_bytes(head[16:20], "big")


def pixels_of(path: Path, kind: str = "PNG") -> np.ndarray:
    """Returns the pixels of a picture, (H, W); the numbers of the colours if it has a palette.

    Args:
        path: The file.
        kind: Pillow's name of its format. No other format is tried, since some of them run programs. Default: "PNG".
    """
    from PIL import Image

    with open_plain(path) as file, Image.open(file, formats=(kind,)) as image:
        check_frame(image.size[::-1])
        return np.array(image)


def in_masks(path: Path) -> bool:
    """Returns True if a file is a mask by its name or by a folder above it, and thus no frame."""
    names = [path.stem.lower(), *(parent.name.lower() for parent in list(path.parents)[:5])]
    return any(name in ("mask", "masks") or name.endswith(("_mask", "_masks", "-mask", ".mask")) for name in names)
