"""Other activations and even kernels of the ConvLSTM cell."""

from convlstm.layers import ConvLSTM, ConvLSTMCell
from convlstm.models import EncoderForecaster
from convlstm.ops.cell_activations import CELL_ACTIVATIONS
from tests.support import reference
from tests.support.reference import close, normal

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

REFERENCES = {
    "tanh": np.tanh,
    "sigmoid": reference.sigmoid,
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hard_sigmoid_keras2": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "hard_tanh": lambda x: np.clip(x, -1, 1),
    "relu": lambda x: np.where(x > 0, x, 0),
    "softsign": lambda x: x / (1 + abs(x)),
    "linear": lambda x: x,
}
PAIRS = [(name, "sigmoid") for name in REFERENCES] + [("tanh", name) for name in REFERENCES]


def arrays(module):
    return {name: np.array(a, np.float64) for name, a in tree_flatten(module.parameters())}


def slow_step(x, h, c, weights, tanh, sigmoid, output="cell"):
    """The cell's equations in float64 with other activations."""
    X = reference.convolve(x, weights["Wx"]) + reference.convolve(h, weights["Wh"]) + weights["bias"]
    i, f, g, o = np.split(X, 4, axis=-1)
    i, f, g = sigmoid(i + weights["Wci"] * c), sigmoid(f + weights["Wcf"] * c), tanh(g)
    c = f * c + i * g
    o = sigmoid(o + weights["Wco"] * c)
    return o * (tanh(c) if output == "cell" else g), c


def test_every_activation_has_a_reference():
    assert set(CELL_ACTIVATIONS) == set(REFERENCES)
    x = np.linspace(-4, 4, 101)
    for name, function in CELL_ACTIVATIONS.items():
        close(function(mx.array(x, mx.float32)), REFERENCES[name](x), 1e-6)


@pytest.mark.parametrize("output", ["cell", "candidate"])
@pytest.mark.parametrize(("state", "recurrent"), PAIRS)
def test_forward_and_gradient_by_hand(state, recurrent, output, rng):
    layer = ConvLSTM(2, 3, 3, state_activation=state, recurrent_activation=recurrent, output=output)
    layer.update({"cell": {name: normal(rng, a.shape, 0.3) for name, a in layer.cell.parameters().items()}})
    x, weights = normal(rng, (2, 3, 5, 6, 2)), arrays(layer.cell)
    tanh, sigmoid = REFERENCES[state], REFERENCES[recurrent]

    def slow(weights):
        h = c = np.zeros((2, 5, 6, 3))
        hidden = []
        for t in range(3):
            h, c = slow_step(np.array(x[:, t], np.float64), h, c, weights, tanh, sigmoid, output)
            hidden.append(h)
        return np.stack(hidden, axis=1)

    close(layer(x)[0], slow(weights), 1e-5)
    _, gradients = nn.value_and_grad(layer, lambda: mx.square(layer(x)[0]).sum())()
    direction = {name: rng.normal(size=a.shape) for name, a in weights.items()}
    along = sum((np.array(gradients["cell"][name]) * d).sum() for name, d in direction.items())
    ahead, behind = (
        np.square(slow({name: a + s * direction[name] for name, a in weights.items()})).sum() for s in (1e-6, -1e-6)
    )
    assert along == pytest.approx((ahead - behind) / 2e-6, rel=2e-3, abs=1e-3)


@pytest.mark.parametrize(
    "geometry", [{}, {"stride": 2}, {"padding": "valid"}, {"dilation": 2}, {"padding": 1}], ids=str
)
@pytest.mark.parametrize("kernel", [2, (4, 3), (1, 2)])
def test_even_kernels(kernel, geometry, rng):
    layer = ConvLSTM(2, 3, kernel, even_kernels=True, **geometry)
    layer.update({"cell": {name: normal(rng, a.shape, 0.3) for name, a in layer.cell.parameters().items()}})
    x = normal(rng, (2, 3, 8, 9, 2))
    zeros = np.zeros((2, *layer.cell.output_size(8, 9), 3))
    outputs, *_ = reference.layer(np.array(x, np.float64), zeros, zeros, arrays(layer.cell), **geometry)
    close(layer(x)[0], outputs, 1e-5)


def test_an_even_kernel_keeps_the_grid_with_same_padding_only():
    assert ConvLSTMCell(1, 1, 4, even_kernels=True).keeps_grid
    assert not ConvLSTMCell(1, 1, 4, even_kernels=True, padding=2).keeps_grid
    assert ConvLSTMCell(1, 1, 5, padding=2).keeps_grid


@pytest.mark.parametrize(
    "options", [{"state_activation": "relu"}, {"recurrent_activation": "hard_sigmoid"}, {"even_kernels": True}]
)
def test_models_hand_them_to_their_layers(options, rng):
    size = 4 if "even_kernels" in options else 3
    model = EncoderForecaster(1, hidden_channels=[3, 3], kernel_size=size, **options)
    for layer in (*model.encoder, *model.forecaster):
        for name, value in options.items():
            if name != "even_kernels":
                assert getattr(layer.cell, name) == value
    assert model(normal(rng, (1, 3, 8, 8, 1)), 2).shape == (1, 2, 8, 8, 1)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"state_activation": "swish"}, "'state_activation' must be one of tanh, sigmoid, .* but got 'swish'"),
        ({"state_activation": ["tanh"]}, r"'state_activation' must be one of tanh, sigmoid, .* but got \['tanh'\]"),
        ({"recurrent_activation": 3}, "'recurrent_activation' must be one of tanh, sigmoid, .* but got 3"),
        ({"even_kernels": 1}, "'even_kernels' must be .* but got 1"),
        ({"even_kernels": True, "kernel_size": 0}, "'kernel_size' must be an int or a pair of ints, at least 1"),
    ],
)
def test_refusals(options, text):
    with pytest.raises((TypeError, ValueError), match=text):
        ConvLSTMCell(1, 2, **options)
