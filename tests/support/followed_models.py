"""Models whose forecasts can be followed by hand."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np


class Last(nn.Module):
    """A model that repeats the last frame, and keeps its inputs and their shapes."""

    def __init__(self, multiple=1, size=None):
        super().__init__()
        self.multiple, self.size, self.shapes = multiple, size, []
        self.given = None

    def check_input(self, inputs, horizon):
        size = inputs.shape[2:4]
        if size[0] % self.multiple or size[1] % self.multiple or (self.size and size != self.size):
            raise ValueError(f"no frames of {size[0]}x{size[1]}")

    def __call__(self, inputs, horizon):
        self.check_input(inputs, horizon)
        self.shapes.append(inputs.shape)
        self.given = np.array(inputs)
        return mx.repeat(inputs[:, -1:], horizon, axis=1)


class Drift(nn.Module):
    """A model that blurs and moves the last frame a little more with each lead time."""

    def __call__(self, inputs, horizon):
        frames, x = [], inputs[:, -1]
        for _ in range(horizon):
            x = (mx.roll(x, 1, axis=1) + x + mx.roll(x, 2, axis=2)) / 3
            frames.append(x)
        return mx.stack(frames, axis=1)
