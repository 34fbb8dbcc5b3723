"""Decoded blocks of files that do not give a single frame cheaply, kept for the next frames of the same block."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np


class Kept:
    """The arrays used last, up to a number of bytes; several threads may use it.

    Args:
        size: Bytes to keep in all.
    """

    def __init__(self, size: int):
        self._size = size
        self._arrays: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, load: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of ``key``, from ``load`` if it is not kept. It is shared: not to be written to."""
        with self._lock:
            array = self._arrays.get(key)
            if array is not None:
                self._arrays.move_to_end(key)
                return array
        # Without the lock: two threads may load the same block, but none waits for another's.
        array = load()
        array.setflags(write=False)
        with self._lock:
            self._arrays[key] = array
            while len(self._arrays) > 1 and sum(kept.nbytes for kept in self._arrays.values()) > self._size:
                self._arrays.popitem(last=False)
        return array


# One for all formats, so that there is one bound.
BLOCKS = Kept(256 << 20)
# A block above this is not decoded for the sake of one frame.
LARGEST_BLOCK = 64 << 20
