"""Child processes that read files, kept from one test to the next: a start costs a quarter of a second, and more with
the libraries of a format."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from convlstm.backend import child_pool
from convlstm.backend.child_process import ChildProcess


@contextmanager
def kept_processes() -> Iterator[None]:
    """Keeps child processes inside a `with` block. One with other folders of modules than a test's is not used."""
    take, known = child_pool._take, _folders_of_modules()

    def fitting() -> ChildProcess:
        nonlocal known
        if (now := _folders_of_modules()) != known:
            known = now
            while child_pool._idle:
                child_pool._idle.pop().stop()
        return take()

    with child_pool.Hold(), mock.patch.object(child_pool, "_take", fitting):
        yield


def _folders_of_modules() -> list[str]:
    """Returns the folders that modules are imported from, without those that commands add and that hold none."""
    return [folder for folder in sys.path if any(Path(folder).glob("*.py"))]
