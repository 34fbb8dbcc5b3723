"""Smooth fields of rain cells with known motion."""

from __future__ import annotations

import convlstm  # noqa: F401  before mlx.core, so that the tests run with a fast BLAS

import mlx.core as mx
import numpy as np

SIZE = (96, 128)


def grid(size=SIZE):
    """Returns the rows and the columns of all pixels."""
    return np.meshgrid(*(np.arange(n, dtype=np.float64) for n in size), indexing="ij")


def cells(y, x, seed=0, number=60, width=(4, 9)):
    """Returns a smooth field of many rain cells at the positions (y, x), also far outside the frame."""
    rng = np.random.default_rng(seed)
    field = np.zeros(np.broadcast_shapes(y.shape, x.shape))
    for cy, cx, s, a in zip(
        rng.uniform(-60, SIZE[0] + 60, number),
        rng.uniform(-60, SIZE[1] + 60, number),
        rng.uniform(*width, number),
        rng.uniform(0.2, 1, number),
        strict=True,
    ):
        field += a * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * s**2))
    return field


def moving(dy, dx, frames=4, **arguments):
    """Returns (1, T, H, W, 1): the field, moved by (dy, dx) from frame to frame."""
    y, x = grid()
    return mx.array(np.stack([cells(y - t * dy, x - t * dx, **arguments) for t in range(frames)])[None, ..., None])


def inner(flow, margin=16):
    """Returns a flow without its margins."""
    return np.array(flow)[:, margin:-margin, margin:-margin]
