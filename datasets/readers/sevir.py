"""SEVIR's radar events: vertically integrated liquid in HDF5, with the times in CATALOG.csv."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from convlstm.datasets.readers.base import Contents, Reader, frame_number
from convlstm.datasets.readers.block_cache import BLOCKS, identity
from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.grid import Field, Grid
from convlstm.datasets.readers.hdf5 import holds, open_hdf5, read_array
from convlstm.datasets.readers.limits import check_bytes, check_frame
from convlstm.datasets.readers.plain_files import open_plain

import numpy as np

_MISSING = 255
_CATALOG = "CATALOG.csv"
# Bytes of memory for each byte of the catalogue: texts, times and rows.
_TEXT = 8
# Folders from a file up to the catalogue: sevir/data/vil/2018/SEVIR_VIL_....h5 with sevir/CATALOG.csv, or fewer.
_LEVELS = 4
_VIL = Field("vil", "raw", long_name="vertically integrated liquid, as numbers from 0 to 254")


class _Event(NamedTuple):
    """A row of the catalogue: the index of an event in its file, and the times of its frames, datetime64[s]."""

    position: int
    times: np.ndarray


@dataclass(frozen=True)
class SEVIR(Reader):
    """SEVIR's `vil`, (N, H, W, T) uint8 in units of the file (0 to 254; 255 is missing).

    The frames of the first event come first, then those of the second, and so on, for all events of the file that
    CATALOG.csv lists: a shorter catalogue selects events. The catalogue lies beside the file or up to four folders
    above it. Row 0 of the file is the southern one. `Contents.event` is an event's index in the file.

    Source: Veillette, Samsi and Mattioli (2020), SEVIR: a storm event imagery dataset.
    """

    format = "sevir"

    def _recognises(self, path: Path, head: bytes) -> bool:
        return holds(path, head, ("vil", "id"), b"vil")

    def _contents(self, path: Path) -> Contents:
        with open_hdf5(path) as file:
            shape = file["vil"].shape
        if len(shape) != 4:
            raise UnreadableError(f"must have vil (events, rows, columns, frames) but has {shape}")
        check_frame(shape[1:3])
        events = self._events(path)
        for event in events:
            if event.position >= shape[0] or len(event.times) != shape[3]:
                raise UnreadableError(
                    f"has {shape[0]} events of {shape[3]} frames, but {_CATALOG} has an event {event.position} of "
                    f"{len(event.times)} frames"
                )
        return Contents(
            times=np.concatenate([event.times for event in events]),
            grid=Grid(shape=shape[1:3], fields=(_VIL,), pixel_size=(1000.0, 1000.0)),
            event=np.repeat([event.position for event in events], shape[3]),
        )

    def _read(self, path: Path, position: int) -> np.ndarray:
        events = self._events(path)
        number, frame = divmod(position, len(events[0].times))
        event = events[frame_number(number, len(events))].position

        def load() -> np.ndarray:
            with open_hdf5(path) as file:
                return read_array(file["vil"], event)

        # Time is the fastest axis of the file, so one frame costs as much to read as all frames of the event.
        pixels = BLOCKS.get((path, identity(path), event), load)[::-1, :, frame]
        values = pixels.astype(np.float32)
        values[pixels == _MISSING] = np.nan
        return values

    def _events(self, path: Path) -> list[_Event]:
        for folder in list(path.absolute().parents)[: _LEVELS + 1]:
            if (folder / _CATALOG).is_file():
                events = _catalog(folder / _CATALOG, identity(folder / _CATALOG)).get(path.name)
                if not events:
                    raise UnreadableError(f"is not listed in {folder / _CATALOG}")
                return events
        raise UnreadableError(f"has its times in {_CATALOG}, which is neither beside it nor above it. Put it there")


# SEVIR has one catalogue of 76,000 rows for a few dozen files.
@lru_cache(maxsize=2)
def _catalog(path: Path, _: tuple[int, int]) -> dict[str, list[_Event]]:
    """Returns the events of each file by its name, in the order of their index."""
    files: dict[str, dict[int, _Event]] = {}
    size = path.stat().st_size
    check_bytes(f"a {_CATALOG} of {size:,} bytes", _TEXT * size)
    with open_plain(path) as file, io.TextIOWrapper(file, "utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            if row["img_type"] == "vil":
                middle = np.datetime64(row["time_utc"].strip().replace(" ", "T"), "s")
                seconds = [round(60 * float(minutes)) for minutes in row["minute_offsets"].split(":")]
                event = _Event(int(row["file_index"]), middle + np.array(seconds, "timedelta64[s]"))
                # Some ids occur twice, but each index of a file is one event.
                files.setdefault(Path(row["file_name"]).name, {}).setdefault(event.position, event)
    return {name: [events[index] for index in sorted(events)] for name, events in files.items()}
