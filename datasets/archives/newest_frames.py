"""The newest frames of a folder or file that may grow."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convlstm.arguments import check_whole
from convlstm.datasets.archives.changes import Changes
from convlstm.datasets.archives.files import Problem, RadarFiles
from convlstm.datasets.readers import Contents, Grid, MissingLibraryError, ReadError
from convlstm.datasets.windows import TOLERANCE, step_of

import numpy as np

# The most frames to remember, from which the step is found as well.
_FRAMES = 512


@dataclass(frozen=True)
class Window:
    """Frames at equal steps.

    Attributes:
        frames: (T, H, W) float32 in mm/h or raw values, NaN where missing; an absent frame is all NaN.
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
    most 512 frames, and the pixels of the last windows.

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
        grid: Grid of the frames; None until one was found.
        format: Format of the files; `""` until one was found.

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
        self._files = RadarFiles("NewestFrames", Path(path).expanduser(), format, options, zr)
        self._patient = patient
        depth = check_whole("NewestFrames", "depth", depth, 1, None)
        self._changes = Changes(self._files, patient=patient, depth=depth)
        self._frames: dict[np.datetime64, _Source] = {}
        self._pixels: OrderedDict[tuple, np.ndarray] = OrderedDict()
        self._endings: set[str] = set()
        self.grid: Grid | None = None

    @property
    def format(self) -> str:
        return self._files.format

    @property
    def times(self) -> np.ndarray:
        """Times of the known frames of the newest event, rising, datetime64[s] of (F,)."""
        return self._times_of(self._frames[max(self._frames)].event if self._frames else 0)

    @property
    def step(self) -> float:
        """Minutes between frames, the most common difference; NaN if there are fewer than two."""
        times = self.times
        return step_of(times, np.zeros(len(times), int))

    def look(self) -> tuple[list[np.datetime64], list[Problem]]:
        """Searches for new frames.

        Returns:
            The times of the frames that have come since the last look, rising, and the problems of new files. Each
            problem of a file is returned once, unless the file changes.

        Raises:
            MissingLibraryError: If the format's library is not installed.
        """
        files, problems = self._files, list[Problem]()
        changed = self._changes.look()
        formats = {path: files.readers[0].format if files.named else files.format_of(path) for path in changed}
        if not files.format and changed:
            counts = Counter(filter(None, formats.values()))
            if not counts:
                end = "; it may be cut off" if self._patient else ""
                unknown = changed if self._patient else changed[:1]
                return [], [Problem(path.name, f"of no known format{end}") for path in unknown]
            files.choose(counts.most_common(1)[0][0])
        self._endings |= {path.suffix for path, format in formats.items() if format == files.format}
        contents: dict[Path, Contents] = {}
        for path, format in formats.items():
            try:
                if format == files.format:
                    contents[path] = files.reader.contents(path)
                elif not format and path.suffix in self._endings:
                    raise ReadError(files.reason_of(path))
            except MissingLibraryError:
                raise
            except ReadError as error:
                problems.append(Problem(path.name, _without_path(error, path)))
        if self.grid is None and contents:
            # The grid of most files; of the newer ones if several grids are equally common.
            grids = [of_file.grid for of_file in contents.values()][::-1]
            usual = Counter(grid.layout for grid in grids).most_common(1)[0][0]
            self.grid = next(grid for grid in grids if grid.layout == usual)
        new: list[np.datetime64] = []
        for path, of_file in contents.items():
            assert self.grid is not None
            if of_file.grid.layout != self.grid.layout:
                problems.append(Problem(path.name, f"{of_file.grid.layout} instead of {self.grid.layout}"))
            else:
                new += self._add(path, of_file, problems)
        for time in sorted(self._frames)[:-_FRAMES]:
            del self._frames[time]
        return sorted(time for time in new if time in self._frames), problems

    def window(
        self, count: int, step: float, *, until: np.datetime64, coarsen: int = 1
    ) -> tuple[Window, list[Problem]]:
        """Returns `count` frames at steps of `step` minutes up to the time `until`, and the problems of some.

        A frame that cannot be read is reported as a problem once and left out from then on.
        """
        assert self.grid is not None
        shape = tuple(side // coarsen for side in self.grid.shape)
        seconds = round(step * 60)
        times = until - np.arange(count)[::-1] * np.timedelta64(seconds, "s")
        known = self._times_of(self._frames[until].event if until in self._frames else 0)
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

    def _times_of(self, event: int) -> np.ndarray:
        times = sorted(time for time, source in self._frames.items() if source.event == event)
        return np.array(times, "datetime64[s]")

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
                duplicates += 1
                continue
            event = 0 if contents.event is None else hash((path, int(events[n])))
            # A changed file of one frame has a new frame; a stack has grown.
            if source is None or (source.path == path and len(times) == 1):
                new.append(time)
            self._frames[time] = _Source(path, n, event)
        if duplicates:
            problems.append(Problem(path.name, f"{duplicates} of its times are known from another file; left out"))
        return new

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
