"""The step of a model among the frames of an archive: every n-th frame, or a number of months."""

from __future__ import annotations

import math

from convlstm.datasets.calendar_steps import months_of, on_months

import numpy as np

STEP = 0.05
"""Share by which a step may differ from a multiple of the archive's."""


def multiple(whole: float, part: float, tolerance: float) -> int | None:
    """Returns how many parts make the whole, or None if it is not a multiple of them."""
    count = round(whole / part)
    return count if count >= 1 and abs(whole / part / count - 1) <= tolerance else None


def has_step(own: float, wanted: float, times: np.ndarray) -> bool:
    """Returns True if frames `own` minutes apart have a step of `wanted` minutes, also one of other months.

    Args:
        own: Minutes between the frames.
        wanted: Minutes of the step, such as that of training.
        times: Times of the frames, datetime64[s] of (F,).
    """
    if multiple(wanted, own, STEP):
        return True
    # 31 days and 28 are both a month.
    months, known = months_of(wanted), months_of(own)
    return on_months(times) and months > 0 and known > 0 and months % known == 0


def left_out(own: float, least: float) -> int:
    """Returns the number of frames to leave out between two, so that they are at least `least` minutes apart."""
    return math.ceil(least / own * (1 - STEP)) - 1 if own < least else 0
