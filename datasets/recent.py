"""The newest frames of a folder, a file or a stack, which may grow meanwhile."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .archive import _readers as readers_of
from .archive import _relation as relation
from .archive import coarse
from .index import Entry, find_files
from .measure import cleaned
from .readers import Contents, Grid, MissingLibraryError, Reader, ReadError, first_bytes
from .readers.names import time_in_name
from .stream import whole_number
from .transforms import rain_rate
from .windows import step_of

# Frames that are remembered, and those from which the step is found.
_FRAMES = 512
_TOLERANCE = 0.1


@dataclass(frozen=True)
class Problem:
    """A file or a frame that is not used: its name, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True)
class Window:
    """Frames at equal steps.

    Attributes:
        frames: (T, H, W) float32 in mm/h or raw values, NaN where missing; a frame that is not there is all NaN.
        times: datetime64[s] of (T,): those of the frames, or when one should have been.
        absent: Numbers of the frames that are not there.
    """

    frames: np.ndarray
    times: np.ndarray
    absent: list[int] = field(default_factory=list)


@dataclass
class _Known:
    """A file: its size and time of change when it was last looked at, whether they stay, and whether it was read."""

    stamp: tuple[int, int]
    settled: bool = False
    read: bool = False


@dataclass(frozen=True)
class _Place:
    path: Path
    position: int
    event: int


