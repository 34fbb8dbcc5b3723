"""Reading of all files of an archive for its index, in other processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from convlstm.backend.child_pool import Jobs
from convlstm.backend.child_process import ChildError, EndedError
from convlstm.datasets.archives.frame_statistics import UNREADABLE, blocks_of
from convlstm.datasets.archives.index import Entry
from convlstm.datasets.archives.kept_frames import KeptFrames
from convlstm.datasets.archives.scan_file import reader_of, scan_file, scan_frames
from convlstm.datasets.readers import Contents, MissingLibraryError, Reader
from convlstm.datasets.readers.elsewhere import read_error
from convlstm.datasets.readers.jobs import from_record

import numpy as np
from tqdm import tqdm

# Frames of a file that may end the process that reads them before the others are given up.
_MOST_CRASHES = 3
# Files that are asked for their format before all others are read.
_ASKED = 5
# Seconds before a bar is shown: most archives are small.
_DELAY = 1.0


def scan(
    entries: Mapping[Path, Entry],
    readers: Sequence[Reader],
    zr: tuple[float, float],
    kept: KeptFrames,
    *,
    format: str,
    progress: bool,
    name: str,
) -> None:
    """Fills the entries of files: the format of each, and for those of one format the times and the statistics.

    If it is interrupted, the entries of the files read so far are filled. Memory grows with the entries only, whatever
    the size of the files.

    Args:
        entries: The entry to fill for each path. An entry that has a format has been recognised.
        readers: The readers to try.
        zr: `(a, b)` of Z = a R^b.
        kept: It takes the frames of small archives.
        format: The format of the files to read, or `""` for that of most of the first few.
        progress: Show a bar with the rate and the time left.
        name: Name of the archive, for the bar.

    Raises:
        MissingLibraryError: If the format's library is not installed.
    """
    if not entries:
        return
    named = {path for path, entry in entries.items() if entry.format}
    format = format or _most_common_of_some(entries, readers)
    with tqdm(total=0, unit="frame", desc=f"indexing {name}", disable=not progress, delay=_DELAY, leave=False) as bar:
        _Scan(entries, named, readers, zr, kept, format, bar).run()


class _Scan:
    """One run of `scan`, whose arguments it has."""

    def __init__(
        self,
        entries: Mapping[Path, Entry],
        named: set[Path],
        readers: Sequence[Reader],
        zr: tuple[float, float],
        kept: KeptFrames,
        format: str,
        bar: tqdm,
    ):
        self._entries, self._readers, self._zr, self._format, self._bar = entries, readers, zr, format, bar
        self._kept, self._room = kept, kept.room // len(entries)
        self._named = named
        self._jobs = Jobs()
        self._contents: dict[Path, Contents] = {}
        self._frames: Counter[Path] = Counter()  # that have been read, or given up
        self._crashes: Counter[Path] = Counter()
        self._known_frames = 0

    def run(self) -> None:
        for path, entry in self._entries.items():
            # It has ended a process already, or is known to be of another format.
            if entry.problem or entry.format not in ("", self._format):
                continue
            recognised = bool(entry.format)
            self._jobs.add(path, scan_file, path, self._readers, self._format, self._zr, recognised, self._room)
        for path, value in self._jobs:
            if isinstance(value, ChildError):
                self._note(path, value)
            elif value is None:
                self._finish(path)
            elif isinstance(value, str):
                self._entries[path].format = value
            elif isinstance(value, dict):
                self._begin(path, from_record(value))
            else:
                self._fill(path, *value)

    def _begin(self, path: Path, contents: Contents) -> None:
        self._contents[path] = contents
        entry, frames = self._entries[path], len(contents.times)
        rows, columns = blocks_of(contents.grid.shape)
        entry.times = contents.times
        entry.event = np.full(frames, -1) if contents.event is None else contents.event
        entry.missing, entry.wet = np.ones(frames, np.float32), np.zeros(frames, np.float32)
        entry.flags = np.full(frames, UNREADABLE, np.uint8)
        entry.blocks = np.zeros((frames, len(rows), len(columns)), np.uint16)
        self._known_frames += frames
        self._bar.total = round(self._known_frames / len(self._contents) * len(self._entries))

    def _fill(self, path: Path, problem: str, statistics: Sequence[Any], frame: np.ndarray | None = None) -> None:
        entry, position = self._entries[path], self._frames[path]
        if problem:
            entry.problem = entry.problem or problem
        else:
            entry.missing[position], entry.wet[position], entry.flags[position], entry.blocks[position] = statistics
            if frame is not None:
                self._kept.add(path, position, frame, self._contents[path].grid.kinds)
        self._frames[path] += 1
        self._bar.update()

    def _finish(self, path: Path) -> None:
        if path in self._contents:
            self._entries[path].grid = self._contents[path].grid

    def _note(self, path: Path, error: ChildError) -> None:
        """Takes note that a file, or a frame of it, cannot be read, and goes on with its next frame after a crash."""
        entry = self._entries[path]
        reader = reader_of(self._readers, entry.format)
        reason = read_error(error, path, reader)
        if isinstance(reason, MissingLibraryError):
            if path in self._named:
                raise reason
            return  # if most files are of this format, it is read again
        if path not in self._contents or reader is None:
            entry.problem = str(reason)
            return
        self._fill(path, str(reason), ())
        self._crashes[path] += isinstance(error, EndedError)
        left = len(entry.times) - self._frames[path]
        if left and self._crashes[path] < _MOST_CRASHES:
            grid, start = self._contents[path].grid, self._frames[path]
            frame = (path, reader, grid.frame_shape, grid.kinds, self._zr)
            self._jobs.add(path, scan_frames, *frame, start, left, False)
        else:
            self._finish(path)


def _most_common_of_some(entries: Mapping[Path, Entry], readers: Sequence[Reader]) -> str:
    """Returns the most common format of some files, and fills in their formats, or that they end the process."""
    jobs, paths, formats = Jobs(), list(entries), Counter[str]()
    for path in paths[:: -(-len(paths) // _ASKED)]:
        jobs.add(path, scan_file, path, readers, "", (1.0, 1.0), False, 0)
    for path, value in jobs:
        if isinstance(value, EndedError):
            entries[path].problem = str(read_error(value, path))
        elif value and isinstance(value, str):
            entries[path].format = value
            formats[value] += 1
    return formats.most_common(1)[0][0] if formats else ""
