"""Fields read along flows, with and without the CPU's kernel."""

from __future__ import annotations

import re

from convlstm.ops.warp import reference_warp, warp, warp_product
from tests.support.reference import close, normal

import mlx.core as mx
import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("kernels_for_winograd")
algorithms = pytest.mark.parametrize("algorithm", ["native", "winograd"])


def identity_product(h, flow, algorithm):
    """Returns `warp` by `warp_product`."""
    return warp_product(h, flow, mx.eye(flow.shape[3] // 2 * h.shape[3]), algorithm)


def flows(*pairs):
    """Returns a constant flow (1, 2, 3, 2L) for each of the pairs."""
    return mx.broadcast_to(mx.array([value for pair in pairs for value in pair]), (1, 2, 3, 2 * len(pairs)))


@algorithms
@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        ((0.0, 0.0), [[1, 2, 3], [4, 5, 6]]),
        # The content has come down by a row, then right by a column.
        ((1.0, 0.0), [[0, 0, 0], [1, 2, 3]]),
        ((0.0, 1.0), [[0, 1, 2], [0, 4, 5]]),
        ((-1.0, -2.0), [[6, 0, 0], [0, 0, 0]]),
        ((0.0, 0.25), [[0.75, 1.75, 2.75], [3, 4.75, 5.75]]),
        ((0.5, 0.0), [[0.5, 1, 1.5], [2.5, 3.5, 4.5]]),
        ((-0.5, -0.5), [[3, 4, 2.25], [2.25, 2.75, 1.5]]),
        ((1e9, 0.0), [[0, 0, 0], [0, 0, 0]]),
        ((0.0, -1e30), [[0, 0, 0], [0, 0, 0]]),
    ],
)
def test_warp_of_known_values(algorithm, pair, expected):
    h = mx.array([[1.0, 2, 3], [4, 5, 6]]).reshape(1, 2, 3, 1)
    for field in (warp(h, flows(pair)), identity_product(h, flows(pair), algorithm)):
        assert field[0, ..., 0].tolist() == expected


@algorithms
def test_links_come_one_after_the_other(algorithm, rng):
    h = normal(rng, (1, 2, 3, 2))
    expected = mx.concatenate([h, warp(h, flows((1.0, 0.0)))], axis=-1)
    assert mx.array_equal(warp(h, flows((0.0, 0.0), (1.0, 0.0))), expected)
    assert mx.array_equal(identity_product(h, flows((0.0, 0.0), (1.0, 0.0)), algorithm), expected)


# Channels and grids that fill vectors, blocks of pixels and panels, and others.
@pytest.mark.parametrize(
    "sizes", [(2, 5, 7, 3, 4, 9), (1, 23, 25, 16, 3, 48), (2, 3, 2, 33, 2, 7), (1, 3, 6, 1, 1, 1), (1, 8, 20, 1, 16, 3)]
)
@pytest.mark.parametrize("algorithm", ["warp", "native", "winograd"])
def test_values_and_gradients_equal_the_reference(algorithm, sizes, rng):
    N, H, W, O, L, M = sizes
    h, flow, weight = normal(rng, (N, H, W, O)), normal(rng, (N, H, W, 2 * L), 2), normal(rng, (M, L * O))
    drawn = normal(rng, (N, H, W, M))

    def run(product):
        def total(*given):
            value = product(*given)
            return (drawn * value).sum(), value

        (_, value), gradients = mx.value_and_grad(total, argnums=(0, 1, 2))(h, flow, weight)
        return value, *gradients

    ours = {
        "warp": lambda h, flow, weight: warp(h, flow) @ weight.T,
        "native": lambda *given: warp_product(*given, "native"),
        "winograd": lambda *given: warp_product(*given, "winograd"),
    }
    expected = run(lambda h, flow, weight: reference_warp(h, flow) @ weight.T)
    for actual, value in zip(run(ours[algorithm]), expected, strict=True):
        assert np.abs(value).max() > 1e-2
        close(actual, value, 5e-6)


def test_gradients_equal_differences(rng):
    h, flow = normal(rng, (1, 4, 5, 2)), normal(rng, (1, 4, 5, 4))
    drawn = normal(rng, (1, 4, 5, 4))
    gradients = mx.grad(lambda h, flow: (drawn * warp(h, flow)).sum(), argnums=(0, 1))(h, flow)
    for n, gradient in enumerate(gradients):
        for _ in range(8):
            given, place = [np.array(h), np.array(flow)], tuple(rng.integers(0, s) for s in gradient.shape)
            sides = []
            for step in (1e-3, -1e-3):
                moved = [a.copy() for a in given]
                moved[n][place] += step
                sides.append((drawn * warp(*map(mx.array, moved))).sum().item())
            assert abs((sides[0] - sides[1]) / 2e-3 - gradient[place].item()) < 2e-2


@algorithms
def test_nan_in_a_flow_reaches_its_pixel(algorithm, rng):
    h, flow = normal(rng, (1, 4, 5, 2)), normal(rng, (1, 4, 5, 4))
    for value in (np.nan, np.inf):
        flow[0, 1, 2, 2] = value
        field = np.array(identity_product(h, flow, algorithm))
        assert np.isnan(field[0, 1, 2]).any()
        assert np.isfinite(field).sum() >= field.size - 4


def test_half_precision_does_not_shift_positions(rng):
    # bfloat16 cannot represent 301.5: positions are computed in float32.
    h = normal(rng, (1, 1, 400, 1)).astype(mx.bfloat16)
    field = warp(h, mx.broadcast_to(mx.array([0.0, 0.5]), (1, 1, 400, 2)).astype(mx.bfloat16))
    assert field.dtype == mx.bfloat16
    wide = h.astype(mx.float32)[0, 0, :, 0]
    close(field[0, 0, 1:, 0].astype(mx.float32), (wide[1:] + wide[:-1]) / 2, 1e-2)


@pytest.mark.parametrize("shape", [(1, 2, 3, 3), (1, 2, 4, 2), (1, 3, 2), (1, 2, 3, 0)])
def test_flows_that_do_not_fit(shape):
    h = mx.zeros((1, 2, 3, 4))
    message = f"'flow' must have two channels for each link on the grid of the field, (1, 2, 3), but got shape {shape}."
    with pytest.raises(ValueError, match=re.escape(f"[warp] {message}")):
        warp(h, mx.zeros(shape))
    with pytest.raises(ValueError, match=re.escape(f"[warp_product] {message}")):
        warp_product(h, mx.zeros(shape), mx.zeros((2, 4)))


def test_a_weight_that_does_not_fit():
    message = "[warp_product] 'weight' must have 2 x 4 columns, those of the flows' fields, but got shape (3, 4)."
    with pytest.raises(ValueError, match=re.escape(message)):
        warp_product(mx.zeros((1, 2, 3, 4)), mx.zeros((1, 2, 3, 4)), mx.zeros((3, 4)))
