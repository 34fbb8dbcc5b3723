"""The new and changed files of a folder that is looked at again and again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from convlstm.datasets.archives.files import RadarFiles, stamp
from convlstm.datasets.readers.file_names import time_in_name

# Files that have vanished and are recognised if they come back.
_VANISHED = 10_000


@dataclass
class _State:
    """A file at the last look: its size and time of change, whether they are final, and whether it was reported."""

    stamp: tuple[int, int]
    settled: bool = False
    reported: bool = False


class Changes:
    """The changes of a folder since the last look.

    Args:
        files: The files of the folder.
        patient: Report a file only after two looks have found it the same, since it may still be written.
        depth: Number of files to report at the first look: the last ones by the times in their names (by their names,
            if these have no times), and as many that were changed last.
    """

    def __init__(self, files: RadarFiles, *, patient: bool, depth: int):
        self._source, self._patient, self._depth = files, patient, depth
        self._files: dict[Path, _State] = {}
        self._vanished: dict[Path, _State] = {}
        self._first = True

    def __contains__(self, path: Path) -> bool:
        """Returns True if the file existed at the last look."""
        return path in self._files

    def is_current(self, path: Path) -> bool:
        """Returns True if a file is still as the last look found it."""
        try:
            return path in self._files and stamp(path) == self._files[path].stamp
        except OSError:
            return False

    def look(self) -> list[Path]:
        """Returns the files that are new or changed, and settled if `patient` is set, in the order of their names."""
        stamps: dict[Path, tuple[int, int]] = {}
        try:
            paths = list(self._source.find())
        except OSError:  # a folder vanished during the search: the next look finds the rest
            return []
        for path in paths:
            try:
                stamps[path] = stamp(path)
            except OSError:  # vanished since the search, or a link that leads nowhere
                continue
        wanted = self._last(stamps) if self._first else set(stamps)
        for path in [path for path in self._files if path not in stamps]:
            self._vanished[path] = self._files.pop(path)
        for path in list(self._vanished)[:-_VANISHED]:
            del self._vanished[path]
        changed = []
        for path, now in stamps.items():
            if path in self._vanished:  # it is back, as after a disk was unmounted
                self._files[path] = self._vanished.pop(path)
            state = self._files.get(path)
            if state is None or state.stamp != now:
                settled = not self._patient or self._first
                state = self._files[path] = _State(now, settled, reported=path not in wanted)
            else:
                state.settled = True
            if state.settled and not state.reported:
                state.reported = True
                changed.append(path)
        self._first = False
        return changed

    def _last(self, stamps: Mapping[Path, tuple[int, int]]) -> set[Path]:
        """Returns the files in which to search for the newest frames: the last by name and by time of change."""
        times = {path: time_in_name(path.name) for path in stamps}
        by_name = sorted(times, key=lambda path: times[path]) if None not in times.values() else sorted(stamps)  # type: ignore[arg-type,return-value]
        by_change = sorted(stamps, key=lambda path: stamps[path][1])
        return {*by_name[-self._depth :], *by_change[-self._depth :]}
