"""A watcher of a folder, and the frames and strays that it is given."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fault_tests.bench import ONE_THREAD
from fault_tests.child import ROOT
from fault_tests.file_sources import Source
from fault_tests.full_disk import BALLAST, fill
from fault_tests.usage import Usage
from fault_tests.watch_frames import OPTIONS, WAYS, Delivery, name_of, write_frame
from fault_tests.watch_strays import STRAYS, UNITS, Surroundings, loop
from fault_tests.written import Written
from tests.support.forecast_runs import ENCODER, write_run

import numpy as np

FIRST = 16
"""Frames at the start of a session that come without strays: these must be the minority."""

STARTING = 60.0
PATIENCE = 60.0
"""Seconds for the watcher's start, and for a forecast: a file that loops takes ten or more of them."""

ENDING = 2.0
"""Seconds in which SIGTERM must end the watcher; the program itself takes one, and the machine may be busy."""

SILENT = 60.0
"""Largest age of the heartbeat in seconds: a file that loops takes ten or more of them."""

KEPT = 100
"""Forecasts that the watcher keeps; it deletes older ones."""

MOST_CUT = 8
"""Lines of the log that may be cut off, where its disk was full."""

EVERY = 10  # frames between two measurements
MOST_STRAYS = 12  # that lie in the folder together; older ones are removed

Forecasts = dict[np.datetime64, int]
"""The number of times that the forecast from the frame of a time must be written."""


