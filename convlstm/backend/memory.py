"""Whether a model can be trained within the memory of this machine at all."""

from __future__ import annotations

import os
from typing import Any

import mlx.nn as nn
from mlx.utils import tree_flatten

TRAINED = 4 * 4
"""Bytes of a parameter: float32, its gradient and the two moments of Adam."""


def memory() -> int:
    """Bytes of memory that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_parameters(model: nn.Module, bytes_each: int = TRAINED) -> None:
    """ValueError where the parameters alone are more than the memory holds; nothing is computed for it."""
    arrays: Any = tree_flatten(model.parameters())
    number = sum(array.size for _, array in arrays)
    if number * bytes_each > memory():
        raise ValueError(
            f"the model has {number:,} parameters, which take {number * bytes_each / 1e9:,.0f} GB, but this machine "
            f"has {memory() / 1e9:,.0f} GB of memory. Choose fewer channels or smaller kernels."
        )
