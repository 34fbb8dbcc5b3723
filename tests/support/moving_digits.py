"""Moving-MNIST of digits that tests can follow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from convlstm.datasets.digits import Digits
from convlstm.datasets.moving_mnist import MovingMNIST

import numpy as np


def flat(values: Sequence[int], side: int = 28) -> np.ndarray:
    """Returns digits that are full squares, each of one value."""
    return np.broadcast_to(np.array(values, np.uint8)[:, None, None], (len(values), side, side)).copy()


# Value 1 to 100 for training and validation, 201 to 250 for tests.
SQUARES = Digits(flat(range(1, 101)), flat(range(201, 251)))
DOT = Digits(flat([255, 255], side=1), flat([255, 255], side=1))


def small(**settings: Any) -> MovingMNIST:
    """Returns a data set of squares of 8 pixels in frames of 32, unless `settings` say otherwise."""
    return MovingMNIST(**{"digits": SQUARES, "frame_size": 32, "digit_size": 8, "root": "absent", **settings})


def frames(data: MovingMNIST, split: str = "train", index: int = 0, **settings: int) -> np.ndarray:
    """Returns the frames of a sequence, (T, H, W)."""
    sample = data.sample(split, index, **settings)
    return np.concatenate([sample["inputs"], sample["targets"]])[..., 0]


def equal(one: Iterable[dict[str, np.ndarray]], other: Iterable[dict[str, np.ndarray]]) -> bool:
    """Returns True if two lists of batches are not empty and have the same arrays."""
    same = [
        a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a) for a, b in zip(one, other, strict=True)
    ]
    return bool(same) and all(same)
