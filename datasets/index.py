"""What the files of an archive hold: read once, stored, and read again only where files are new or changed."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from convlstm.datasets.digits import default_root
from convlstm.datasets.measure import UNREADABLE, blocks_of, measure, wet_from
from convlstm.datasets.readers import Contents, Grid, MissingLibraryError, Reader, ReadError

import numpy as np
from tqdm import tqdm

# Stored indexes of another version are made anew. Raise it where a reader or a figure changes its meaning.
VERSION = 1
# Seconds before a bar is shown: most archives are small.
_DELAY = 1.0


@dataclass
class Entry:
    """One file as it was when it was read.

    ``problem`` says why the file, or a frame of it, cannot be read, or is empty. By frame, each (F,): ``times``
    datetime64[s]; ``event``, -1 where the file knows none; ``missing``, ``wet``, ``flags`` and ``blocks``
    (F, rows, columns) of :func:`convlstm.datasets.measure.measure`. They are empty until the file is read.
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
        """The entry of a file that has not been read. A folder counts as one file with all that is in it."""
        stats = [path.stat()]
        if path.is_dir():
            stats = [Path(root, name).stat() for root, _, names in os.walk(path) for name in names]
        return cls(sum(s.st_size for s in stats), max((s.st_mtime_ns for s in stats), default=0))

    def same_file(self, other: Entry) -> bool:
        """Whether the file has the size and the time of change that it had."""
        return (self.size, self.changed) == (other.size, other.changed)


_ARRAYS = ("times", "event", "missing", "wet", "flags", "blocks")


def find_files(path: Path, readers: Sequence[Reader]) -> Iterator[Path]:
    """All files under a folder in the order of their names, or the file itself. A Zarr store counts as a file."""

    def is_store(folder: Path) -> bool:
        return any(reader.recognises(folder, b"") for reader in readers)

    if path.is_file() or is_store(path):
        yield path
        return
    seen = set()
    for root, folders, names in os.walk(path, followlinks=True):
        place = Path(root).stat()
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if (place.st_dev, place.st_ino) in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add((place.st_dev, place.st_ino))
        stores = [name for name in folders if is_store(Path(root, name))]
        folders[:] = [name for name in folders if name not in stores]
        yield from (Path(root, name) for name in sorted([*names, *stores]) if not name.startswith("."))


def read_files(
    files: Mapping[Path, Entry], reader: Reader, zr: tuple[float, float], *, progress: bool, name: str
) -> Iterator[Path]:
    """Fill the entries of files: read their headers, then every frame once. Yields each path as it is done.

    Memory grows by the entries alone, whatever the size of the files.

    Args:
        files: Path to the entry to fill.
        reader: Their reader.
        zr: Z-R relation, for what is wet in dBZ.
        progress: Show bars with the rate and the time left.
        name: Of the archive, for the bars.

    Raises:
        MissingLibraryError: If the format's library is not installed.
    """

    def bar(total: int, unit: str) -> tqdm:
        return tqdm(total=total, unit=unit, desc=f"indexing {name}", disable=not progress, delay=_DELAY, leave=False)

    contents: dict[Path, Contents] = {}
    with bar(len(files), "file") as shown:
        for path, entry in files.items():
            try:
                contents[path] = reader.contents(path)
            except MissingLibraryError:
                raise
            except (ReadError, OSError) as error:
                entry.problem = str(error)
            shown.update()
    yield from (path for path in files if path not in contents)
    with bar(sum(len(c.times) for c in contents.values()), "frame") as shown:
        for path, found in contents.items():
            _fill(files[path], path, found, reader, wet_from(found.grid.units, zr), shown)
            yield path


