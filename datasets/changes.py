"""The files of a folder that are new or have changed since the last look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from convlstm.datasets.index import Entry, find_files
from convlstm.datasets.readers import Reader
from convlstm.datasets.readers.names import time_in_name

# Files that are gone and would be known if they came back.
_GONE = 10_000


@dataclass
class _Known:
    """A file: its size and time of change when it was last looked at, whether they stay, and whether it was taken."""

    stamp: tuple[int, int]
    settled: bool = False
    taken: bool = False


class Changes:
    """Looks at a folder again and again.

    Args:
        path: Folder, with all folders in it, file, or Zarr store.
        readers: Those that tell which folders are stores.
        patient: Whether a file counts only when two looks have found it the same, since it may still be being written.
        depth: Files that count at the first look: so many that are the last by the times in their names, or by their
            names where these have none, and as many that were changed last.
    """

    def __init__(self, path: Path, readers: Sequence[Reader], *, patient: bool, depth: int):
        self._root, self._readers, self._patient, self._depth = path, readers, patient, depth
        self._files: dict[Path, _Known] = {}
        self._gone: dict[Path, _Known] = {}
        self._first = True

    def __contains__(self, path: Path) -> bool:
        """Whether the last look has found the file."""
        return path in self._files

    def look(self) -> list[Path]:
        """Files that are new or changed and, if need be, stay as they are; in the order of their names."""
        try:
            paths = list(find_files(self._root, self._readers))
        except OSError:  # a folder is gone meanwhile: the next look sees what there is
            return []
        there: dict[Path, tuple[int, int]] = {}
        for path in paths:
            try:
                there[path] = _stamp(path)
            except OSError:  # gone meanwhile, or a link that leads nowhere
                continue
        chosen = self._last(there) if self._first else set(there)
        for path in [path for path in self._files if path not in there]:
            self._gone[path] = self._files.pop(path)
        for path in list(self._gone)[:-_GONE]:
            del self._gone[path]
        found = []
        for path, stamp in there.items():
            before = self._files.get(path)
            if path in self._gone:  # it is back, as when a disk was away
                before = self._files[path] = self._gone.pop(path)
            if before is None or before.stamp != stamp:
                settled = not self._patient or self._first
                known = self._files[path] = _Known(stamp, settled, taken=path not in chosen)
            else:
                known = before
                known.settled = True
            if known.settled and not known.taken:
                known.taken = True
                found.append(path)
        self._first = False
        return found

    def _last(self, there: Mapping[Path, tuple[int, int]]) -> set[Path]:
        """The files that the newest frames are looked for in: the last by name and the last by the time of change."""
        named = {path: time_in_name(path.name) for path in there}
        by_name = sorted(named, key=lambda path: named[path]) if None not in named.values() else sorted(there)  # type: ignore[arg-type,return-value]
        by_change = sorted(there, key=lambda path: there[path][1])
        return {*by_name[-self._depth :], *by_change[-self._depth :]}


def _stamp(path: Path) -> tuple[int, int]:
    """What changes with a file: its size, and the time of its last change. A folder counts with all that is in it."""
    if path.is_dir():
        entry = Entry.of(path)
        return entry.size, entry.changed
    said = path.stat()
    return said.st_size, said.st_mtime_ns
