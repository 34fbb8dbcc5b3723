"""Sums over periods in files of their own: those since the start of a forecast are no amounts of each frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from convlstm.datasets.readers.grid import Grid

import numpy as np


class FileOfSums(NamedTuple):
    """A file, the times of its frames and its grid."""

    name: str
    times: np.ndarray
    grid: Grid


def check_sums(owner: str, files: Iterable[FileOfSums]) -> None:
    """Raises ValueError if files of a single frame hold sums that begin at the same time and end at others.

    Args:
        owner: Class that reads the files, for the message.
        files: The files.
    """
    found: dict[tuple[str, int], tuple[str, np.datetime64]] = {}
    for name, times, grid in files:
        if len(times) != 1:  # its reader has compared its frames
            continue
        for field, minutes in _periods(grid).items():
            end = times.astype("datetime64[s]")[0]
            begin = int((end - np.timedelta64(round(60 * minutes), "s")).astype(np.int64))
            other, known = found.setdefault((field, begin), (name, end))
            if known != end:
                raise ValueError(
                    f"[{owner}] {other} and {name} hold sums of {field!r} of different length that begin at "
                    f"{np.datetime64(begin, 's')}, the start of a forecast or of a day. Put the sums into one file, as "
                    "'cat *.grib > all.grib' and xarray's open_mfdataset do, and have their differences taken: "
                    "reader.accumulated=since_start."
                )


def _periods(grid: Grid) -> Mapping[str, float]:
    """Returns the minutes of the sums in a file, by the name of the field."""
    return {field.name: field.minutes for field in grid.fields if field.minutes}
