"""Frames as services deliver them to a watched folder, in good and in odd ways."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.support import radar_archives, radar_files

import numpy as np

SIDE = 24
STEP = 5  # minutes
PAUSE = 0.25  # seconds between the parts of a file that is written slowly

ODD = (b"two\nlines_", b"\xff\xfe_", b" with spaces _", b"\x1b[31m_", b"x" * 200, b"-rf_")
"""Odd beginnings of names."""

FORMATS: dict[str, str] = {"odim": ".hdf", "png": ".png", "knmi": ".h5", "npy": ".npy"}
"""Formats of frames that a watcher is tested with, and the endings of their names."""

_READER = f"reader={{{', '.join(f'{key}: {value}' for key, value in radar_archives.OPTIONS.items())}}}"
OPTIONS: dict[str, list[str]] = {"odim": [], "png": [_READER], "knmi": [], "npy": [_READER]}
"""Arguments of `forecast` that each of these formats needs."""


def write_frame(path: Path, format: str, moment: np.datetime64, rng: np.random.Generator, **changes: Any) -> Path:
    """Writes a frame of random rain; `changes` are its `shape` or, for ODIM, its `quantity`."""
    pixels = rng.integers(0, 200, changes.get("shape", (SIDE, SIDE)), np.uint8)
    if format == "odim":
        radar_files.write_odim(path, {changes.get("quantity", "RATE"): pixels})
        _set_time(path, moment)
        return path
    if format == "knmi":
        period = {"start": moment - np.timedelta64(STEP, "m"), "end": moment}
        attributes = {f"product_datetime_{name}": np.array([_knmi(time)]) for name, time in period.items()}
        return radar_files.write_knmi(path, pixels.astype(np.uint16), **attributes)
    if format == "png":
        return radar_files.write_png(path, pixels)
    np.save(path, pixels.astype(np.float32))
    return path


def _set_time(path: Path, moment: np.datetime64) -> None:
    import h5py

    with h5py.File(path, "a") as file:
        file["what"].attrs.update({"date": np.bytes_(_digits(moment)[:8]), "time": np.bytes_(_digits(moment)[8:])})


def _digits(moment: np.datetime64) -> str:
    return str(moment.astype("datetime64[s]")).translate(str.maketrans("", "", "-T:"))


def _knmi(moment: np.datetime64) -> bytes:
    return f"{moment.astype(datetime):%d-%b-%Y;%H:%M:%S.000}".upper().encode()


def name_of(format: str, moment: np.datetime64, prefix: str = "") -> str:
    """Returns the name of a frame's file."""
    return f"{prefix}{_digits(moment)}{FORMATS[format]}"


@dataclass(frozen=True)
class Delivery:
    """A frame to deliver.

    Attributes:
        folder: The watched folder.
        name: Name of its file.
        content: Its file's content.
        rng: Source of what is random.
    """

    folder: Path
    name: str
    content: bytes
    rng: np.random.Generator

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / self.name


def _at_once(frame: Delivery) -> Path:
    frame.path.write_bytes(frame.content)
    return frame.path


def _renamed(frame: Delivery) -> Path:
    part = frame.folder / f".{frame.name}.part"
    part.write_bytes(frame.content)
    return part.rename(frame.path)


def _slowly(frame: Delivery) -> Path:
    size = len(frame.content) // 4 + 1
    with frame.path.open("wb", buffering=0) as file:
        for start in range(0, len(frame.content), size):
            file.write(frame.content[start : start + size])
            time.sleep(PAUSE)
    return frame.path


def _preallocated(frame: Delivery) -> Path:
    with frame.path.open("wb", buffering=0) as file:
        file.write(bytes(len(frame.content)))
        time.sleep(2 * PAUSE)
        file.seek(0)
        file.write(frame.content)
    return frame.path


def _cut_off_first(frame: Delivery) -> Path:
    frame.path.write_bytes(frame.content[: len(frame.content) // 2])
    time.sleep(2 * PAUSE)
    frame.path.write_bytes(frame.content)
    return frame.path


def _linked(frame: Delivery) -> Path:
    elsewhere = frame.folder.with_name("elsewhere") / frame.name
    elsewhere.parent.mkdir(exist_ok=True)
    elsewhere.write_bytes(frame.content)
    if frame.rng.random() < 0.5:
        frame.path.symlink_to(elsewhere)
    else:
        frame.path.hardlink_to(elsewhere)
    return frame.path


def _in_a_folder(frame: Delivery) -> Path:
    path = frame.folder / "hours" / frame.name[:8] / frame.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(frame.content)
    return path


def _oddly_named(frame: Delivery) -> Path:
    stem, odd = (
        frame.name.encode(),
        (b"two\nlines_", b"\xff\xfe_", b" with spaces _", b"\x1b[31m_", b"x" * 200, b"-rf_"),
    )
    path = Path(os.fsdecode(os.fsencode(frame.folder) + b"/" + odd[int(frame.rng.integers(len(odd)))] + stem))
    path.write_bytes(frame.content)
    return path


WAYS: dict[str, Callable[[Delivery], Path]] = {
    "at once": _at_once,
    "renamed into place": _renamed,
    "in place, slowly": _slowly,
    "in place of zeros": _preallocated,
    "cut off at first": _cut_off_first,
    "as a link": _linked,
    "in a folder": _in_a_folder,
    "with an odd name": _oddly_named,
}
"""Ways in which a frame comes, each once and complete in the end. The functions return its path."""
