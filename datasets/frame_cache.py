"""Decoded frames in memory, up to a bound."""

from __future__ import annotations

import threading
from collections import OrderedDict

import numpy as np


class FrameCache:
    """The decoded frames last used, up to a number of bytes; several threads and archives may share one."""

    def __init__(self, limit: int):
        self._limit, self._bytes = limit, 0
        self._frames: OrderedDict[tuple, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple) -> np.ndarray | None:
        with self._lock:
            if key in self._frames:
                self._frames.move_to_end(key)
            return self._frames.get(key)

    def put(self, key: tuple, frame: np.ndarray) -> None:
        with self._lock:
            if key not in self._frames and frame.nbytes <= self._limit:
                self._frames[key] = frame
                self._bytes += frame.nbytes
            while self._bytes > self._limit:
                self._bytes -= self._frames.popitem(last=False)[1].nbytes
