"""Frames to draw."""

import numpy as np


def frames(t_in=10, horizon=10, size=(16, 16), channels=1, names=("model",), lead=()):
    rng = np.random.default_rng(0)
    inputs = rng.random((*lead, t_in, *size, channels), dtype=np.float32)
    targets = rng.random((*lead, horizon, *size, channels), dtype=np.float32)
    return inputs, targets, {name: np.clip(targets + 0.1 * k, 0, 1) for k, name in enumerate(names, 1)}
