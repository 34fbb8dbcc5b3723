"""A cache of arrays in memory, bounded by their size."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np


class ArrayCache:
    """The most recently used arrays, up to a number of bytes. Several threads may share one.

    Args:
        limit: Bytes to keep in total.
        least: Number of arrays to keep even if they are larger than `limit`. Default: 0.
    """

    def __init__(self, limit: int, least: int = 0):
        self._limit, self._least, self._bytes = limit, least, 0
        self._arrays: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def room(self) -> int:
        """Bytes that can be added before arrays are dropped."""
        return max(0, self._limit - self._bytes)

    def get(self, key: Hashable, load: Callable[[], np.ndarray]) -> np.ndarray:
        """Returns the array of `key`, loading it if it is not in the cache. The array is shared and read-only."""
        array = self.find(key)
        # Outside the lock: two threads may load the same array, but neither waits for another's.
        return self.put(key, load()) if array is None else array

    def find(self, key: Hashable) -> np.ndarray | None:
        """Returns the array of `key`, or None if it is not in the cache."""
        with self._lock:
            if key not in self._arrays:
                return None
            self._arrays.move_to_end(key)
            return self._arrays[key]

    def put(self, key: Hashable, array: np.ndarray) -> np.ndarray:
        """Keeps an array, which becomes read-only, and returns it."""
        array.setflags(write=False)
        with self._lock:
            if key in self._arrays:
                self._bytes -= self._arrays.pop(key).nbytes
            self._arrays[key] = array
            self._bytes += array.nbytes
            while self._bytes > self._limit and len(self._arrays) > self._least:
                self._bytes -= self._arrays.popitem(last=False)[1].nbytes
        return array
