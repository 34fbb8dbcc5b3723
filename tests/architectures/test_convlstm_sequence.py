"""A sequence of ConvLSTM layers."""

from __future__ import annotations

from convlstm.architectures.convlstm_sequence import ConvLSTMSequence
from tests.support.reference import close, normal

import mlx.core as mx
import pytest


def test_a_sequence_of_layers(rng):
    layers = [{"in_channels": 2, "out_channels": 3, "kernel_size": 3}, {"in_channels": 3, "out_channels": 4}]
    model = ConvLSTMSequence(layers)
    x = normal(rng, (2, 5, 6, 7, 2))
    whole, states = model(x)
    half, middle = model(x[:, :2])
    rest, after = model(x[:, 2:], middle)
    close(mx.concatenate([half, rest], axis=1), whole, 1e-5)
    for a, b in zip(after, states, strict=True):
        close(a[0], b[0], 1e-5)
        close(a[1], b[1], 1e-5)
    with pytest.raises(ValueError, match="'layers' must describe at least one layer"):
        ConvLSTMSequence([])
    with pytest.raises(ValueError, match="layer 0 has 3 channels but layer 1 reads 5"):
        ConvLSTMSequence([layers[0], {"in_channels": 5, "out_channels": 1}])
    with pytest.raises(ValueError, match="one entry for each of the 2 layers but has 1"):
        model(x, [None])
