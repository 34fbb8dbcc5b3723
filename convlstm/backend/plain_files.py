"""Reading of files that a stranger may have made: plain files of limited size, with plain values of limited depth."""

from __future__ import annotations

import copy
import functools
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import yaml

# Limits on what a stranger's text may hold: levels of nesting, bits of a whole number.
DEEPEST = 50
MOST_BITS = 512
_KINDS = {
    stat.S_IFLNK: "a link to somewhere else",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class RefusedFileError(ValueError):
    """A file is not read, since it is a link, a pipe or a device, or too large. The text goes on from its name."""


def open_plain(path: Path) -> BinaryIO:
    """Opens a plain file to read bytes. It follows no link, and waits for no pipe.

    Raises:
        OSError: The file does not exist, or may not be read.
        RefusedFileError: It is something else than a plain file.
    """
    _check_plain(path.lstat().st_mode)
    # If something else has just taken the file's place, it is neither followed nor waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        _check_plain(os.fstat(descriptor).st_mode)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: Path, most: int) -> bytes:
    """Returns the content of a plain file.

    Args:
        path: The file; a link is not followed.
        most: Largest size in bytes.

    Raises:
        OSError: The file does not exist, or cannot be read.
        RefusedFileError: It is no plain file, or larger than `most`.
    """
    with open_plain(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size <= most:
            return file.read(size)  # not to its end, since it may grow meanwhile
    raise RefusedFileError(f"it is longer than {most:,} bytes")


def parse_json(content: bytes | str) -> Any:
    """Returns the value of a JSON text.

    Raises:
        ValueError: The text is no JSON, or breaks a limit of this module.
    """
    try:
        value = json.loads(content)
    except RecursionError as error:
        raise ValueError(f"it nests more than {DEEPEST} levels deep") from error
    _check_value(value)
    return value


def parse_yaml(text: str) -> Any:
    """Returns the value of a YAML text of plain values, without references.

    Raises:
        ValueError: The text is no YAML, or breaks a limit of this module.
    """
    try:
        return copy.deepcopy(_parsed_yaml(text))
    except Exception as error:  # of any class: PyYAML's constructors raise various ones
        raise ValueError(str(error) or type(error).__name__) from error


@functools.lru_cache(maxsize=8)  # a command reads a checkpoint's configuration several times, each in 20 ms
def _parsed_yaml(text: str) -> Any:
    _check_events(text)
    value = yaml.safe_load(text)
    _check_value(value)
    return value


def _check_plain(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise RefusedFileError(f"it is {_KINDS.get(stat.S_IFMT(mode), 'something else')}, not a plain file")


def _check_events(text: str) -> None:
    """Raises ValueError if a text has references or deep nesting, which cost more memory than its length suggests."""
    depth = 0
    for event in yaml.parse(text):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("it holds references (*name)")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError(f"it nests more than {DEEPEST} levels deep")


def _check_value(value: Any) -> None:
    """Raises ValueError if a value nests too deep, or has numbers or keys that cannot be written as JSON."""
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [item for parent in level for item in _items(parent)]
        if not level:
            return
    raise ValueError(f"it nests more than {DEEPEST} levels deep")


def _items(value: Any) -> Iterator[Any]:
    """Yields the items of a container, after a check of the value itself."""
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        raise ValueError(f"it holds a whole number of more than {MOST_BITS} bits")
    if isinstance(value, Mapping):
        if not all(key is None or isinstance(key, str | int | float) for key in value):
            raise ValueError("it holds a key that is neither text nor a number")
        yield from value
        yield from value.values()
    elif isinstance(value, list | tuple | set):
        yield from value
