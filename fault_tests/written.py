"""The forecasts that appear in a folder, each counted as often as it is written."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import numpy as np

_RECENT = 40  # forecasts that are looked at all the time; older ones only at the end
_PAUSE = 0.02  # seconds between two looks, less than a watcher needs for a forecast


class Written:
    """Counts the forecasts in a folder, in a thread of its own: a file that is replaced counts again.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._recent: deque[str] = deque(maxlen=_RECENT)
        self._seen: dict[str, set[tuple[int, int]]] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def expect(self, moment: np.datetime64) -> None:
        """Looks for the forecast from the frame of a time from now on."""
        self._seen.setdefault(_name(moment), set())
        self._recent.append(_name(moment))

    def count(self, moment: np.datetime64) -> int:
        """Returns how many times the forecast was written."""
        return len(self._seen.get(_name(moment), ()))

    def wait(self, wanted: Mapping[np.datetime64, int], seconds: float) -> None:
        """Waits until each forecast was written as many times as is wanted, or the time is over."""
        deadline = time.monotonic() + seconds
        while any(self.count(m) < n for m, n in wanted.items()) and time.monotonic() < deadline:
            time.sleep(_PAUSE)

    def stop(self) -> None:
        """Looks at all forecasts for the last time."""
        self._stopped.set()
        self._thread.join()
        for name in self._seen:
            self._look(name)

    def others(self) -> list[str]:
        """Returns the names of forecasts that nobody expects."""
        return sorted(path.name for path in self._folder.glob("forecast_*.npy") if path.name not in self._seen)

    def _watch(self) -> None:
        while not self._stopped.wait(_PAUSE):
            for name in tuple(self._recent):
                self._look(name)

    def _look(self, name: str) -> None:
        try:
            stat = os.stat(self._folder / name)  # noqa: PTH116  a hundred thousand times
        except OSError:
            return
        self._seen[name].add((stat.st_ino, stat.st_mtime_ns))


def _name(moment: np.datetime64) -> str:
    return f"forecast_{str(moment.astype('datetime64[s]')).replace('-', '').replace(':', '')}.npy"
