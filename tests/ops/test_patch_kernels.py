"""Frames filtered by kernels of each patch: against a sum over pixels, and the CPU's kernel against the plain form."""

from __future__ import annotations

import math
import re

from convlstm.ops.patch_kernels import filter_patches
from tests.support.reference import close, normal

import mlx.core as mx
import numpy as np
import pytest

SHAPES = [
    ((2, 8, 12, 1), (4, 3), 3),
    ((1, 6, 6, 3), (6, 6), 5),
    ((2, 4, 10, 2), (2, 5), 1),
    ((1, 4, 4, 1), (1, 2), 7),
]
cases = pytest.mark.parametrize(("shape", "grid", "side"), SHAPES)


def slow(x, kernels, circular):
    """Returns `filter_patches` as its equation states it."""
    N, H, W, C = x.shape
    rows, columns, K = *kernels.shape[1:3], round(kernels.shape[-1] ** 0.5)
    p, q = H // rows, W // columns
    y = np.zeros((N, rows, columns, p, q, C))
    for n, i, j in np.ndindex(N, H, W):
        kernel = kernels[n, i * rows // H, j * columns // W].reshape(K, K)
        for a, b in np.ndindex(K, K):
            row, column = i + a - K // 2, j + b - K // 2
            column = column % W if circular else column
            if 0 <= row < H and 0 <= column < W:
                y[n, i // p, j // q, i % p, j % q] += kernel[a, b] * x[n, row, column]
    return y.reshape(N, rows, columns, -1)


@cases
@pytest.mark.parametrize("circular", [False, True])
@pytest.mark.parametrize("algorithm", ["auto", "native"])
def test_equals_the_slow_form(shape, grid, side, circular, algorithm, rng):
    x, kernels = normal(rng, shape), normal(rng, (shape[0], *grid, side**2))
    expected = slow(np.array(x), np.array(kernels), circular)
    close(filter_patches(x, kernels, algorithm, circular=circular), expected, 1e-5)


@cases
@pytest.mark.parametrize("circular", [False, True])
def test_gradients_of_the_kernel_are_those_of_the_plain_form(shape, grid, side, circular, kernels, rng):
    x, weights = normal(rng, shape), normal(rng, (shape[0], *grid, side**2))
    dy = normal(rng, (shape[0], *grid, math.prod(shape[1:]) // math.prod(grid)))
    _, ours = mx.vjp(lambda x, w: filter_patches(x, w, circular=circular), [x, weights], [dy])
    _, plain = mx.vjp(lambda x, w: filter_patches(x, w, "native", circular=circular), [x, weights], [dy])
    for actual, expected in zip(ours, plain, strict=True):
        close(actual, expected, 1e-5)


@pytest.mark.parametrize(
    "shape", [(1, 2, 3, 8), (2, 2, 3, 9), (1, 3, 3, 9), (1, 2, 4, 9), (1, 2, 3, 4), (1, 2, 3, 1, 9)]
)
def test_kernels_that_do_not_fit_are_refused(shape):
    text = f"an odd square of values for each patch of the frames of shape (1, 4, 6, 1) but got shape {shape}."
    with pytest.raises(ValueError, match=re.escape(text)):
        filter_patches(mx.zeros((1, 4, 6, 1)), mx.zeros(shape))