class Session:
    """A watcher, its folders, and what it is given.

    Args:
        folder: Folder of all files.
        format: Format of the frames.
        sources: Intact files of all formats, for strays.
        rng: Source of what is random.
    """

    def __init__(self, folder: Path, format: str, sources: list[Source], rng: np.random.Generator):
        self.folder, self.format, self.rng = folder, format, rng
        self.incoming, self.out, self.log, scratch = (folder / n for n in ("incoming", "out", "log", "scratch"))
        for place in (self.incoming, self.out, self.log, scratch):
            place.mkdir(parents=True, exist_ok=True)
        self.near = Surroundings(self.incoming, scratch, format, [], sources, rng)
        self.written, self.strays = Written(self.out), Counter[str]()
        self._lying: list[Path] = []
        self.usage, self._before, self.seconds = Usage(0), 0, 0.0
        self.heartbeat, self.silent, self.starts = folder / "heartbeat.json", 0.0, 0
        self.foreign = self.out / "by_hand.npy"
        arguments = [f"input={self.incoming}", f"out={self.out}", "format=npy", "watch=true", "interval=0.1"]
        arguments += [f"keep={KEPT}", f"heartbeat={self.heartbeat}"]
        run = write_run(folder / "run", ENCODER)
        self._line = [sys.executable, "forecast.py", f"ckpt={run}", *arguments, *OPTIONS[format]]

    def start(self, first: np.datetime64) -> None:
        """Starts the watcher before its folder is there, which then has a first file that is none of its frames.

        Args:
            first: The time of the first frame.
        """
        self.foreign.write_bytes(b"no forecast")
        self.incoming.rename(self.folder / "not yet")
        self._run("waiting ")
        (self.folder / "not yet").rename(self.incoming)
        self.near.frame(first - np.timedelta64(9, "D"), "first", shape=(40, 32))
        self._await("watching ")

    def _run(self, until: str) -> None:
        """Starts the program and waits for a line of its log."""
        self.starts += 1
        with (self.log / "out.txt").open("ab") as out, (self.folder / "err.txt").open("ab") as err:
            self.process = subprocess.Popen(
                self._line, cwd=ROOT, env={**os.environ, **ONE_THREAD}, stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )
        self.usage.pid = self.process.pid
        self._await(until)

    def _await(self, words: str) -> None:
        """Waits until the log has a line that begins with some words after the last start."""
        before, deadline = self._before, time.monotonic() + STARTING
        while words not in self._printed()[before:] and self.lives() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1.0)

    def _restart(self, moments: Sequence[np.datetime64]) -> None:
        """Ends the watcher, delivers frames, and starts it again."""
        self.process.terminate()
        self.process.wait(STARTING)
        self._before = len(self._printed())
        for moment in moments:
            self._deliver(moment)
        self._run("watching ")

    def lives(self) -> bool:
        """Returns True if the watcher has not ended."""
        return self.process.poll() is None

    def bring(self, kind: str, moments: Sequence[np.datetime64]) -> Forecasts:
        """Delivers the frames of some times, waits for their forecasts, and returns how many there must be."""
        if len(self.near.delivered) >= FIRST:
            self._disturb()
        before = len(self.near.delivered)
        wanted: Forecasts = dict.fromkeys(moments, 1)
        for moment in moments:
            self.written.expect(moment)
        if kind == "two in the wrong order":
            wanted = self._late(*moments)
        elif kind == "rewritten":
            wanted = self._rewritten(*moments)
        elif kind == "after a frame that never comes":
            wanted = {moments[0]: 0, moments[1]: 1}
            self._deliver(moments[1])
        elif kind == "while it does not run":
            self._restart(moments)
        elif kind == "on a full disk of the log":
            self._on_full_disk(self.log, moments, patience=PATIENCE)
        elif kind == "on a full disk of forecasts":
            self._on_full_disk(self.out, moments, patience=1.0)
        else:
            if kind == "beside a file that loops":
                self._lying.append(loop(self.near))
                self.strays["a file that loops"] += 1
            if kind == "back with its folder":
                self.incoming.rename(self.folder / "gone")
                time.sleep(1.0)
                (self.folder / "gone").rename(self.incoming)
            for moment in moments:
                self._deliver(moment, kind if kind in WAYS else "at once")
        if self.lives():
            self.written.wait(wanted, PATIENCE if before else 1.0)
        with suppress(OSError):
            self.silent = max(self.silent, time.time() - self.heartbeat.stat().st_mtime)
        if before // EVERY != len(self.near.delivered) // EVERY:
            self.usage.measure(len(self.near.delivered))
        return wanted

    def end(self) -> str:
        """Ends the watcher by SIGTERM while it reads a file that loops. Returns what is wrong, "" for nothing."""
        if self.lives():
            loop(self.near)
            time.sleep(1.0)
            self.process.terminate()
            start = time.monotonic()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(ENDING)
            if self.lives():
                self.kill()
                return f"it did not end within {ENDING:g} seconds (see '{self.folder}')"
            seconds = time.monotonic() - start
        else:
            seconds = 0.0
        self.written.stop()
        err = (self.folder / "err.txt").read_text(errors="replace")
        self.seconds = seconds
        # The guard says it where the decoder keeps the main thread.
        if self.process.returncode != 0 or "Traceback" in err or "ended " not in self._printed()[self._before :] + err:
            tail = " | ".join(err.strip().splitlines()[-3:])
            return f"status {self.process.returncode} after {seconds:.1f} seconds: {tail} (see '{self.folder}')"
        if others := self.written.others():
            return f"{len(others)} forecasts from no frame, such as {others[0]} (see '{self.folder}')"
        return ""

    def unattended(self) -> tuple[str, str]:
        """Returns what is wrong with the log, the heartbeat or the retention, "" for nothing, and the figures."""
        lines = [line for line in self._printed().splitlines() if line.strip(" \0")]
        cut = [line for line in lines if re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ [a-z]", line.lstrip(" \0")) is None]
        count = len(list(self.out.glob("forecast_*.npy")))
        note = (
            f"{len(lines)} lines of the log, {len(cut)} of them cut off; heartbeat at most {self.silent:.0f} s old; "
            f"{count} forecasts kept; {self.starts} starts"
        )
        lost = []
        if len(cut) > MOST_CUT:
            lost.append(f"{len(cut)} lines without a time, such as {cut[0]!r}")
        if self.silent > SILENT or not self.heartbeat.exists():
            lost.append(f"a heartbeat {self.silent:.0f} s old")
        if count > KEPT or not self.foreign.exists():
            lost.append(
                f"{count} forecasts instead of {KEPT}; a file by hand is {'there' if self.foreign.exists() else 'gone'}"
            )
        return "; ".join(lost), note

    def kill(self) -> None:
        """Ends the watcher at once."""
        if hasattr(self, "process") and self.lives():
            self.process.kill()
            self.process.wait()
        self.written.stop()

    def _printed(self) -> str:
        return (self.log / "out.txt").read_text(errors="replace")

    def _deliver(self, moment: np.datetime64, way: str = "at once") -> Path:
        name = name_of(self.format, moment, "rain_")
        scratch = write_frame(self.near.scratch / name, self.format, moment, self.rng)
        path = WAYS[way](Delivery(self.incoming, name, scratch.read_bytes(), self.rng))
        scratch.unlink()
        self.near.delivered.append((moment, path))
        return path

    def _late(self, first: np.datetime64, second: np.datetime64) -> Forecasts:
        """The late frame gets no forecast of its own; that of the frame after it is made again."""
        self._deliver(second)
        self.written.wait({second: 1}, PATIENCE)
        self._deliver(first)
        self.near.delivered.sort(key=lambda one: one[0])
        return {first: 0, second: 2}

    def _rewritten(self, moment: np.datetime64) -> Forecasts:
        path = self._deliver(moment)
        self.written.wait({moment: 1}, PATIENCE)
        other = write_frame(self.near.scratch / path.name, self.format, moment, self.rng)
        path.write_bytes(other.read_bytes())
        other.unlink()
        return {moment: 2}

    def _on_full_disk(self, disk: Path, moments: Sequence[np.datetime64], *, patience: float) -> None:
        fill(disk, 0)
        with suppress(OSError), (self.log / "out.txt").open("ab", buffering=0) as file:
            while disk == self.log:  # also the rest of its last block
                file.write(b" ")
        for moment in moments:
            self._deliver(moment)
            self.written.wait({moment: 1}, patience if self.lives() else 0.0)
        (disk / BALLAST).unlink()

    def _disturb(self) -> None:
        """Puts a stray beside the frames, and removes the oldest one if there are many."""
        strays = STRAYS | (UNITS if self.format == "odim" else {})
        name = list(strays)[int(self.rng.integers(len(strays)))]
        self.strays[name] += 1
        path = strays[name](self.near)
        if path is not None:
            self._lying.append(path)
        while len(self._lying) > MOST_STRAYS:
            oldest = self._lying.pop(0)
            oldest.rmdir() if oldest.is_dir() and not oldest.is_symlink() else oldest.unlink(missing_ok=True)
