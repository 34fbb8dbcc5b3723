"""Small archives of radar files for tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from convlstm.datasets.readers import Contents, Grid, Reader
from convlstm.datasets.readers.grid import field_of

import numpy as np
from PIL import Image

START = np.datetime64("2020-06-01T00:00:00", "s")
# A pixel of p is p / 10 mm/h, and 255 is missing.
OPTIONS = {"units": "mm/h", "scale": 0.1, "missing": 255}
SHAPE = (40, 48)
_MAGIC = b"STACK"


def time_of(index: float, step: float = 5) -> np.datetime64:
    """Returns the time of frame `index` of an archive with a frame every `step` minutes."""
    return START + np.timedelta64(round(index * step * 60), "s")


def name_of(index: float, step: float = 5, prefix: str = "") -> str:
    """Returns the name of the picture of frame `index`."""
    return f"{prefix}{str(time_of(index, step)).translate(str.maketrans('', '', '-T:'))}.png"


def write_picture(folder: Path, index: float, pixels: np.ndarray, *, step: float = 5, prefix: str = "") -> Path:
    """Writes a PNG with the time of frame `index` in its name."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name_of(index, step, prefix)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)
    return path


def picture(index: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Returns pixels of `index + 1`, and of 0 in the lower half."""
    pixels = np.full(shape, index + 1, np.uint8)
    pixels[shape[0] // 2 :] = 0
    return pixels


def write_pictures(folder: Path, frames: int, *, shape: tuple[int, int] = SHAPE, **options) -> list[Path]:
    """Writes an archive of frames of `picture`."""
    return [write_picture(folder, index, picture(index, shape), **options) for index in range(frames)]


@dataclass(frozen=True)
class Stack(Reader):
    """A format of many frames in a file: an `.npz` with `values` (F, H, W), `times` and `event`."""

    format = "stack"

    units: str = "mm/h"
    pixel_units: str = "m"

    def _recognises(self, path, head):
        return head.startswith(_MAGIC)

    def _contents(self, path):
        arrays = self._arrays(path)
        grid = Grid(arrays["values"].shape[1:], (field_of(self.units),), (2000.0, 2000.0), self.pixel_units)
        return Contents(arrays["times"].astype("datetime64[s]"), grid, arrays.get("event"))

    def _read(self, path, position):
        return self._arrays(path)["values"][position]

    def _arrays(self, path):
        with path.open("rb") as file:
            file.seek(len(_MAGIC))
            with np.load(file) as arrays:
                return dict(arrays)


def write_stack(path: Path, values: np.ndarray, *, first: int = 0, step: float = 5, times=None, event=None) -> Path:
    """Writes a file for `Stack` with a frame every `step` minutes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if times is None:
        times = np.array([time_of(first + index, step) for index in range(len(values))])
    optional = {} if event is None else {"event": event}
    with path.open("wb") as file:
        file.write(_MAGIC)
        np.savez(file, values=np.asarray(values, np.float32), times=times, **optional)
    return path
