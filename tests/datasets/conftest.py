"""Fixtures of the data sets' tests."""

from __future__ import annotations

from pathlib import Path

from convlstm.backend import child_pool
from convlstm.backend.child_process import NoChildError
from convlstm.datasets.readers import FORMATS
from convlstm.datasets.readers.png import PNG
from tests.support.radar_archives import Stack, write_pictures, write_stack

import numpy as np
import pytest


@pytest.fixture(scope="module", autouse=True)
def quick(readers_stay) -> None:
    """Applies `readers_stay` to all tests of data sets."""


@pytest.fixture(autouse=True)
def index_folder(tmp_path, monkeypatch) -> Path:
    """Folder of the stored indexes, one for each test."""
    monkeypatch.setenv("CONVLSTM_DATA", str(tmp_path / "data"))
    return tmp_path / "data" / "index"


@pytest.fixture
def stacks(monkeypatch) -> None:
    """Adds `Stack`, files of many frames, to the known formats."""
    monkeypatch.setitem(FORMATS, "stack", Stack())


@pytest.fixture
def stack(tmp_path, stacks) -> Path:
    """100 frames of 24 x 24. Every pixel of every frame has its own value, and the first rows are missing."""
    values = np.linspace(0.1, 90, 100 * 24 * 24).reshape(100, 24, 24)
    values[:, :4] = np.nan
    return write_stack(tmp_path / "storm.stack", values)


@pytest.fixture
def pictures(tmp_path) -> Path:
    """A folder of 40 pictures without any problem."""
    write_pictures(tmp_path / "radar", 40)
    return tmp_path / "radar"


@pytest.fixture
def in_this_process(monkeypatch) -> None:
    """Lets no other process be started, so that changes of the readers have an effect."""

    def refuse():
        raise NoChildError("not in this test")

    monkeypatch.setattr(child_pool, "_take", refuse)
    monkeypatch.setattr(child_pool, "_warned", True)


@pytest.fixture
def reads(monkeypatch, in_this_process) -> list[str]:
    """The names of all PNG files whose headers or frames are read, once for each time."""
    names: list[str] = []
    for method in ("_contents", "_read"):
        real = getattr(PNG, method)
        monkeypatch.setattr(
            PNG, method, lambda self, path, *at, real=real: names.append(path.name) or real(self, path, *at)
        )
    return names
