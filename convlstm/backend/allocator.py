"""Memory that training frees and asks for again, kept by the process."""

from __future__ import annotations

import ctypes
import os
import platform

# From malloc.h of the GNU C library.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8


def keep_freed_memory() -> bool:
    """Tells the GNU C library not to hand freed memory back to the system at once; returns whether it did.

    MLX's CPU back end frees and allocates its arrays at every operation. By default each large one is mapped anew, and
    the system clears its pages at first touch: a fifth of the time of a small training step. The threads share one
    arena, since memory that one thread freed is not offered to another otherwise. Nothing happens on other systems, or
    where one of the MALLOC_ variables of the environment is set.
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
