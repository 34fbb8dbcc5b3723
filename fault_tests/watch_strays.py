"""Files that lie in a watched folder beside the frames: no frame, damaged, of another time, or not even a file."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fault_tests.file_damage import HARMS, SHARES, harmed, looping
from fault_tests.file_sources import Source
from fault_tests.watch_frames import FORMATS, name_of, write_frame

import numpy as np


@dataclass
class Surroundings:
    """What strays are made from.

    Attributes:
        folder: The watched folder.
        scratch: A folder for files in preparation.
        format: Format of the frames.
        delivered: Times and paths of the frames so far.
        sources: Intact files of other formats.
        rng: Source of what is random.
        count: Number of strays so far.
    """

    folder: Path
    scratch: Path
    format: str
    delivered: list[tuple[np.datetime64, Path]]
    sources: list[Source]
    rng: np.random.Generator
    count: int = 0

    def place(self, ending: str, prefix: str = "stray") -> Path:
        """Returns a path that is free."""
        self.count += 1
        return self.folder / f"{prefix}{self.count}{ending}"

    def frame(self, moment: np.datetime64, prefix: str, **changes: object) -> Path:
        """Writes a frame beside the others."""
        self.count += 1
        path = self.folder / name_of(self.format, moment, f"{prefix}{self.count}_")
        written = write_frame(self.scratch / path.name, self.format, moment, self.rng, **changes)
        return written.rename(path)

    def old(self) -> tuple[np.datetime64, Path]:
        """Returns the time and the path of a frame that no forecast needs any more."""
        return self.delivered[int(self.rng.integers(max(1, len(self.delivered) - 12)))]

    def other(self) -> Source:
        """Returns an intact file of another format."""
        single = [s for s in self.sources if s.path.is_file() and s.path.suffix != FORMATS[self.format]]
        return single[int(self.rng.integers(len(single)))]


def _text(near: Surroundings) -> Path:
    path = near.place(".txt")
    path.write_text("no frame")
    return path


def _other_size(near: Surroundings) -> Path:
    return near.frame(near.old()[0], "size", shape=(40, 32))


def _other_units(near: Surroundings) -> Path:
    return near.frame(near.old()[0], "units", quantity="DBZH")


def _other_format(near: Surroundings) -> Path:
    source = near.other()
    path = near.place(f"_{source.path.name}")
    path.write_bytes(source.path.read_bytes())
    return path


def _damaged_other(near: Surroundings) -> Path:
    source = near.other()
    harm = HARMS[str(near.rng.choice(list(HARMS), p=SHARES))]
    path = near.place(f"_{source.path.name}")
    path.write_bytes(harmed(source.path.read_bytes(), harm, near.rng, [b"no such frame " * 40]))
    return path


def _damaged_frame(near: Surroundings) -> Path:
    path = near.frame(near.old()[0], "damaged")
    content = path.read_bytes()
    path.write_bytes((content[: len(content) // 2], b"", bytes(64) + content[64:])[int(near.rng.integers(3))])
    return path


def loop(near: Surroundings) -> Path:
    """Writes a file whose decoder never returns."""
    moment, _ = near.delivered[-1]
    path = near.folder / name_of("odim", moment, "loop_")
    content = write_frame(near.scratch / path.name, "odim", moment, near.rng).read_bytes()
    path.write_bytes(looping(content, near.rng, []))
    return path


def _future(near: Surroundings) -> Path:
    return near.frame(np.datetime64("now", "s") + np.timedelta64(int(near.rng.integers(1, 13)), "h"), "future")


def _past(near: Surroundings) -> Path:
    return near.frame(near.delivered[0][0] - np.timedelta64(int(near.rng.integers(24, 4800)), "h"), "past")


def _duplicate(near: Surroundings) -> Path:
    moment, source = near.delivered[-1]
    path = near.folder / name_of(near.format, moment, f"again{near.count}_")
    near.count += 1
    path.write_bytes(source.read_bytes())
    return path


def _pipe(near: Surroundings) -> Path:
    path = near.place(FORMATS[near.format])
    os.mkfifo(path)
    return path


def _broken_link(near: Surroundings) -> Path:
    path = near.place(FORMATS[near.format])
    path.symlink_to("nowhere")
    return path


def _circle(near: Surroundings) -> Path:
    path = near.place("")
    path.symlink_to(near.folder)
    return path


def _folder(near: Surroundings) -> Path:
    path = near.place(FORMATS[near.format])
    path.mkdir()
    return path


def _hidden(near: Surroundings) -> Path:
    path = near.frame(near.delivered[-1][0] + np.timedelta64(1, "m"), "hidden")
    return path.rename(path.with_name(f".{path.name}"))


def _deleted(near: Surroundings) -> None:
    near.old()[1].unlink(missing_ok=True)


def _moved(near: Surroundings) -> None:
    moment, path = near.old()
    if path.exists():
        path.rename(path.with_name(name_of(near.format, moment, f"moved{near.count}_")))
        near.count += 1


STRAYS: dict[str, Callable[[Surroundings], Path | None]] = {
    "a text": _text,
    "a frame of another size": _other_size,
    "a file of another format": _other_format,
    "a damaged file of another format": _damaged_other,
    "a damaged frame": _damaged_frame,
    "a frame of the future": _future,
    "a frame of the past": _past,
    "a copy": _duplicate,
    "a FIFO": _pipe,
    "a broken link": _broken_link,
    "a link to its own folder": _circle,
    "a folder with a frame's name": _folder,
    "a hidden frame": _hidden,
    "an old frame deleted": _deleted,
    "an old frame renamed": _moved,
}
"""Functions that put something beside the frames, or change an old one. They return the new path, if there is one."""

UNITS: dict[str, Callable[[Surroundings], Path | None]] = {"a frame of other units": _other_units}
"""Further strays beside ODIM frames."""
