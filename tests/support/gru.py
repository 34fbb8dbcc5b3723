"""Values and gradients of the ConvGRU and the TrajGRU, compared with PyTorch."""

from __future__ import annotations

from tests.support.reference import close, normal

import mlx.core as mx
import numpy as np
import pytest


def value_and_gradients(layer, x, h, drawn, length=None):
    """Returns outputs and state, and the gradients of sum(drawn * outputs) for x, h and the weights."""

    def total(given):
        layer.cell.update(given["weights"])
        outputs, state = layer(given.get("x"), given["h"], length=length)
        return (drawn * outputs).sum(), outputs, state

    given = {"h": h, "weights": layer.cell.parameters(), **({} if x is None else {"x": x})}
    (_, *results), gradients = mx.value_and_grad(total)(given)
    return results, {**gradients.pop("weights"), **gradients}


def assert_equals_torch(layer, x, h, rng, length=None, **geometry):
    """Asserts that values and gradients equal PyTorch's, to 1e-4 of the largest."""
    pytest.importorskip("torch")
    from tests.support import torch_gru

    steps = length if x is None else x.shape[1]
    drawn = normal(rng, (h.shape[0], steps, *h.shape[1:]))
    weights, activation = dict(layer.cell.parameters()), layer.cell.state_activation
    options = geometry | ({} if length is None else {"length": length})
    expected = torch_gru.value_and_gradients(x, h, weights, drawn, activation, **options)
    results, gradients = value_and_gradients(layer, x, h, drawn, length)
    for actual, value in zip(results, expected[0], strict=True):
        close(actual, value, 1e-4)
    assert gradients.keys() == expected[1].keys()
    for name, value in expected[1].items():
        assert np.abs(value).max() > 1e-3, name
        close(gradients[name], value, 1e-4)
