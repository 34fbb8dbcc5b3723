"""Arrays in safetensors files, whose headers are checked before anything believes them."""

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
# Bytes of an element.
SIZES = {"BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2, "U32": 4, "I32": 4, "F32": 4}
SIZES |= {"U64": 8, "I64": 8, "F64": 8, "C64": 8}


class TensorFileError(ValueError):
    """A file is not a whole safetensors file."""


def named(tree: Any) -> dict[str, mx.array]:
    """The arrays of a tree by their names in a file."""
    return tree_flatten(tree, destination={})  # type: ignore[return-value]


def write(file: DurableFile, arrays: Mapping[str, mx.array]) -> None:
    """Writes arrays by name, sorted, so that the same arrays are the same file."""
    mx.save_safetensors(file, dict(sorted(arrays.items())))  # type: ignore[arg-type]


def read(path: Path) -> dict[str, mx.array]:
    """The arrays of a file by name; TensorFileError where it is not whole, OSError where it cannot be read."""
    check(path)
    try:
        arrays: dict[str, mx.array] = mx.load(str(path), format="safetensors")  # type: ignore[assignment]
        mx.eval(arrays)
    except (RuntimeError, ValueError) as error:
        raise TensorFileError(str(error)) from error
    return arrays


def check(path: Path) -> None:
    """TensorFileError where the header of a file does not describe the bytes that follow it, all of them and once."""
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
    place = 0
    for begin, end, name in spans:
        if begin != place:
            raise TensorFileError(f"its array {name!r} begins at byte {begin:,} of the data and not at {place:,}")
        place = end
    if place != size - 8 - length:
        raise TensorFileError(f"it has {size - 8 - length:,} bytes of data where its header describes {place:,}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name appears twice")
    return found


def _span(name: str, entry: Any) -> tuple[int, int, str]:
    """Begin and end of an array in the data, and its name."""
    if name.isprintable() and isinstance(entry, dict) and set(entry) == {"dtype", "shape", "data_offsets"}:
        shape, span, kind = entry["shape"], entry["data_offsets"], entry["dtype"]
        numbers = all(
            isinstance(list_, list) and all(type(n) is int and 0 <= n < 2**63 for n in list_) for list_ in (shape, span)
        )
        kept = isinstance(kind, str) and kind in SIZES
        if numbers and kept and len(span) == 2 and len(shape) <= MOST_AXES and all(n < 2**31 for n in shape):
            begin, end = span
            if end - begin == math.prod(shape) * SIZES[kind]:
                return begin, end, name
    raise TensorFileError(f"its header describes no array with {name[:80]!r}: {str(entry)[:160]!r}")
