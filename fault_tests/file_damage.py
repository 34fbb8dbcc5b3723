"""Kinds of damage to the content of a file, as disks, transfers and careless hands do."""

from __future__ import annotations

import bz2
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Callable, Sequence

import numpy as np

Harm = Callable[[bytes, np.random.Generator, Sequence[bytes]], bytes]
"""`harm(content, rng, others)` returns a damaged version of a file that is not empty; `others` are other files."""

HEAD = 2048
"""Bytes in which most headers are."""

_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)


def _place(content: bytes, rng: np.random.Generator) -> int:
    """Returns a place in a file, in three of four cases in its head."""
    return int(rng.integers(min(len(content), HEAD) if rng.random() < 0.75 else len(content)))


def _written(content: bytes, start: int, new: bytes) -> bytes:
    new = new[: len(content) - start]
    return content[:start] + new + content[start + len(new) :]


def _flipped(content: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    damaged = bytearray(content)
    for _ in range(int(2 ** rng.integers(7))):
        damaged[_place(content, rng)] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def _overwritten(content: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    return _written(content, _place(content, rng), rng.bytes(int(rng.integers(1, 65))))


def _cut(content: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    return content[: int(rng.integers(len(content)))]


def _doubled(content: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    return content + content


def _swapped(content: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    size = min(2 ** int(rng.integers(4, 12)), max(1, len(content) // 4))
    first, second = sorted(n * size for n in rng.integers(len(content) // size, size=2).tolist())
    a, b = content[first : first + size], content[second : second + size]
    return _written(_written(content, first, b), second, a)


def _extreme(content: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    """Sets a field of 1, 2, 4 or 8 bytes to a number at the end of some range."""
    size = int(2 ** rng.integers(4))
    value = int(_EXTREMES[rng.integers(len(_EXTREMES))]) & (256**size - 1)
    start = _place(content, rng) // size * size
    return _written(content, start, value.to_bytes(size, "little" if rng.random() < 0.5 else "big"))


def _digits(content: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    """Replaces a number that is written in digits, as in headers of text."""
    numbers = list(re.finditer(rb"\d+", content[:HEAD]))
    if not numbers:
        return _extreme(content, rng, others)
    number = numbers[int(rng.integers(len(numbers)))]
    new = (b"0", b"-1", b"9" * len(number[0]), b"9" * 30, b"1e400", b"NaN", b"")[int(rng.integers(7))]
    return content[: number.start()] + new + content[number.end() :]


def _zeroed(content: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    start = _place(content, rng)
    return _written(content, start, bytes(2 ** int(rng.integers(4, 14))))


def _emptied(content: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    return b""


def _inserted(content: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    start = _place(content, rng)
    return content[:start] + rng.bytes(int(rng.integers(1, 20))) + content[start:]


def _removed(content: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    start = _place(content, rng)
    return content[:start] + content[start + int(rng.integers(1, 20)) :]


def _other_head(content: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    other = others[int(rng.integers(len(others)))]
    return _written(content, 0, other[: int(2 ** rng.integers(3, 11))])


def _other_end(content: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    return content[: int(rng.integers(len(content)))] + others[int(rng.integers(len(others)))]


def looping(content: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    """Makes the lists of free space in an HDF5 file circles, which the HDF5 library, 2.0.0, follows for ever."""
    damaged, start = bytearray(content), -1
    while (start := content.find(b"HEAP", start + 1)) >= 0:
        place = content[start + 16 : start + 32]  # of the first free space, and of the space that it is in
        free, base = int.from_bytes(place[:8], "little"), int.from_bytes(place[8:], "little")
        if len(place) == 16 and base + free + 8 <= len(content):
            damaged[base + free : base + free + 8] = free.to_bytes(8, "little")
    return bytes(damaged)


HARMS: dict[str, Harm] = {
    "bits flipped": _flipped,
    "bytes overwritten": _overwritten,
    "cut off": _cut,
    "doubled": _doubled,
    "blocks swapped": _swapped,
    "a field at its extreme": _extreme,
    "another number": _digits,
    "zeros": _zeroed,
    "emptied": _emptied,
    "bytes inserted": _inserted,
    "bytes removed": _removed,
    "another file's head": _other_head,
    "another file's end": _other_end,
    "a list that is a circle": looping,
}
"""Kinds of damage. The last one concerns HDF5 only, where each costs the time limit of the readers."""

SHARES = (*[0.99 / (len(HARMS) - 1)] * (len(HARMS) - 1), 0.01)
"""Share of each kind among the tries."""


def harmed(content: bytes, harm: Harm, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    """Returns a damaged version of a file. In half of the packed files the damage is in what is packed."""
    if rng.random() < 0.5:
        if content[:2] == b"\x1f\x8b":
            return gzip.compress(harm(gzip.decompress(content), rng, others), mtime=0)
        if content[:3] == b"BZh":
            return bz2.compress(harm(bz2.decompress(content), rng, others))
        if content[:2] == b"PK":
            return _in_zip(content, harm, rng, others)
        if content[:8] == b"\x89PNG\r\n\x1a\n":
            return _in_png(content, harm, rng, others)
    return harm(content, rng, others)


def _in_zip(content: bytes, harm: Harm, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(buffer, "w") as target:
        parts = source.infolist()
        chosen = int(rng.integers(len(parts)))
        for number, part in enumerate(parts):
            data = source.read(part)
            target.writestr(part, harm(data, rng, others) if number == chosen and data else data)
    return buffer.getvalue()


def _in_png(content: bytes, harm: Harm, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    """Damages a part of a PNG and makes its checksum right, so that it is decoded."""
    parts, start = [], 8
    while start + 12 <= len(content):
        size = int.from_bytes(content[start : start + 4], "big")
        parts.append(content[start + 4 : start + 8 + size])
        start += size + 12
    chosen = int(rng.integers(len(parts)))
    if len(parts[chosen]) > 4:
        parts[chosen] = parts[chosen][:4] + harm(parts[chosen][4:], rng, others)
    packed = (len(p[4:]).to_bytes(4, "big") + p + zlib.crc32(p).to_bytes(4, "big") for p in parts)
    return content[:8] + b"".join(packed)
