"""The functions of `elsewhere`, as they run in the other process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from convlstm.datasets.readers import Contents, Grid, Reader, recognise

import numpy as np


def to_record(of_file: Contents) -> dict[str, Any]:
    """Returns contents as plain values and arrays."""
    times = of_file.times.astype("datetime64[s]")
    event = None if of_file.event is None else np.asarray(of_file.event, np.int64)
    return {"times": times, "grid": of_file.grid.to_record(), "event": event}


def from_record(record: Mapping[str, Any]) -> Contents:
    """Returns the contents of a record of `to_record`."""
    return Contents(record["times"], Grid.of_record(record["grid"]), record["event"])


def format_of(path: Path, readers: Sequence[Reader]) -> Iterator[str]:
    """Yields the format of a file, or `""` if no reader recognises it."""
    reader = recognise(path, readers)
    yield "" if reader is None else reader.format


def contents(path: Path, reader: Reader) -> Iterator[dict[str, Any]]:
    """Yields the record of a file's contents."""
    yield to_record(reader.contents(path))


def read(path: Path, position: int, reader: Reader) -> Iterator[np.ndarray]:
    """Yields frame `position` of a file."""
    yield reader.read(path, position)
