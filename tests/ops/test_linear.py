"""Linear layers, with and without the CPU's kernel."""

from __future__ import annotations

from convlstm.ops.linear import linear
from tests.support.reference import close, normal

import mlx.core as mx
import numpy as np
import pytest

# Rows, inputs, outputs: whole tiles and panels, ragged ones, few rows, several blocks of the inner sum, and sums over
# more rows than are packed at a time.
SIZES = [((24, 64), 96), ((3, 5, 37), 51), ((2, 300), 16), ((7, 16), 33), ((1, 2, 1), 1), ((30_000, 40), 32)]


@pytest.mark.parametrize(("shape", "outputs"), SIZES)
@pytest.mark.parametrize("biased", [True, False])
def test_values_and_gradients_are_those_of_the_equation(shape, outputs, biased, kernels, rng):
    arrays = [normal(rng, shape), normal(rng, (outputs, shape[-1])), normal(rng, (outputs,))][: 3 if biased else 2]
    dy = normal(rng, (*shape[:-1], outputs))
    (y,), gradients = mx.vjp(linear, arrays, [dy])
    x, w, *b = (np.array(a, np.float64) for a in arrays)
    d = np.array(dy, np.float64)
    rows, drows = x.reshape(-1, shape[-1]), d.reshape(-1, outputs)
    expected = [x @ w.T + sum(b), d @ w, drows.T @ rows, drows.sum(0)]
    for actual, known in zip((y, *gradients), expected, strict=False):
        assert actual.shape == known.shape
        close(actual, known, 1e-5)


@pytest.mark.parametrize("algorithm", ["auto", "native"])
def test_an_array_that_is_not_contiguous(algorithm, kernels, rng):
    x, w = normal(rng, (48, 20)).T, normal(rng, (48, 40)).T
    close(linear(x, w, algorithm=algorithm), np.array(x) @ np.array(w).T, 1e-5)


def test_other_types_are_computed_by_mlx(rng):
    x, w = normal(rng, (4, 32)), normal(rng, (16, 32))
    assert linear(x.astype(mx.bfloat16), w.astype(mx.bfloat16)).dtype == mx.bfloat16


@pytest.mark.parametrize(
    "shapes", [((4, 3), (5, 4), (5,)), ((4, 3), (5, 3), (3,)), ((4, 3), (3,), (5,)), ((), (5, 3), (5,))]
)
def test_shapes_that_do_not_fit(shapes):
    with pytest.raises(ValueError, match=r"expected an input \(\.\.\., C\), a weight \(O, C\) and a bias \(O,\)"):
        linear(*map(mx.zeros, shapes))
