"""The newest frames of a folder or file that may grow."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convlstm.arguments import check_flags, check_whole
from convlstm.backend.child_pool import Hold
from convlstm.datasets import arguments
from convlstm.datasets.archives.changes import Changes
from convlstm.datasets.archives.files import Problem, RadarFiles
from convlstm.datasets.archives.majority import most_common, strangeness
from convlstm.datasets.archives.sums import FileOfSums, check_sums
from convlstm.datasets.calendar_steps import moved
from convlstm.datasets.maps import outline, same_place, spelled
from convlstm.datasets.readers import Contents, Grid, MissingLibraryError, ReadError
from convlstm.datasets.windows import TOLERANCE

import numpy as np

# The newest frames to remember, and the last that came.
_FRAMES = 512


@dataclass(frozen=True)
class Window:
    """Frames at equal steps.

    Attributes:
        frames: (T, H, W), or (T, H, W, C) for several fields, float32 in the units of the grid's fields after
            reflectivity has become rain rate, NaN where missing; an absent frame is all NaN.
        times: datetime64[s] of (T,): the time of each frame, or the expected time of an absent one.
        absent: Numbers of the absent frames.
    """

    frames: np.ndarray
    times: np.ndarray
    absent: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class _Source:
    """The file and the position of a frame. The position is negative if the file no longer has the frame."""

    path: Path
    position: int
    event: int


class NewestFrames:
    """The newest frames of radar files, in any format of `convlstm.datasets.readers`.

    `look` searches for new frames, and `window` returns some of them. However long it is used, it holds the times of at
    most 1024 frames, the newest and the last that came, and the pixels of the last windows.

    Args:
        path: Folder, with all its subfolders, file, or Zarr store.
        format: A key of `convlstm.datasets.readers.FORMATS`, or `"auto"`: the most common format of the files.
            Default: `"auto"`.
        options: Options of the reader. Default: none.
        zr: `(a, b)` of Z = a R^b, for reflectivity. Default: (200.0, 1.6).
        patient: Use a file only after two looks have found it the same, since it may still be written. Default: False.
        depth: Number of files to read at the first look: the last ones by the times in their names (by their names, if
            these have no times), and as many that were changed last. Default: 32.

    Attributes:
        grid: Grid of most of the last frames; None until one was found.
        format: Format of most of the last files; `""` until one was found.

    Raises:
        FileNotFoundError: If nothing exists at `path`.
        ValueError: If an argument is refused.
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
        path = arguments.path("NewestFrames", "path", path)
        check_flags("NewestFrames", patient=patient)
        self._files = RadarFiles("NewestFrames", path, format, options, zr, apart=True)
        self._hold = Hold()
        self._patient = patient
        depth = check_whole("NewestFrames", "depth", depth, 1, None)
        self._changes = Changes(self._files, patient=patient, depth=depth)
        self._depth = depth
        # Of the last files, in the order in which they came: all formats, and the contents of those of the format.
        self._formats: dict[Path, str] = {}
        self._contents: dict[Path, Contents] = {}
        self._frames: dict[np.datetime64, _Source] = {}
        self._pixels: OrderedDict[tuple, np.ndarray] = OrderedDict()
        self.grid: Grid | None = None

    @property
    def format(self) -> str:
        return self._files.format

    @property
    def times(self) -> np.ndarray:
        """Times of the known frames of the newest event, rising, datetime64[s] of (F,)."""
        return self._times_of(self._frames[max(self._frames)].event if self._frames else 0)

    @property
    def present(self) -> np.ndarray:
        """Times of those of `times` whose file still has them."""
        event = self._frames[max(self._frames)].event if self._frames else 0
        return self._times_of(event, present=True)

    def look(self) -> tuple[list[np.datetime64], list[Problem]]:
        """Searches for new frames.

        The format and the size of the frames are those of most of the newest files, each time anew. If they change, the
        frames of all other files are forgotten, and those that were refused before are new.

        Returns:
            The times of the frames that have come since the last look, rising, and the problems of new files. Each
            problem of a file is returned once, unless the file changes or others are chosen.

        Raises:
            MissingLibraryError: If the format's library is not installed.
            ValueError: If files hold sums since the same start, see `convlstm.datasets.archives.sums`.
        """
        problems: list[Problem] = []
        changed = self._changes.look()
        for path in changed:
            self._contents.pop(path, None)
            self._formats.pop(path, None)  # to put it at the end
            self._formats[path] = self._format_of(path, problems)
        unread = self._choose_format(changed, problems)
        if not self._files.format:
            end = "; it may be cut off" if self._patient else ""
            unknown = changed if self._patient else changed[:1]
            return [], problems + [Problem(path.name, f"of no known format{end}") for path in unknown]
        self._read(changed, unread, problems)
        new = self._choose_grid(unread, problems)
        for path in list(self._formats)[: -2 * self._depth]:
            del self._formats[path]
            self._contents.pop(path, None)
        # Neither many old frames that come late, nor many of the future, push out all others.
        last = {*sorted(self._frames)[-_FRAMES:], *list(self._frames)[-_FRAMES:]}
        self._frames = {time: source for time, source in self._frames.items() if time in last}
        return sorted(time for time in new if time in self._frames), problems

    def _format_of(self, path: Path, problems: list[Problem]) -> str:
        if self._files.named:
            return self._files.readers[0].format
        try:
            return self._files.format_of(path)
        except ReadError as error:
            problems.append(Problem(path.name, _without_path(error, path)))
            return ""

    def _choose_format(self, changed: list[Path], problems: list[Problem]) -> list[Path]:
        """Sets the format to that of most files, and returns the files to read."""
        files, former = self._files, self._files.format
        there = {path: format for path, format in self._formats.items() if format and path in self._changes}
        format = most_common(there.values(), former or None)
        if format is None or format == former:
            return [path for path in changed if former and self._formats[path] == former]
        files.choose(format)
        self._contents.clear()
        self._forget_all()
        if former:
            strays = [path for path, other in there.items() if other == former]
            problems += [Problem(path.name, f"{former}, but now most files are {format}") for path in strays]
        return [path for path, other in there.items() if other == format]

    def _read(self, changed: list[Path], unread: list[Path], problems: list[Problem]) -> None:
        """Reads the times and grids of files."""
        endings = {path.suffix for path, format in self._formats.items() if format == self._files.format}
        wanted, named = set(unread), {problem.name for problem in problems}
        for path in dict.fromkeys([*changed, *unread]):
            try:
                if path in wanted:
                    self._contents[path] = self._files.contents(path)
                elif not self._formats[path] and path.suffix in endings and path.name not in named:
                    raise ReadError(self._files.reason_of(path))
            except MissingLibraryError:
                raise
            except ReadError as error:
                if not self._being_written(path):
                    problems.append(Problem(path.name, _without_path(error, path)))
            if self._being_written(path):  # the next looks find it changed
                self._contents.pop(path, None)

    def _being_written(self, path: Path) -> bool:
        return self._patient and not self._changes.is_current(path)

    def _choose_grid(self, unread: list[Path], problems: list[Problem]) -> list[np.datetime64]:
        """Sets the grid to that of most files, adds the frames that fit, and returns their times if they are new."""
        grids = [of_file.grid for path, of_file in self._contents.items() if path in self._changes]
        former = None if self.grid is None else self.grid.layout
        files = ((path.name, c.times, c.grid) for path, c in self._contents.items() if path in self._changes)
        check_sums("NewestFrames", (FileOfSums(*file) for file in files))
        layout = most_common((grid.layout for grid in grids), former)
        if layout is None:
            return []
        self.grid = most_common((grid for grid in grids if grid.layout == layout), self.grid)
        known, added = set(self._frames), unread
        if former is not None and layout != former:
            self._forget_all(grid=self.grid)
            added = list(self._contents)
        else:
            known = set()
        new: list[np.datetime64] = []
        for path in added:
            if (of_file := self._contents.get(path)) is None:
                continue
            if of_file.grid.layout != layout:
                problems.append(Problem(path.name, f"{of_file.grid.layout} instead of {layout}"))
            elif self.grid is not None and not same_place(place := outline(self.grid), given := outline(of_file.grid)):
                problems.append(Problem(path.name, f"{spelled(given)} instead of {spelled(place)}"))
            else:
                new += self._add(path, of_file, problems)
        return [time for time in new if time not in known]

    def _forget_all(self, grid: Grid | None = None) -> None:
        self._frames.clear()
        self._pixels.clear()
        self.grid = grid

    def window(
        self, count: int, step: float, *, until: np.datetime64, coarsen: int = 1
    ) -> tuple[Window, list[Problem]]:
        """Returns `count` frames at steps of `step` minutes up to the time `until`, and the problems of some.

        Steps of months are those of the calendar, see `convlstm.datasets.calendar_steps.moved`.

        A frame that cannot be read is reported as a problem once and left out from then on.
        """
        assert self.grid is not None
        shape = (*(side // coarsen for side in self.grid.shape), *self.grid.frame_shape[2:])
        seconds = round(step * 60)
        known = self._times_of(self._frames[until].event if until in self._frames else 0)
        times = moved(until, -np.arange(count)[::-1], step, known)
        frames, absent, problems = np.full((count, *shape), np.nan, np.float32), [], []
        for n, wanted in enumerate(times):
            distances = np.abs((known - wanted).astype(np.int64))
            if len(known) == 0 or distances.min() > TOLERANCE * seconds:
                absent.append(n)
                continue
            time = known[int(distances.argmin())]
            try:
                frames[n] = self._frame(time, coarsen)
                times[n] = time
            except MissingLibraryError:
                raise
            except ReadError as error:
                path = self._frames.pop(time).path
                problems.append(Problem(path.name, _without_path(error, path)))
                absent.append(n)
        while len(self._pixels) > 2 * count:
            self._pixels.popitem(last=False)
        return Window(frames, times, absent), problems

    def _times_of(self, event: int, present: bool = False) -> np.ndarray:
        sources = [(time, source) for time, source in self._frames.items() if source.event == event]
        if present:
            sources = [(t, source) for t, source in sources if source.position >= 0 and source.path in self._changes]
        return np.array(sorted(time for time, _ in sources), "datetime64[s]")

    def _frame(self, time: np.datetime64, coarsen: int) -> np.ndarray:
        source = self._frames[time]
        key = (source.path, time, coarsen)
        if key in self._pixels:
            self._pixels.move_to_end(key)
            return self._pixels[key]
        if source.position < 0:
            raise ReadError(f"has no frame of {time} any more")
        assert self.grid is not None
        frame = self._files.frame(source.path, source.position, self.grid, coarsen)
        if self._being_written(source.path):
            raise ReadError("has changed while it was read")
        if np.isnan(frame).all():
            raise ReadError("has no known pixel")
        self._pixels[key] = frame
        return frame

    def _add(self, path: Path, contents: Contents, problems: list[Problem]) -> list[np.datetime64]:
        """Remembers the newest frames of a file; returns the times that are new or whose file has been replaced."""
        times = contents.times.astype("datetime64[s]")
        self._forget(path, set(times.tolist()))
        # A file with events counts only its newest one. The frames of all other files are one event.
        events = np.zeros(len(times), np.int64) if contents.event is None else np.asarray(contents.event, np.int64)
        order = np.argsort(times, kind="stable")[-_FRAMES:]
        if contents.event is not None:
            newest = events[order[-1]]
            order = order[events[order] == newest]
        new, duplicates = [], 0
        for n in order.tolist():
            time, source = times[n], self._frames.get(times[n])
            if source is not None and source.path != path and source.path in self._changes:
                if not self._is_stranger(source.path, path):
                    duplicates += 1
                    continue
                problems.append(Problem(source.path.name, f"its frame of {time} is left out for that of {path.name}"))
                source = None
            event = 0 if contents.event is None else hash((path, int(events[n])))
            # A changed file of one frame has a new frame; a stack has grown.
            if source is None or (source.path == path and len(times) == 1):
                new.append(time)
            self._frames.pop(time, None)  # to put it at the end
            self._frames[time] = _Source(path, n, event)
        if duplicates:
            problems.append(Problem(path.name, f"{duplicates} of its times are known from another file; left out"))
        return new

    def _is_stranger(self, path: Path, other: Path) -> bool:
        """Returns True if a file has another grid, or another kind of name, than most, and `other` less so."""
        assert self.grid is not None
        layout = self.grid.layout
        there = [p for p, its in self._contents.items() if p in self._changes and its.grid.layout == layout]
        if path not in there or other not in there:
            return False
        files = [(p.name, self._contents[p].grid, 1) for p in there]
        degrees = dict(zip(there, strangeness(files), strict=True))
        return degrees[path] > degrees[other]

    def _forget(self, path: Path, times: set) -> None:
        """Forgets the frames that a file had before it changed, except for pixels of times that it no longer has."""
        for time, source in list(self._frames.items()):
            if source.path != path:
                continue
            keys = [key for key in self._pixels if key[:2] == (path, time)]
            if time.item() in times:
                for key in keys:
                    del self._pixels[key]
            elif keys:
                self._frames[time] = _Source(path, -1, source.event)
            else:
                del self._frames[time]


def _without_path(error: Exception, path: Path) -> str:
    """Returns the message of an error without the name of the file, which the reader sees before it."""
    text = str(error)
    cut = text.find(str(path))
    text = text[cut + len(str(path)) :] if cut >= 0 else text
    return text.strip().rstrip(".") or type(error).__name__
