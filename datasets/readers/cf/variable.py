"""One array of a CF file, whichever library reads it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from convlstm.datasets.readers.errors import UnreadableError
from convlstm.datasets.readers.limits import check_bytes

import numpy as np

# Chunks that one read may touch: even missing ones take a moment each.
_MOST_CHUNKS = 200_000


@dataclass(frozen=True)
class Variable:
    """One array of a file: the names of its dimensions, its attributes, and a function that reads a part as stored."""

    name: str
    dimensions: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype
    attributes: Mapping[str, Any]
    load: Callable[[Any], np.ndarray]
    chunks: tuple[int, ...] | None = None

    def text(self, name: str, default: str = "") -> str:
        """Returns a text attribute."""
        return str(self.attributes.get(name, default)).strip()

    def read(self, *index: int | slice) -> np.ndarray:
        """Returns a part of the array as stored: at these indices of the first dimensions, all of it without any.

        Raises:
            UnreadableError: If the array has neither numbers nor dates, or the part, or one of its chunks, is too large
                to be read in one piece. Nothing is read then.
        """
        if self.dtype.kind not in "iufbMm":
            raise UnreadableError(f"has {self.name!r} of the type {self.dtype}, where numbers or dates are expected")
        parts = [len(range(size)[i]) if isinstance(i, slice) else 1 for i, size in zip(index, self.shape, strict=False)]
        sides = [*parts, *self.shape[len(parts) :]]
        check_bytes(f"{self.name!r} of {_product(sides)}", math.prod(sides) * self.dtype.itemsize)
        if self.chunks:
            check_bytes(
                f"{self.name!r} in chunks of {_product(self.chunks)}", math.prod(self.chunks) * self.dtype.itemsize
            )
            touched = math.prod(-(-side // chunk) for side, chunk in zip(sides, self.chunks, strict=True))
            if touched > _MOST_CHUNKS:
                raise UnreadableError(f"has {self.name!r} in {touched:,} chunks, of which {_MOST_CHUNKS:,} can be read")
        return np.asarray(self.load(index if index else ...))

    def decoded(self) -> np.ndarray:
        """Returns the whole array as float64, after `scale_factor` and `add_offset`."""
        scale, offset = (float(self.attributes.get(name, n)) for name, n in (("scale_factor", 1), ("add_offset", 0)))
        return np.asarray(self.read(), np.float64) * scale + offset


def _product(sides: Any) -> str:
    return " x ".join(map(str, sides)) or "1"
