"""One array of a CF file, whichever library reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Variable:
    """One array of a file: the names of its dimensions, its attributes, and a function that reads a part as stored."""

    dimensions: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype
    attributes: Mapping[str, Any]
    load: Callable[[Any], np.ndarray]
    chunks: tuple[int, ...] | None = None

    def text(self, name: str, default: str = "") -> str:
        """Returns a text attribute."""
        return str(self.attributes.get(name, default)).strip()