class Recent:
    """The newest frames of radar files, in any format of :mod:`datasets.readers`; see :meth:`look` and :meth:`window`.

    It holds the times of at most 512 frames and the pixels of those of the last window, however long it is used.

    Args:
        path: Folder, with all folders in it, file, or Zarr store.
        format: A key of :data:`datasets.readers.FORMATS`, or ``"auto"``: that of most files. Default: ``"auto"``.
        options: Options of the reader. Default: none.
        zr: ``(a, b)`` of Z = a R^b, for reflectivity. Default: ``(200.0, 1.6)``.
        patient: Whether a file counts only when two looks have found it the same, since it may still be being
            written. Default: ``False``.
        depth: Files whose headers are read at first: so many that are the last by the times in their names, or by
            their names where these have none, and as many that were changed last. Default: ``32``.

    Attributes:
        grid: Of the frames; None until one was found.
        format: Of the files; ``""`` until one was found.

    Raises:
        FileNotFoundError: There is nothing at ``path``.
        ValueError: An argument is refused.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        format: str = "auto",
        options: Mapping[str, Any] | None = None,
        zr: Sequence[float] = (200.0, 1.6),
        patient: bool = False,
        depth: int = 32,
    ):
        self._root = Path(path).expanduser()
        if not self._root.exists():
            raise FileNotFoundError(f"[Recent] there is nothing at {self._root}. Check the path.")
        self._readers, self._named = readers_of(format, options or {}), format != "auto"
        self._zr, self._patient, self._depth = relation(zr), patient, whole_number("Recent", "depth", depth, 1)
        self._files: dict[Path, _Known] = {}
        self._frames: dict[np.datetime64, _Place] = {}
        self._pixels: OrderedDict[tuple, np.ndarray] = OrderedDict()
        self._reader: Reader | None = None
        self._first = True
        self.grid: Grid | None = None
        self.format = ""

    @property
    def units(self) -> str:
        return "raw" if self.grid is not None and self.grid.units == "raw" else "mm/h"

    @property
    def times(self) -> np.ndarray:
        """Times of the known frames of the newest event, rising, datetime64[s] of (F,)."""
        if not self._frames:
            return np.zeros(0, "datetime64[s]")
        event = self._frames[max(self._frames)].event
        return np.array(sorted(time for time, place in self._frames.items() if place.event == event), "datetime64[s]")

    @property
    def step(self) -> float:
        """Minutes between frames, the most common difference; NaN of fewer than two."""
        times = self.times
        return step_of(times, np.zeros(len(times), int))

    def look(self) -> tuple[list[np.datetime64], list[Problem]]:
        """The times of frames that have come since the last look, rising, and what is wrong with files that have.

        Each problem of a file is told once, unless the file changes.

        Raises:
            MissingLibraryError: The format's library is not installed.
        """
        found, problems = self._changed(), list[Problem]()
        if self._reader is None and found and not self._choose(found):
            if not self._patient:
                return [], [Problem(path.name, "of no format that is looked for") for path in found[:1]]
            return [], self._unknown(found)
        new: list[np.datetime64] = []
        for path in found:
            self._files[path].read = True
            try:
                contents = self._contents(path)
                if contents is not None:
                    new += self._add(path, contents, problems)
            except MissingLibraryError:
                raise
            except (ReadError, OSError) as error:
                problems.append(Problem(path.name, _short(error, path)))
        for time in sorted(self._frames)[:-_FRAMES]:
            del self._frames[time]
        self._first = False
        return sorted(time for time in new if time in self._frames), problems

    def window(
        self, count: int, step: float, *, until: np.datetime64, coarsen: int = 1
    ) -> tuple[Window, list[Problem]]:
        """The ``count`` frames at steps of ``step`` minutes up to the time ``until``.

        A frame that cannot be read is left out from then on and told as a problem.
        """
        assert self.grid is not None
        shape = tuple(side // coarsen for side in self.grid.shape)
        seconds = round(step * 60)
        times = until - np.arange(count)[::-1] * np.timedelta64(seconds, "s")
        event = self._frames[until].event if until in self._frames else 0
        frames, absent, problems = np.full((count, *shape), np.nan, np.float32), [], []
        there = np.array(sorted(t for t, place in self._frames.items() if place.event == event), "datetime64[s]")
        used = set()
        for n, wanted in enumerate(times):
            near = np.abs((there - wanted).astype(np.int64)) if len(there) else np.zeros(0)
            if len(near) == 0 or near.min() > _TOLERANCE * seconds:
                absent.append(n)
                continue
            time = there[int(near.argmin())]
            try:
                frames[n] = self._frame(time, coarsen)
                times[n] = time
                used.add(time)
            except MissingLibraryError:
                raise
            except (ReadError, OSError) as error:
                place = self._frames.pop(time)
                problems.append(Problem(place.path.name, _short(error, place.path)))
                absent.append(n)
        while len(self._pixels) > 2 * count:
            self._pixels.popitem(last=False)
        return Window(frames, times, absent), problems

    def _frame(self, time: np.datetime64, coarsen: int) -> np.ndarray:
        place = self._frames[time]
        key = (place.path, place.position, time, coarsen)
        if key in self._pixels:
            self._pixels.move_to_end(key)
            return self._pixels[key]
        assert self._reader is not None
        assert self.grid is not None
        raw = self._reader.read(place.path, place.position)
        if raw.shape != tuple(self.grid.shape):
            raise ReadError(f"has a frame of {raw.shape} where there were ones of {self.grid.shape}")
        frame = cleaned(raw, self.grid.units)
        frame = coarse(rain_rate(frame, *self._zr) if self.grid.units == "dBZ" else frame, coarsen)
        if np.isnan(frame).all():
            raise ReadError("has no known pixel")
        self._pixels[key] = np.asarray(frame, np.float32)
        return self._pixels[key]

    def _changed(self) -> list[Path]:
        """Files that are new or have changed and, if need be, stay as they are; in the order of their names."""
        there: dict[Path, tuple[int, int]] = {}
        for path in find_files(self._root, self._readers):
            try:
                there[path] = _stamp(path)
            except OSError:  # gone meanwhile, or a link that leads nowhere
                continue
        chosen = self._last(there) if self._first else set(there)
        for path in [path for path in self._files if path not in there]:
            del self._files[path]
        found = []
        for path, stamp in there.items():
            before = self._files.get(path)
            if before is None or before.stamp != stamp:
                known = self._files[path] = _Known(stamp)
                known.settled = not self._patient or self._first
                if path not in chosen:
                    known.read = True
            else:
                known = before
                known.settled = True
            if known.settled and not known.read:
                found.append(path)
        return found

    def _last(self, there: Mapping[Path, tuple[int, int]]) -> set[Path]:
        """The files that the newest frames are looked for in: the last by name and the last by the time of change."""
        named = {path: time_in_name(path.name) for path in there}
        by_name = sorted(named, key=lambda path: named[path]) if None not in named.values() else sorted(there)  # type: ignore[arg-type,return-value]
        by_change = sorted(there, key=lambda path: there[path][1])
        return {*by_name[-self._depth :], *by_change[-self._depth :]}

    def _choose(self, paths: Sequence[Path]) -> bool:
        """Settles on the format of most files."""
        if self._named:
            self._reader = self._readers[0]
        else:
            counts = Counter(reader.format for path in paths if (reader := self._recognised(path)) is not None)
            if not counts:
                return False
            format = counts.most_common(1)[0][0]
            self._reader = next(reader for reader in self._readers if reader.format == format)
        self.format = self._reader.format
        return True

    def _unknown(self, paths: Sequence[Path]) -> list[Problem]:
        for path in paths:
            self._files[path].read = True
        return [Problem(path.name, "of no format that is looked for; it may be cut off") for path in paths]

    def _recognised(self, path: Path) -> Reader | None:
        head = first_bytes(path)
        return None if head is None else next((r for r in self._readers if r.recognises(path, head)), None)

    def _contents(self, path: Path) -> Contents | None:
        assert self._reader is not None
        if not self._named:
            reader = self._recognised(path)
            if reader is None:
                endings = {place.path.suffix for place in self._frames.values()}
                if not self._frames or path.suffix in endings:
                    raise ReadError(f"not recognised as {self.format}; it may be cut off")
                return None  # a note, a picture: none of ours
            if reader.format != self.format:
                return None
        return self._reader.contents(path)

    def _add(self, path: Path, contents: Contents, problems: list[Problem]) -> list[np.datetime64]:
        """Remembers the newest frames of a file, and returns the times that were not known."""
        if self.grid is None:
            self.grid = contents.grid
        kind = (tuple(self.grid.shape), self.grid.units)
        if (tuple(contents.grid.shape), contents.grid.units) != kind:
            said = "{0[0]} x {0[1]} {1}"
            other = said.format(tuple(contents.grid.shape), contents.grid.units)
            raise ReadError(f"{other} instead of {said.format(*kind)}")
        times = contents.times.astype("datetime64[s]")
        # Frames of a file that counts its events belong together by that; all others are one event.
        events = np.zeros(len(times), np.int64) if contents.event is None else np.asarray(contents.event, np.int64)
        order = np.argsort(times, kind="stable")[-_FRAMES:]
        if contents.event is not None:
            newest = events[order[-1]]
            order = order[events[order] == newest]
        new, doubled = [], 0
        for n in order.tolist():
            time, place = times[n], self._frames.get(times[n])
            if place is not None and place.path != path:
                doubled += 1
                continue
            number = 0 if contents.event is None else hash((path, int(events[n])))
            if place is None:
                new.append(time)
            else:  # the file has changed, and the frame may have
                self._pixels = OrderedDict((key, p) for key, p in self._pixels.items() if key[0] != path)
            self._frames[time] = _Place(path, n, number)
        if doubled:
            problems.append(Problem(path.name, f"has {doubled} frames of times that are there already; left out"))
        return new


def _stamp(path: Path) -> tuple[int, int]:
    """What changes with a file: its size, and the time of its last change. A folder counts with all that is in it."""
    if path.is_dir():
        entry = Entry.of(path)
        return entry.size, entry.changed
    said = path.stat()
    return said.st_size, said.st_mtime_ns


def _short(error: Exception, path: Path) -> str:
    """What an error says, without the name of the file, which stands before it."""
    text = str(error)
    cut = text.find(str(path))
    text = text[cut + len(str(path)) :] if cut >= 0 else text
    return text.strip().rstrip(".") or type(error).__name__
