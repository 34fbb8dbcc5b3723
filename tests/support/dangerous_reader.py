"""A reader that does to its process what C libraries do at damaged files."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path

from convlstm.datasets.readers import Contents, Grid, Reader
from convlstm.datasets.readers.grid import field_of

import numpy as np

MAGIC = b"DANGER"
# What a file may do: a loop that keeps Python's lock, ends by signals, a request for all memory, and an exception.
DEEDS = ("loop", "segv", "bus", "abort", "memory", "raise")
START = np.datetime64("2020-06-01T00:00", "s")


def write(path: Path, number: int, deed: str = "", when: str = "read") -> Path:
    """Writes a file of frame `number` that does a deed when it is recognised, opened (`contents`) or read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(MAGIC + f" {number} {deed or 'none'} {when}".encode())
    return path


def do(deed: str) -> None:
    """Does a deed."""
    if deed == "loop":
        ctypes.PyDLL(None).pause()  # a call in C that does not return, and keeps Python's lock
    elif deed == "segv":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif deed == "abort":
        os.abort()
    elif deed == "memory":
        np.ones(1 << 45, np.uint8)
    elif deed == "bus":
        with tempfile.TemporaryFile() as file:
            file.truncate(2 * mmap.PAGESIZE)
            with mmap.mmap(file.fileno(), 2 * mmap.PAGESIZE) as mapped:
                file.truncate(0)
                mapped[mmap.PAGESIZE]
    elif deed == "raise":
        raise RuntimeError("bad sector")


@dataclass(frozen=True)
class Dangerous(Reader):
    """One frame of 8 x 8 in each file of `write`, every 5 minutes."""

    format = "dangerous"

    def _recognises(self, path: Path, head: bytes) -> bool:
        return head.startswith(MAGIC) and self._step(path, "recognise") >= 0

    def _contents(self, path: Path) -> Contents:
        number = self._step(path, "contents")
        return Contents(np.array([START + np.timedelta64(5 * number, "m")]), Grid((8, 8), (field_of("mm/h"),)))

    def _read(self, path: Path, position: int) -> np.ndarray:
        return np.full((8, 8), self._step(path, "read"), np.float32)

    def _step(self, path: Path, when: str) -> int:
        _, number, deed, its = path.read_text().split()
        if its == when:
            do(deed)
        return int(number)
