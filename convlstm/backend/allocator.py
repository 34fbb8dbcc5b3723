"""A setting of the C library: freed memory stays with the process, for its next allocations."""

from __future__ import annotations

import ctypes
import os
import platform

# From malloc.h of the GNU C library.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8


def keep_freed_memory() -> bool:
    """Tells the GNU C library to keep freed memory instead of returning it to the system. Returns True if it did.

    MLX's CPU backend frees and allocates its arrays at every operation. By default each large array is mapped anew, and
    the system clears its pages at first touch, which takes a fifth of the time of a small training step. All threads
    share one arena; otherwise memory freed by one thread would not be offered to another. It does nothing on other
    systems, or if the environment has a variable whose name begins with MALLOC_.
    """
    if platform.system() != "Linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    settings = {_MMAP_THRESHOLD: 1 << 30, _TRIM_THRESHOLD: (1 << 31) - 1, _TOP_PAD: 64 << 20, _ARENA_MAX: 1}
    done = [mallopt(name, value) for name, value in settings.items()]
    return all(done)
