"""From what files hold to one series of frames, without those that make no sense."""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from convlstm.datasets.index import Entry
from convlstm.datasets.measure import INFINITE, NEGATIVE, UNREADABLE
from convlstm.datasets.readers import Grid
from convlstm.datasets.windows import breaks, step_of

import numpy as np

# What a warning says of them.
_KINDS = {
    "format": "files of another format than most are left out",
    "damaged": "files or frames that cannot be read are left out",
    "size": "files with frames of another size or other units than most are left out",
    "missing": "frames without any known pixel are left out",
    "duplicate": "frames with the time of another one are left out",
    "negative": "negative rain counts as missing",
    "infinite": "infinite and impossible values count as missing",
    "gap": "no sequence crosses a gap",
}
_NAMES_SHOWN = 3


class Problems:
    """What is wrong with an archive, by kind; a warning for each kind, with its count and the first names."""

    def __init__(self, archive: str):
        self._archive = archive
        self._found: dict[str, list[tuple[str, str]]] = {kind: [] for kind in _KINDS}

    def note(self, kind: str, name: str, reason: str) -> None:
        """Remember that the file ``name`` has a problem, and why it is one."""
        self._found[kind].append((name, reason))

    def all(self) -> list[tuple[str, str]]:
        """(file, reason) for each."""
        return [problem for found in self._found.values() for problem in found]

    def counts(self) -> dict[str, int]:
        """Number of each kind that there is."""
        return {kind: len(found) for kind, found in self._found.items() if found}

    def warn(self) -> None:
        """One warning for each kind."""
        for kind, found in self._found.items():
            if found:
                warnings.warn(
                    f"[Archive] {self._archive}: {_KINDS[kind]}, {len(found)} in all: {first_of(found)}.", stacklevel=4
                )


def first_of(problems: Iterable[tuple[str, str]]) -> str:
    """The first few problems as text."""
    problems = list(problems)
    more = ["..."] if len(problems) > _NAMES_SHOWN else []
    return "; ".join([f"{name} ({reason.rstrip('.')})" for name, reason in problems[:_NAMES_SHOWN]] + more)


@dataclass(frozen=True)
class Series:
    """Frames in the order of events and times. By frame, each (F,): ``file``, a number in ``names``, and the frame's
    ``position`` in it; the rest as in :class:`convlstm.datasets.index.Entry`, ``event`` being one number for all files.
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
    """The series of the frames of these files that can be used, or None if there are none.

    Files whose frames have another size or other units than most frames are left out, frames that cannot be read or
    are all missing, and frames with the time of one before, in the order of the names.
    """
    for name, entry in entries.items():
        if entry.grid is None:
            problems.note("damaged", name, entry.problem)
    entries = {name: entry for name, entry in entries.items() if entry.grid is not None}
    frames: Counter[tuple] = Counter()
    for entry in entries.values():
        frames[_kind(entry)] += len(entry.times)
    if not frames:
        return None
    usual = frames.most_common(1)[0][0]
    for name, entry in entries.items():
        if _kind(entry) != usual:
            problems.note("size", name, f"{_said(_kind(entry))} instead of {_said(usual)}")
    entries = {name: entry for name, entry in entries.items() if _kind(entry) == usual}

    names, parts = list(entries), list(entries.values())
    sizes = [len(entry.times) for entry in parts]
    file = np.repeat(np.arange(len(parts), dtype=np.int32), sizes)
    position = np.concatenate([np.arange(size, dtype=np.int32) for size in sizes])
    columns = {key: np.concatenate([getattr(e, key) for e in parts]) for key in ("times", "missing", "wet", "flags")}
    times, flags = columns["times"], columns["flags"]
    event = _events(parts)

    def note(kind: str, where: np.ndarray, reason: str) -> None:
        for i in np.flatnonzero(where):
            own = parts[file[i]].problem if kind == "damaged" else ""
            problems.note(kind, names[file[i]], own or reason.format(time=times[i]))

    unreadable = (flags & UNREADABLE) != 0
    empty = ~unreadable & (columns["missing"] >= 1)
    note("damaged", unreadable, "the frame of {time}")
    note("missing", empty, "the frame of {time}")
    note("negative", (flags & NEGATIVE) != 0, "the frame of {time}")
    note("infinite", (flags & INFINITE) != 0, "the frame of {time}")

    order = np.lexsort((times, event))  # stable: of equal times the first name comes first
    order = order[~(unreadable | empty)[order]]
    if len(order) == 0:
        return None
    again = np.zeros(len(times), bool)
    again[order[1:]] = (np.diff(times[order]) == np.timedelta64(0)) & (np.diff(event[order]) == 0)
    note("duplicate", again, "a second frame of {time}")
    order = order[~again[order]]

    times, event = times[order], event[order]
    step = step_of(times, event)
    for i in np.flatnonzero(breaks(times, event, step) & (np.diff(event) == 0)):
        minutes = (times[i + 1] - times[i]) / np.timedelta64(60, "s")
        problems.note("gap", names[file[order[i]]], f"{minutes:g} min after {times[i]}")
    return Series(
        names=names,
        grid=parts[0].grid,  # type: ignore[arg-type]
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


def _kind(entry: Entry) -> tuple:
    return () if entry.grid is None else (tuple(entry.grid.shape), entry.grid.units)


def _said(kind: tuple) -> str:
    (height, width), units = kind
    return f"{height} x {width} {units}"


def _events(parts: list[Entry]) -> np.ndarray:
    """A number for each event of each file; files that know none are one event together."""
    if all((entry.event < 0).all() for entry in parts):
        return np.zeros(sum(len(entry.event) for entry in parts), np.int64)
    pairs = [np.stack([np.where(e.event < 0, -1, i), e.event], axis=1) for i, e in enumerate(parts)]
    return np.unique(np.concatenate(pairs), axis=0, return_inverse=True)[1].reshape(-1)


def _fingerprint(names: list[str], parts: list[Entry], times: np.ndarray, file: np.ndarray) -> str:
    digest = hashlib.sha256()
    for name, entry in zip(names, parts, strict=True):
        digest.update(f"{name}\0{entry.size}\n".encode())
    digest.update(times.astype("<i8").tobytes())
    digest.update(file.astype("<i4").tobytes())
    return digest.hexdigest()
