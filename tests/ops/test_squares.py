"""Sums of squares: against NumPy, and the CPU's kernel beside MLX's own sum."""

from __future__ import annotations

from convlstm.ops.squares import sum_of_squares
from tests.support.reference import normal

import mlx.core as mx
import numpy as np
import pytest


@pytest.mark.parametrize("algorithm", ["auto", "native"])
@pytest.mark.parametrize("shape", [(), (1,), (15,), (3, 16), (17,), (0, 3), (5, 7, 1171), (100_003,)])
def test_equals_numpy(shape, algorithm, rng):
    x = normal(rng, shape)
    total = sum_of_squares(x, algorithm)
    assert (total.shape, total.dtype) == ((), mx.float32)
    np.testing.assert_allclose(total.item(), (np.array(x, np.float64) ** 2).sum(), rtol=1e-5)


@pytest.mark.parametrize("algorithm", ["auto", "native"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_what_is_not_finite_or_too_large_stays_so(value, algorithm):
    x = np.ones(9000, np.float32)
    x[8999] = value
    total = sum_of_squares(mx.array(x), algorithm).item()
    assert np.isnan(total) if np.isnan(value) else total == np.inf


def test_other_precisions_are_summed_in_float32():
    assert sum_of_squares(mx.full((4,), 300, mx.float16)).item() == 4 * 300**2
