"""Layouts of arrays in other programs and here."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Layout(NamedTuple):
    """A pair of functions that convert an array of another program to ours and back."""

    ours: Callable[[np.ndarray], np.ndarray]
    theirs: Callable[[np.ndarray], np.ndarray]


SAME = Layout(lambda a: a, lambda a: a)
# PyTorch's (O, C, kh, kw) and our (O, kh, kw, C). The comments below have the same order.
CONVOLUTION = Layout(lambda a: a.transpose(0, 2, 3, 1), lambda a: a.transpose(0, 3, 1, 2))
# (O, C, 1, 1) and (O, C).
POINTWISE = Layout(lambda a: a[:, :, 0, 0], lambda a: a[:, :, None, None])
# (C, 1, kh, kw) and (kh, kw, C).
DEPTHWISE = Layout(lambda a: a[:, 0].transpose(1, 2, 0), lambda a: a.transpose(2, 0, 1)[:, None])
# (C, H, W) and (H, W, C).
FRAME = Layout(lambda a: a.transpose(1, 2, 0), lambda a: a.transpose(2, 0, 1))
