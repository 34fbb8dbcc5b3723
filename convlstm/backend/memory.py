"""The memory of this machine, and checks that something fits into it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import mlx.nn as nn

TRAINED = 4 * 4
"""Bytes that training needs for a parameter: float32, its gradient and the two moments of Adam."""


def memory() -> int:
    """Returns the bytes of memory that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_memory(owner: str, item: str, needed: int, remedy: str = "Choose smaller values.") -> None:
    """Raises ValueError if an item, such as an array, would take more memory than this machine has.

    Args:
        owner: Class or function that needs the memory, for the message.
        item: Text that names the item; the arguments that decide its size stand in quotes.
        needed: Bytes.
        remedy: What to do. Default: smaller values.
    """
    if needed > (available := memory()):
        raise ValueError(
            f"[{owner}] {item} would take {needed / 1e9:,.0f} GB of memory but this machine has "
            f"{available / 1e9:,.0f} GB. {remedy}"
        )


def check_parameters(model: nn.Module, bytes_each: int = TRAINED) -> None:
    """Raises ValueError if a model's parameters alone need more than the memory. Nothing is computed.

    Args:
        model: The model.
        bytes_each: Bytes for each parameter. Default: `TRAINED`.
    """
    from mlx.utils import tree_flatten  # here, so that the data sets can use this module without MLX

    arrays: Any = tree_flatten(model.parameters())
    number = sum(array.size for _, array in arrays)
    if number * bytes_each > memory():
        raise ValueError(
            f"the model has {number:,} parameters, which take {number * bytes_each / 1e9:,.0f} GB, but this machine "
            f"has {memory() / 1e9:,.0f} GB of memory. Choose fewer channels or smaller kernels."
        )
