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
_GREY, _COLOUR, _PALETTE, _GREY_ALPHA, _COLOUR_ALPHA = 0, 2, 3, 4, 6
# Types of colour with their bits: those whose pixels are numbers, and those with a brightness.
_NUMBERS = ((_GREY, 8), (_GREY, 16), (_PALETTE, 8))
_COLOURS = ((_COLOUR, 8), (_COLOUR_ALPHA, 8))


@dataclass(frozen=True)
class PNG(Reader):
    """Grey PNG of 8 or 16 bits, one frame per file: value = `scale` p + `offset` of a pixel p.

    Pixels that an alpha channel makes fully transparent are missing. A picture with a palette is read by the numbers of
    its colours, but only if the format is named: it may as well be a drawing, so it is not recognised. A colour picture
    is refused unless `luminance` says that its brightness is the value. North is up.

    Args:
        pattern: strptime pattern of the time in the name, found anywhere in it. Default: 12 or 14 digits.
        units: `"mm/h"`, `"dBZ"` or `"raw"`, after `scale` and `offset`. Default: `"raw"`.
        scale: Units per step of a pixel. Default: 1.0.
        offset: Value of pixel 0. Default: 0.0.
        missing: The pixel value that stands for missing. Default: none does.
        luminance: Read colour pictures by their brightness, 0.299 R + 0.587 G + 0.114 B. Default: False.
    """

    format = "png"

    pattern: str | None = None
    units: str = "raw"
    scale: float = 1.0
    offset: float = 0.0
    missing: int | None = None
    luminance: bool = False

    def __post_init__(self):
        if type(self.luminance) is not bool:
            raise ValueError(f"[{self.format}] 'luminance' must be true or false but got {self.luminance!r}.")
        check_units(self.format, self.units)
        for name in ("scale", "offset", "missing"):
            check_number(self.format, name, getattr(self, name))
        check_pattern(self.format, self.pattern)

    def _recognises(self, path: Path, head: bytes) -> bool:
        colours = (_GREY, _GREY_ALPHA, *((_COLOUR, _COLOUR_ALPHA) if self.luminance else ()))
        return is_png(head, colours) and not in_masks(path) and time_in_name(path.name, self.pattern) is not None

    def _contents(self, path: Path) -> Contents:
        time = time_in_name(path.name, self.pattern)
        if time is None:
            wanted = "12 or 14 digits" if self.pattern is None else repr(self.pattern)
            raise UnreadableError(f"has no time in its name ({wanted}); set the option 'pattern'")
        return Contents(np.array([time]), Grid(shape=shape_of(path, self._kinds()), fields=(field_of(self.units),)))

    def _read(self, path: Path, position: int) -> np.ndarray:
        frame_number(position, 1)
        shape_of(path, self._kinds())
        stored = pixels_of(path)
        alpha = stored[..., -1] if stored.ndim == 3 and stored.shape[-1] in (2, 4) else None
        pixels = stored if stored.ndim == 2 else stored[..., 0]
        if stored.ndim == 3 and stored.shape[-1] >= 3:
            pixels = stored[..., :3].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
        values = pixels * np.float32(self.scale) + np.float32(self.offset)
        if self.missing is not None:
            values[pixels == self.missing] = np.nan
        if alpha is not None:
            values[alpha == 0] = np.nan
        return values

    def _kinds(self) -> tuple[tuple[int, int], ...]:
        return (*_NUMBERS, (_GREY_ALPHA, 8), *(_COLOURS if self.luminance else ()))


def is_grey(head: bytes) -> bool:
    """Returns True if a file with these first bytes is a grey PNG."""
    return is_png(head, (_GREY,))


def is_png(head: bytes, colours: tuple[int, ...]) -> bool:
    """Returns True if a file with these first bytes is a PNG of one of these types of colour."""
    return head.startswith(SIGNATURE) and len(head) > 25 and head[25] in colours


def shape_of(path: Path, kinds: tuple[tuple[int, int], ...] = _NUMBERS) -> tuple[int, int]:
    """Returns height and width of a PNG, and raises UnreadableError for any other file.

    Args:
        path: The file.
        kinds: Types of colour, with bits, to read. Default: grey of 8 or 16 bits, and numbers of colours.
    """
    with open_plain(path) as file:
        head = file.read(33)
    if len(head) < 33 or not head.startswith(SIGNATURE):
        raise UnreadableError("is not a PNG file")
    bits, colours = head[24], head[25]
    if (colours, bits) not in kinds:
        remedy = " If their brightness is the value, set reader.luminance=true" if (colours, bits) in _COLOURS else ""
        raise UnreadableError(
            f"must be a grey PNG of 8 or 16 bits but is of colour type {colours} and {bits} bits: colours carry no "
            f"values.{remedy}".removesuffix(".")
        )
    return int.from_bytes(head[20:24], "big"), int.from_bytes(head[16:20], "big")


def pixels_of(path: Path, kind: str = "PNG") -> np.ndarray:
    """Returns the pixels of a picture, (H, W), or (H, W, C) with colours or alpha; numbers of colours of a palette.

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
    names = [path.stem.lower(), *(folder.lower() for folder in path.parts[-6:-1])]
    return any(name in ("mask", "masks") or name.endswith(("_mask", "_masks", "-mask", ".mask")) for name in names)
