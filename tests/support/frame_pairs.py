"""Frames to score."""

import numpy as np


def pair(*shape, seed=0, dtype=np.float32):
    """Returns a forecast and the truth, random in [0, 1] and about 0.3 apart."""
    rng = np.random.default_rng(seed)
    target = rng.random(shape).astype(dtype)
    return (target + rng.normal(0, 0.3, shape)).astype(dtype), target
