"""Arrays in safetensors files, whose headers are checked before they are used."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convlstm.backend.files import DurableFile

import mlx.core as mx
from mlx.utils import tree_flatten

LONGEST_HEADER = 16 << 20
MOST_AXES = 32
# Bytes of an element, by type.
SIZES = {"BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2, "U32": 4, "I32": 4, "F32": 4}
SIZES |= {"U64": 8, "I64": 8, "F64": 8, "C64": 8}


class TensorFileError(ValueError):
    """A file is not a complete safetensors file."""


def named(tree: Any) -> dict[str, mx.array]:
    """Returns the arrays of a tree by their names in a file."""
    return tree_flatten(tree, destination={})  # type: ignore[return-value]


def write(file: DurableFile, arrays: Mapping[str, mx.array]) -> None:
    """Writes arrays sorted by name, so that equal arrays give equal files."""
    mx.save_safetensors(file, dict(sorted(arrays.items())))  # type: ignore[arg-type]


def read(path: Path) -> dict[str, mx.array]:
    """Returns the arrays of a file by name.

    Raises:
        TensorFileError: The file is incomplete or damaged.
        OSError: The file cannot be read.
    """
    check(path)
    try:
        arrays: dict[str, mx.array] = mx.load(str(path), format="safetensors")  # type: ignore[assignment]
        mx.eval(arrays)
    except (RuntimeError, ValueError) as error:
        raise TensorFileError(str(error)) from error
    return arrays


def check(path: Path) -> None:
    """Raises TensorFileError unless a file's header describes each of the following bytes exactly once."""
    with path.open("rb") as file:
        size = path.stat().st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, LONGEST_HEADER):
            raise TensorFileError(f"it has {size:,} bytes, and a header of {length:,}")
        text = file.read(length)
    try:
        header = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise TensorFileError(f"its header is no JSON ({error})") from error
    if not isinstance(header, dict):
        raise TensorFileError("its header lists no arrays")
    header.pop("__metadata__", None)
    spans = sorted(_span(name, entry) for name, entry in header.items())
    position = 0
    for begin, end, name in spans:
        if begin != position:
            raise TensorFileError(f"its array {name!r} begins at byte {begin:,} of the data and not at {position:,}")
        position = end
    if position != size - 8 - length:
        raise TensorFileError(f"it has {size - 8 - length:,} bytes of data but its header describes {position:,}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns the entries of a JSON object, or raises ValueError if a name appears twice."""
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise ValueError("a name appears twice")
    return entries


def _span(name: str, entry: Any) -> tuple[int, int, str]:
    """Returns the begin and end of an array in the data, and its name."""
    if name.isprintable() and isinstance(entry, dict) and set(entry) == {"dtype", "shape", "data_offsets"}:
        shape, span, kind = entry["shape"], entry["data_offsets"], entry["dtype"]
        numbers = all(
            isinstance(list_, list) and all(type(n) is int and 0 <= n < 2**63 for n in list_) for list_ in (shape, span)
        )
        has_size = isinstance(kind, str) and kind in SIZES
        if numbers and has_size and len(span) == 2 and len(shape) <= MOST_AXES and all(n < 2**31 for n in shape):
            begin, end = span
            if end - begin == math.prod(shape) * SIZES[kind]:
                return begin, end, name
    raise TensorFileError(f"its header describes no array with {name[:80]!r}: {str(entry)[:160]!r}")
