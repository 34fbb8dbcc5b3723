"""The frames of all files within a packed file, as one series."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from convlstm.datasets.readers.block_cache import identity
from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.packed import Member, lent, members_of

import numpy as np

if TYPE_CHECKING:
    from convlstm.datasets.readers.base import Contents, Reader

_HEAD = 4096


class _Series(NamedTuple):
    """The frames of a packed file: the files that have frames, and the number of the first frame of each."""

    contents: Contents
    members: tuple[Member, ...]
    firsts: np.ndarray


def contents_of(reader: Reader, path: Path) -> Contents:
    """Returns the times and the grid of all files within a packed file that a reader recognises.

    Raises:
        UnreadableError: If there are none, they have different grids, or one of them cannot be read.
    """
    return _series(reader, path, identity(path)).contents


def read_from(reader: Reader, path: Path, position: int) -> np.ndarray:
    """Returns frame `position` of the series of a packed file."""
    series = _series(reader, path, identity(path))
    if not 0 <= position < len(series.contents.times):
        raise IndexError(position)
    number = int(np.searchsorted(series.firsts, position, "right")) - 1
    with lent(path, series.members[number]) as file:
        return reader._read(file, position - int(series.firsts[number]))


# Cached, since the frames of a file are read one after the other.
@lru_cache(maxsize=64)
def _series(reader: Reader, path: Path, _: tuple[int, int]) -> _Series:
    all_members = members_of(path)
    found, members = [], []
    for member in all_members:
        with lent(path, member) as file:
            # What is packed alone is what the user has named; a .tar may have a list of its files, too.
            if len(all_members) > 1 and not reader.recognises(file, file.read_bytes()[:_HEAD]):
                continue
            try:
                found.append(reader._contents(file))
            except UnreadableError as error:
                if len(all_members) == 1:
                    raise
                raise UnreadableError(f"has a file {member.name!r} in it, which {error}") from error
            members.append(member)
    if not found:
        raise UnreadableError(f"has {len(all_members)} files in it, but none that is recognised as {reader.format}")
    for contents, member in zip(found, members, strict=True):
        if contents.grid != found[0].grid or contents.event is not None:
            raise UnreadableError(
                f"has a file {member.name!r} in it with another grid or other fields than {members[0].name!r}. Unpack "
                "it first"
            )
    counts = [len(contents.times) for contents in found]
    times = np.concatenate([contents.times for contents in found])
    return _Series(replace(found[0], times=times), tuple(members), np.cumsum([0, *counts[:-1]]))
