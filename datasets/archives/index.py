"""The index of an archive: the times and statistics of all frames, stored, and read again only for changed files."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convlstm.datasets.archives.files import stamp
from convlstm.datasets.archives.frame_statistics import blocks_of
from convlstm.datasets.folders import data_folder
from convlstm.datasets.readers import Grid
from convlstm.datasets.readers.plain_files import open_plain

import numpy as np

# Stored indexes of another version are ignored. Raise the number if a reader's values, places or a statistic mean
# something else.
VERSION = 4


@dataclass
class Entry:
    """A file as it was when it was read. The arrays are empty until then.

    Attributes:
        size: Bytes.
        changed: Time of change in ns.
        format: Format, or `""` if no reader recognises the file.
        problem: Reason why the file, or one of its frames, cannot be read.
        grid: Grid of the frames.
        times: datetime64[s] of (F,).
        event: int of (F,), the event in the file, or -1 if the file has no events.
        missing, wet, flags: (F,), of `convlstm.datasets.archives.frame_statistics.measure`.
        blocks: (F, rows, columns), of the same.
    """

    size: int
    changed: int
    format: str = ""
    problem: str = ""
    grid: Grid | None = None
    times: np.ndarray = field(default_factory=lambda: np.zeros(0, "datetime64[s]"))
    event: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    missing: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    wet: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    flags: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8))
    blocks: np.ndarray = field(default_factory=lambda: np.zeros((0, 1, 1), np.uint16))

    @classmethod
    def of(cls, path: Path) -> Entry:
        """Returns the entry of a file that has not been read."""
        return cls(*stamp(path))

    def same_file(self, other: Entry) -> bool:
        """Returns True if the size and the time of change are the same."""
        return (self.size, self.changed) == (other.size, other.changed)


# Beginning of the names of arrays of coordinates.
_ARRAY = "coordinates_"
_ARRAYS = ("times", "event", "missing", "wet", "flags", "blocks")


class Store:
    """The file that keeps the index of one archive, outside the archive.

    Args:
        folder: Folder of the indexes. Default: `$CONVLSTM_DATA/index`, or `convlstm/index` in the user's cache folder.
        key: Everything that the index depends on besides the files: the archive's path, the reader's options, ...
    """

    def __init__(self, folder: Path | None, key: object):
        self.folder = data_folder("index") if folder is None else folder
        digest = hashlib.sha256(json.dumps([VERSION, key], default=str).encode()).hexdigest()[:24]
        self._path = self.folder / f"{digest}.npz"

    def load(self) -> tuple[dict[str, Entry], dict[str, np.ndarray]]:
        """Returns the entries by the files' names, and the other arrays. Both are empty if nothing usable is stored."""
        try:
            with open_plain(self._path) as file, np.load(file, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            others = {k: v for k, v in arrays.items() if k not in ("files", *_ARRAYS) and not k.startswith(_ARRAY)}
            return _entries(arrays), others
        except Exception:  # missing, cut off or of another program: the index is made again
            return {}, {}

    def save(self, entries: Mapping[str, Entry], others: Mapping[str, np.ndarray]) -> None:
        """Stores the entries of the files that could be read, and arrays of other names; warns if that fails."""
        entries = {name: entry for name, entry in entries.items() if entry.grid is not None}
        grids = list(dict.fromkeys(entry.grid for entry in entries.values()))
        numbers = {grid: number for number, grid in enumerate(grids)}
        files = [
            [name, e.size, e.changed, e.format, e.problem, numbers[e.grid], len(e.times)] for name, e in entries.items()
        ]
        # Each array of coordinates is stored once, whichever grids have it.
        coordinates: dict[int, tuple[int, np.ndarray]] = {}

        def number_of(array: np.ndarray) -> dict[str, int]:
            # Equal coordinates are the same object.
            return {_ARRAY: coordinates.setdefault(id(array), (len(coordinates), array))[0]}

        records = [grid.to_record() for grid in grids if grid is not None]
        meta = json.dumps({"files": files, "grids": records}, default=number_of)
        columns = {name: [getattr(entry, name).ravel() for entry in entries.values()] for name in _ARRAYS}
        arrays = {name: np.concatenate(parts) for name, parts in columns.items() if parts}
        arrays["files"] = np.frombuffer(meta.encode(), np.uint8)
        arrays |= {f"{_ARRAY}{number}": array for number, array in coordinates.values()}
        partial = self._path.with_name(f"{self._path.stem}.{os.getpid()}.part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                np.savez_compressed(file, **arrays, **others)  # type: ignore[arg-type]
            partial.replace(self._path)
        except OSError as error:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            warnings.warn(
                f"[Archive] the index cannot be stored in {self.folder} ({error.strerror}), so the archive is read at "
                "every start. Set CONVLSTM_DATA to a folder that can be written to.",
                stacklevel=2,
            )


def _entries(arrays: Mapping[str, np.ndarray]) -> dict[str, Entry]:
    def array_of(record: dict[str, Any]) -> Any:
        return arrays[f"{_ARRAY}{record[_ARRAY]}"] if _ARRAY in record else record

    meta: dict[str, Any] = json.loads(arrays["files"].tobytes(), object_hook=array_of)
    grids = [Grid.of_record(record) for record in meta["grids"]]
    entries, frame, block = {}, 0, 0
    for name, size, changed, format, problem, number, frames in meta["files"]:
        rows, columns = (len(axis) for axis in blocks_of(grids[number].shape))
        end = block + frames * rows * columns
        parts = {key: arrays[key][frame : frame + frames] for key in _ARRAYS[:-1]}
        parts["blocks"] = arrays["blocks"][block:end].reshape(frames, rows, columns)
        entries[name] = Entry(size, changed, format, problem, grids[number], **parts)
        frame, block = frame + frames, end
    return entries