def _fill(entry: Entry, path: Path, contents: Contents, reader: Reader, wet: float, shown: tqdm) -> None:
    frames, grid = len(contents.times), contents.grid
    rows, columns = blocks_of(grid.shape)
    entry.times = contents.times.astype("datetime64[s]")
    entry.event = np.full(frames, -1) if contents.event is None else np.asarray(contents.event, np.int64)
    entry.missing, entry.wet = np.ones(frames, np.float32), np.zeros(frames, np.float32)
    entry.flags = np.zeros(frames, np.uint8)
    entry.blocks = np.zeros((frames, len(rows), len(columns)), np.uint16)
    for position in range(frames):
        try:
            frame = reader.read(path, position)
            if frame.shape != tuple(grid.shape):
                raise ReadError(f"{path} has a frame of {frame.shape} where its headers say {grid.shape}.")
        except MissingLibraryError:
            raise
        except (ReadError, OSError) as error:
            entry.flags[position] = UNREADABLE
            entry.problem = entry.problem or str(error)
        else:
            figures = measure(frame, grid.units, wet)
            entry.missing[position], entry.wet[position], entry.flags[position], entry.blocks[position] = figures
        shown.update()
    entry.grid = grid


class Store:
    """The file that keeps the index of one archive; it lies outside the archive.

    Args:
        folder: Where indexes are kept. Default: ``$CONVLSTM_DATA/index``, or ``convlstm/index`` in the user's cache.
        key: What the index depends on besides the files: the archive's path, the reader's options, ...
    """

    def __init__(self, folder: str | Path | None, key: object):
        self.folder = default_root().parent / "index" if folder is None else Path(folder).expanduser()
        digest = hashlib.sha256(json.dumps([VERSION, key], default=str).encode()).hexdigest()[:24]
        self._path = self.folder / f"{digest}.npz"

    def load(self) -> tuple[dict[str, Entry], dict[str, np.ndarray]]:
        """The entries by the files' names, and the other arrays; both empty where nothing usable is stored."""
        try:
            with self._path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            return _entries(arrays), {k: v for k, v in arrays.items() if k not in ("files", *_ARRAYS)}
        except Exception:  # absent, cut off or another program's: it is made anew
            return {}, {}

    def save(self, entries: Mapping[str, Entry], more: Mapping[str, np.ndarray]) -> None:
        """Store the entries of the files that could be read, and arrays of other names; warn where that fails."""
        entries = {name: entry for name, entry in entries.items() if entry.grid is not None}
        grids = list(dict.fromkeys(entry.grid for entry in entries.values()))
        numbers = {grid: number for number, grid in enumerate(grids)}
        files = [
            [name, e.size, e.changed, e.format, e.problem, numbers[e.grid], len(e.times)] for name, e in entries.items()
        ]
        meta = json.dumps({"files": files, "grids": [asdict(grid) for grid in grids if grid is not None]})
        columns = {name: [getattr(entry, name).ravel() for entry in entries.values()] for name in _ARRAYS}
        arrays = {name: np.concatenate(parts) for name, parts in columns.items() if parts}
        arrays["files"] = np.frombuffer(meta.encode(), np.uint8)
        beside = self._path.with_name(f"{self._path.stem}.{os.getpid()}.part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with beside.open("wb") as file:
                np.savez_compressed(file, **arrays, **more)  # type: ignore[arg-type]
            beside.replace(self._path)
        except OSError as error:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
            warnings.warn(
                f"[Archive] the index cannot be stored in {self.folder} ({error.strerror}), so that the archive is "
                "read at every start. Set CONVLSTM_DATA to a folder that can be written to.",
                stacklevel=2,
            )


def _entries(arrays: Mapping[str, np.ndarray]) -> dict[str, Entry]:
    meta: dict[str, Any] = json.loads(arrays["files"].tobytes())
    grids = [_grid(record) for record in meta["grids"]]
    entries, frame, block = {}, 0, 0
    for name, size, changed, format, problem, number, frames in meta["files"]:
        rows, columns = (len(axis) for axis in blocks_of(grids[number].shape))
        end = block + frames * rows * columns
        parts = {key: arrays[key][frame : frame + frames] for key in _ARRAYS[:-1]}
        parts["blocks"] = arrays["blocks"][block:end].reshape(frames, rows, columns)
        entries[name] = Entry(size, changed, format, problem, grids[number], **parts)
        frame, block = frame + frames, end
    return entries


def _grid(record: dict[str, Any]) -> Grid:
    return Grid(**record | {key: tuple(value) for key, value in record.items() if isinstance(value, list)})
