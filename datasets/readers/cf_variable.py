"""One array of a file that keeps the conventions for climate and forecast metadata (CF), whatever the library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Variable:
    """One array of a file: its dimensions' names, its attributes, and a function that reads a part of it as stored."""

    dimensions: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype
    attributes: Mapping[str, Any]
    load: Callable[[Any], np.ndarray]
    chunks: tuple[int, ...] | None = None

    def text(self, name: str, default: str = "") -> str:
        """A text attribute."""
        return str(self.attributes.get(name, default)).strip()
