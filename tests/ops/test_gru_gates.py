"""The gates of the ConvGRU and the TrajGRU, with and without the CPU's kernels."""

from __future__ import annotations

from convlstm.ops.gru_gates import gru_gates, reference_gru_gates
from tests.support.reference import close, normal

import mlx.core as mx
import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("kernels_for_winograd")
algorithms = pytest.mark.parametrize("algorithm", ["native", "winograd"])


@algorithms
@pytest.mark.parametrize("activation", ["leaky_relu", "tanh"])
@pytest.mark.parametrize("given", ["x, bx, by", "x, by", "bx, by", ""])
@pytest.mark.parametrize("shape", [(2, 5, 3, 4), (1, 1, 1, 1), (1, 7, 19, 33)])
def test_gates_equal_their_reference(algorithm, activation, given, shape, rng):
    O = shape[-1]
    arrays = {"y": (*shape[:-1], 3 * O), "h": shape, "x": (*shape[:-1], 3 * O), "bx": (3 * O,), "by": (3 * O,)}
    arrays = {name: normal(rng, s, 2) for name, s in arrays.items() if name in ("y", "h", *given.split(", "))}
    if "x" not in arrays:
        arrays.pop("bx", None)
    missing = dict.fromkeys({"x", "bx", "by"} - arrays.keys())
    drawn = normal(rng, shape)

    def run(gates, **options):
        def total(arrays):
            value = gates(**arrays, **missing, activation=activation, **options)
            return (drawn * value).sum(), value

        return mx.value_and_grad(total)(arrays)

    (_, value), gradients = run(gru_gates, algorithm=algorithm)
    (_, expected), reference = run(reference_gru_gates)
    close(value, expected, 1e-5)
    assert gradients.keys() == reference.keys()
    for name in reference:
        close(gradients[name], reference[name], 1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("activation", ["leaky_relu", "tanh"])
def test_gates_do_not_hide_nan_or_infinity(activation, value, rng):
    y, h = normal(rng, (1, 2, 2, 15)), normal(rng, (1, 2, 2, 5))
    y[0, 1, 0, 12] = value
    after = [np.array(gru_gates(None, y, h, None, None, activation, how)) for how in ("auto", "native")]
    np.testing.assert_allclose(*after, rtol=1e-5)
    if activation == "leaky_relu" or np.isnan(value):
        assert not np.isfinite(after[0][0, 1, 0, 2])
    assert np.isfinite(after[0]).sum() >= 19


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_gates_keep_the_type(dtype, rng):
    x, y, h, b = (normal(rng, (1, 2, 2, n)).astype(dtype) for n in (6, 6, 2, 6))
    value = gru_gates(x, y, h, b[0, 0, 0], None, "leaky_relu")
    assert value.dtype == dtype
    wide = [a.astype(mx.float32) for a in (x, y, h, b[0, 0, 0])]
    close(value.astype(mx.float32), reference_gru_gates(*wide, None, "leaky_relu"), 2e-2)
