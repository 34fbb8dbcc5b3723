"""One series of frames from the entries of many files, without the frames that make no sense."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from convlstm.datasets.archives.files import Problem
from convlstm.datasets.archives.frame_statistics import INFINITE, NEGATIVE, UNREADABLE
from convlstm.datasets.archives.index import Entry
from convlstm.datasets.archives.majority import strangeness
from convlstm.datasets.archives.sums import FileOfSums, check_sums
from convlstm.datasets.maps import outline, same_place, spelled
from convlstm.datasets.readers import Grid, Layout
from convlstm.datasets.readers.errors import printable
from convlstm.datasets.windows import breaks, step_of

import numpy as np

# The words of the warning for each kind of problem.
_KINDS = {
    "format": "files of another format than most are left out",
    "damaged": "files or frames that cannot be read are left out",
    "size": "files with frames of another size or other units than most are left out",
    "place": "files with frames of another place than most are left out",
    "remark": "files are read in another way than most",
    "missing": "frames without any known pixel are left out",
    "duplicate": "frames with the time of another one are left out",
    "negative": "negative rain counts as missing",
    "infinite": "infinite and impossible values count as missing",
    "gap": "no sequence crosses a gap",
}
_NAMES_SHOWN = 3


class Problems:
    """The problems of an archive by kind, with one warning for each kind."""

    def __init__(self, archive: str):
        self._archive = archive
        self._by_kind: dict[str, list[Problem]] = {kind: [] for kind in _KINDS}

    def note(self, kind: str, name: str, reason: str) -> None:
        """Records that the file `name` has a problem, and the reason."""
        self._by_kind[kind].append(Problem(name, reason))

    def all(self) -> list[Problem]:
        """Returns all problems."""
        return [problem for problems in self._by_kind.values() for problem in problems]

    def counts(self) -> dict[str, int]:
        """Returns the number of problems of each kind that occurs."""
        return {kind: len(problems) for kind, problems in self._by_kind.items() if problems}

    def warn(self) -> None:
        """Warns once for each kind, with the count and the first names."""
        for kind, problems in self._by_kind.items():
            if problems:
                warnings.warn(
                    f"[Archive] {self._archive}: {_KINDS[kind]}, {len(problems)} in all: {first_of(problems)}.",
                    stacklevel=4,
                )


def first_of(problems: Iterable[Problem]) -> str:
    """Returns the first few problems as text."""
    problems = list(problems)
    rest = ["..."] if len(problems) > _NAMES_SHOWN else []
    return "; ".join([printable(f"{name} ({reason.rstrip('.')})") for name, reason in problems[:_NAMES_SHOWN]] + rest)


@dataclass(frozen=True)
class Series:
    """Frames in the order of events and times.

    Attributes:
        names: Names of the files.
        grid: Grid of the frames.
        step: Minutes between frames.
        times, missing, wet, blocks: By frame, as in `convlstm.datasets.archives.index.Entry`.
        event: (F,), numbered over all files.
        file: (F,), number in `names`.
        position: (F,), position of the frame in its file.
        fingerprint: Hex digest of the files' names and sizes and the frames' times.
    """

    names: list[str]
    grid: Grid
    step: float
    times: np.ndarray
    event: np.ndarray
    missing: np.ndarray
    wet: np.ndarray
    blocks: np.ndarray
    file: np.ndarray
    position: np.ndarray
    fingerprint: str


def assemble(entries: Mapping[str, Entry], problems: Problems) -> Series | None:
    """Returns the series of all usable frames of some files, or None if there are none.

    These are left out: files whose frames have another size, other units or another place than most frames, frames that
    cannot be read or are all missing, and frames with the time of another one. Of these, the frame counts whose file
    has the grid and the kind of name of most files, and then that of the first name.

    Raises:
        ValueError: If files hold sums since the same start, see `check_sums`.
    """
    for name, entry in entries.items():
        if entry.grid is None:
            problems.note("damaged", name, entry.problem)
    layouts = {name: entry.grid.layout for name, entry in entries.items() if entry.grid is not None}
    frames: Counter[Layout] = Counter()
    for name, layout in layouts.items():
        frames[layout] += len(entries[name].times)
    if not frames:
        return None
    usual = frames.most_common(1)[0][0]
    for name, layout in layouts.items():
        if layout != usual:
            problems.note("size", name, f"{layout} instead of {usual}")

    names = _of_one_place([name for name, layout in layouts.items() if layout == usual], entries, problems)
    parts = [entries[name] for name in names]
    check_sums("Archive", (FileOfSums(n, e.times, e.grid) for n, e in zip(names, parts, strict=True) if e.grid))
    sizes = [len(entry.times) for entry in parts]
    file = np.repeat(np.arange(len(parts), dtype=np.int32), sizes)
    position = np.concatenate([np.arange(size, dtype=np.int32) for size in sizes])
    columns = {key: np.concatenate([getattr(e, key) for e in parts]) for key in ("times", "missing", "wet", "flags")}
    times, flags = columns["times"], columns["flags"]
    event = _events(parts)

    def note(kind: str, which: np.ndarray, reason: str) -> None:
        for i in np.flatnonzero(which):
            of_file = parts[file[i]].problem if kind == "damaged" else ""
            problems.note(kind, names[file[i]], of_file or reason.format(time=times[i]))

    unreadable = (flags & UNREADABLE) != 0
    empty = ~unreadable & (columns["missing"] >= 1)
    note("damaged", unreadable, "the frame of {time}")
    note("missing", empty, "the frame of {time}")
    note("negative", (flags & NEGATIVE) != 0, "the frame of {time}")
    note("infinite", (flags & INFINITE) != 0, "the frame of {time}")

    grids = [entry.grid for entry in parts]
    strange = np.array(strangeness(list(zip(names, grids, sizes, strict=True))))
    order = np.lexsort((strange[file], times, event))  # stable: of equal ones the first name comes first
    order = order[~(unreadable | empty)[order]]
    if len(order) == 0:
        return None
    repeated = np.zeros(len(times), bool)
    repeated[order[1:]] = (np.diff(times[order]) == np.timedelta64(0, "s")) & (np.diff(event[order]) == 0)
    note("duplicate", repeated, "a second frame of {time}")
    order = order[~repeated[order]]

    times, event = times[order], event[order]
    step = step_of(times, event)
    for i in np.flatnonzero(breaks(times, event, step) & (np.diff(event) == 0)):
        minutes = (times[i + 1] - times[i]) / np.timedelta64(60, "s")
        problems.note("gap", names[file[order[i]]], f"{minutes:g} min after {times[i]}")
    return Series(
        names=names,
        grid=grids[int(strange.argmin())],  # type: ignore[arg-type]
        step=step,
        times=times,
        event=event,
        missing=columns["missing"][order],
        wet=columns["wet"][order],
        blocks=np.concatenate([entry.blocks for entry in parts])[order],
        file=file[order],
        position=position[order],
        fingerprint=_fingerprint(names, parts, times, file[order]),
    )


def _of_one_place(names: list[str], entries: Mapping[str, Entry], problems: Problems) -> list[str]:
    """Returns the names of the files whose frames lie where most do; notes the others, and other ways of reading."""
    grids: Counter[Grid] = Counter()
    remarks: Counter[tuple[str, ...]] = Counter()
    of_file: dict[str, Grid] = {name: grid for name in names if (grid := entries[name].grid) is not None}
    for name, grid in of_file.items():
        grids[grid] += len(entries[name].times)
        remarks[tuple(field.remark for field in grid.fields)] += len(entries[name].times)
    usual, usual_remarks = grids.most_common(1)[0][0], remarks.most_common(1)[0][0]
    place = outline(usual)
    there = {grid: same_place(place, outline(grid)) for grid in grids}
    for name, grid in of_file.items():
        if not there[grid]:
            problems.note("place", name, f"{spelled(outline(grid))} instead of {spelled(place)}")
        elif tuple(field.remark for field in grid.fields) != usual_remarks:
            problems.note("remark", name, f"{' and '.join(map(str, grid.fields))}, most {usual.fields[0]}")
    return [name for name in names if there[of_file[name]]]


def _events(parts: list[Entry]) -> np.ndarray:
    """Returns a number for each event of each file. Files without events are one event together."""
    if all((entry.event < 0).all() for entry in parts):
        return np.zeros(sum(len(entry.event) for entry in parts), np.int64)
    pairs = [np.stack([np.where(e.event < 0, -1, i), e.event], axis=1) for i, e in enumerate(parts)]
    return np.unique(np.concatenate(pairs), axis=0, return_inverse=True)[1].reshape(-1)


def _fingerprint(names: list[str], parts: list[Entry], times: np.ndarray, file: np.ndarray) -> str:
    digest = hashlib.sha256()
    for name, entry in zip(names, parts, strict=True):
        digest.update(os.fsencode(f"{name}\0{entry.size}\n"))  # a name may have any bytes
    digest.update(times.astype("<i8").tobytes())
    digest.update(file.astype("<i4").tobytes())
    return digest.hexdigest()
