"""Checks of the members that products are made from."""

from __future__ import annotations

from typing import Any

import numpy as np


def checked(owner: str, members: Any) -> np.ndarray:
    """Returns the members as an array of floats, or raises ValueError if they are no numbers of (M, T, H, W)."""
    try:
        array = np.asarray(members)
    except ValueError as error:
        raise ValueError(f"[{owner}] 'members' must be of one size but got a ragged list: {error}") from error
    if array.dtype.kind not in "iufb" or array.ndim != 4 or 0 in array.shape:
        raise ValueError(
            f"[{owner}] 'members' must be numbers of shape (M, T, H, W) but got {array.dtype} of {array.shape}."
        )
    return array if array.dtype.kind == "f" else array.astype(np.float32)


def missing(frame: np.ndarray) -> np.ndarray:
    """Returns True where a pixel of members (M, H, W) is missing, (H, W)."""
    return np.isnan(frame).any(axis=0)
