"""The newest frames of a folder, a file or a stack, which may grow meanwhile."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convlstm.arguments import check_whole
from convlstm.datasets.archive import _readers as readers_of
from convlstm.datasets.archive import _relation as relation
from convlstm.datasets.archive import coarse
from convlstm.datasets.changes import Changes
from convlstm.datasets.measure import cleaned
from convlstm.datasets.readers import Contents, Grid, MissingLibraryError, Reader, ReadError, first_bytes
from convlstm.datasets.transforms import rain_rate
from convlstm.datasets.windows import step_of

import numpy as np

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


@dataclass(frozen=True)
class _Place:
    """Where a frame is: in a file, of which it is not any more where `position` is negative."""

    path: Path
    position: int
    event: int


class Recent:
    """The newest frames of radar files, in any format of :mod:`convlstm.datasets.readers`; see :meth:`look` and :meth:`window`.

    It holds the times of at most 512 frames and the pixels of those of the last window, however long it is used.

    Args:
        path: Folder, with all folders in it, file, or Zarr store.
        format: A key of :data:`convlstm.datasets.readers.FORMATS`, or ``"auto"``: that of most files. Default: ``"auto"``.
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
        self._zr, self._patient = relation(zr), patient
        depth = check_whole("Recent", "depth", depth, 1, None)
        self._changes = Changes(self._root, self._readers, patient=patient, depth=depth)
        self._frames: dict[np.datetime64, _Place] = {}
        self._pixels: OrderedDict[tuple, np.ndarray] = OrderedDict()
        self._reader: Reader | None = None
        self._endings: set[str] = set()
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
        found, problems = self._changes.look(), list[Problem]()
        kinds = {path: None if self._named else self._recognised(path) for path in found}
        if self._reader is None and found and not self._choose(kinds):
            if not self._patient:
                return [], [Problem(path.name, "of no format that is looked for") for path in found[:1]]
            return [], [Problem(p.name, "of no format that is looked for; it may be cut off") for p in found]
        self._endings |= {p.suffix for p, kind in kinds.items() if kind is not None and kind.format == self.format}
        contents: dict[Path, Contents] = {}
        for path, kind in kinds.items():
            try:
                read = self._contents(path, kind)
            except MissingLibraryError:
                raise
            except (ReadError, OSError) as error:
                problems.append(Problem(path.name, _short(error, path)))
            else:
                contents |= {} if read is None else {path: read}
        if self.grid is None and contents:
            # That of most files, the newer ones where there are as many.
            grids = [read.grid for read in contents.values()][::-1]
            most = Counter(map(_kind, grids)).most_common(1)[0][0]
            self.grid = next(grid for grid in grids if _kind(grid) == most)
        new: list[np.datetime64] = []
        for path, read in contents.items():
            if self.grid is not None and _kind(read.grid) != _kind(self.grid):
                here, there = ("{0[0]} x {0[1]} {1}".format(*_kind(grid)) for grid in (read.grid, self.grid))
                problems.append(Problem(path.name, f"{here} instead of {there}"))
            else:
                new += self._add(path, read, problems)
        for time in sorted(self._frames)[:-_FRAMES]:
            del self._frames[time]
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
        key = (place.path, time, coarsen)
        if key in self._pixels:
            self._pixels.move_to_end(key)
            return self._pixels[key]
        if place.position < 0:
            raise ReadError(f"has no frame of {time} any more")
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

    def _choose(self, kinds: Mapping[Path, Reader | None]) -> bool:
        """Settles on the format of most files."""
        if self._named:
            self._reader = self._readers[0]
        else:
            counts = Counter(reader.format for reader in kinds.values() if reader is not None)
            if not counts:
                return False
            format = counts.most_common(1)[0][0]
            self._reader = next(reader for reader in self._readers if reader.format == format)
        self.format = self._reader.format
        return True

    def _recognised(self, path: Path) -> Reader | None:
        head = first_bytes(path)
        return None if head is None else next((r for r in self._readers if r.recognises(path, head)), None)

    def _contents(self, path: Path, kind: Reader | None) -> Contents | None:
        """Of a file that was recognised as of a kind; None where it is none of ours, as a note or a picture."""
        assert self._reader is not None
        if not self._named:
            if kind is None and path.suffix in self._endings:
                raise ReadError(f"not recognised as {self.format}; it may be cut off")
            if kind is None or kind.format != self.format:
                return None
        return self._reader.contents(path)

    def _add(self, path: Path, contents: Contents, problems: list[Problem]) -> list[np.datetime64]:
        """Remembers the newest frames of a file; the times that were not known, or whose file has been replaced."""
        times = contents.times.astype("datetime64[s]")
        self._forget(path, set(times.tolist()))
        # Frames of a file that counts its events belong together by that; all others are one event.
        events = np.zeros(len(times), np.int64) if contents.event is None else np.asarray(contents.event, np.int64)
        order = np.argsort(times, kind="stable")[-_FRAMES:]
        if contents.event is not None:
            newest = events[order[-1]]
            order = order[events[order] == newest]
        new, doubled = [], 0
        for n in order.tolist():
            time, place = times[n], self._frames.get(times[n])
            if place is not None and place.path != path and place.path in self._changes:
                doubled += 1
                continue
            number = 0 if contents.event is None else hash((path, int(events[n])))
            # A file of one frame that has changed has another one; a stack has grown.
            if place is None or (place.path == path and len(times) == 1):
                new.append(time)
            self._frames[time] = _Place(path, n, number)
        if doubled:
            problems.append(
                Problem(path.name, f"{doubled} of its times are there already, from another file; left out")
            )
        return new

    def _forget(self, path: Path, times: set) -> None:
        """Forgets what a file had before it changed, but for pixels of times that it does not have any more."""
        for time, place in list(self._frames.items()):
            if place.path != path:
                continue
            kept = [key for key in self._pixels if key[:2] == (path, time)]
            if time.item() in times:
                for key in kept:
                    del self._pixels[key]
            elif kept:
                self._frames[time] = _Place(path, -1, place.event)
            else:
                del self._frames[time]


def _kind(grid: Grid) -> tuple[tuple[int, ...], str]:
    """What frames must have in common."""
    return tuple(grid.shape), grid.units


def _short(error: Exception, path: Path) -> str:
    """What an error says, without the name of the file, which stands before it."""
    text = str(error)
    cut = text.find(str(path))
    text = text[cut + len(str(path)) :] if cut >= 0 else text
    return text.strip().rstrip(".") or type(error).__name__
