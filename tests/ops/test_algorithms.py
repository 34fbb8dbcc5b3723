"""All algorithms of a layer give the same outputs and the same gradients."""

from __future__ import annotations

import re

from convlstm.layers import ConvLSTM
from tests.support.reference import close, normal, randomise, same

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten

pytestmark = pytest.mark.usefixtures("kernels_for_winograd")
algorithms = pytest.mark.parametrize("algorithm", ["native", "winograd"])


# Layers with a recurrent kernel of 3x3 or 5x5 and any convolution of the input.
FITTING = [
    {},
    {"kernel_size": 5},
    {"kernel_size": (3, 5), "recurrent_kernel_size": 5},
    {"kernel_size": 7, "recurrent_kernel_size": 3},
    {"kernel_size": 1, "recurrent_kernel_size": 5},
    {"kernel_size": 5, "recurrent_kernel_size": 3},
    {"stride": 2},
    {"stride": (1, 2), "padding": 1},
    {"padding": "valid"},
    {"padding": 1},
    {"padding": 2},
    {"dilation": 2},
]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("arguments", FITTING)
def test_winograd_takes_every_convolution_of_the_input(arguments, bias, kernels, rng):
    layers = [
        ConvLSTM(2, 3, **{"kernel_size": 3, **arguments}, bias=bias, reverse=True, algorithm=algorithm)
        for algorithm in ("native", "winograd", "auto")
    ]
    randomise(layers[0], rng)
    x = normal(rng, (2, 4, 9, 8, 2))
    weights = normal(rng, layers[0](x)[0].shape)
    results = []
    for layer in layers:
        layer.update(layers[0].parameters())
        results.append([layer(x), gradients(layer, x, weights)])
    same(results[1], results[0], 3e-5)
    same(results[2], results[1], 0)


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        ({"kernel_size": 7}, "7x7"),
        ({"kernel_size": 1}, "1x1"),
        ({"kernel_size": (3, 5)}, "3x5"),
        ({"kernel_size": 3, "recurrent_kernel_size": 7}, "7x7"),
    ],
)
def test_auto_falls_back_if_winograd_is_an_error(arguments, size, rng):
    x = normal(rng, (1, 2, 8, 9, 1))
    layers = {
        algorithm: ConvLSTM(1, 2, **arguments, algorithm=algorithm) for algorithm in ("auto", "native", "winograd")
    }
    for layer in layers.values():
        layer.update(layers["auto"].parameters())
    # The input's convolution may be Winograd's.
    same(layers["auto"](x), layers["native"](x), 1e-5)
    message = f"[ConvLSTM] algorithm='winograd' needs a kernel of 3x3 or 5x5 but got {size}. Use algorithm='auto'."
    with pytest.raises(ValueError, match=re.escape(message)):
        layers["winograd"](x)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_auto_is_native_in_half_precision(dtype, rng):
    layer, x = randomise(ConvLSTM(2, 3, 3, algorithm="native"), rng), normal(rng, (3, 4, 6, 7, 2))
    layer.set_dtype(dtype)
    native, _ = layer(x.astype(dtype))
    layer.cell.algorithm = "auto"
    outputs, _ = layer(x.astype(dtype))
    assert outputs.dtype == dtype
    assert mx.array_equal(outputs, native)
    layer.cell.algorithm = "winograd"
    with pytest.raises(ValueError, match=r"^\[ConvLSTM\] algorithm='winograd' needs float32 but got b?float16\."):
        layer(x.astype(dtype))


def gradients(layer, x, weights, state=None, length=None):
    """Returns gradients for the parameters, the input and the state, of weighted outputs and squares of both states."""

    def total(parameters, x, state):
        layer.update(parameters)
        outputs, (h, c) = layer(x, state, length=length)
        return (weights * outputs).sum() + (h**2).sum() + (c**2).sum()

    values = {"parameters": layer.parameters(), "x": x, "state": state}
    given = {name: a for name, a in values.items() if a is not None}
    return mx.grad(lambda given: total(given["parameters"], given.get("x"), given.get("state")))(given)


RECOMPUTED = [
    {},
    {"bias": False},
    {"peepholes": False},
    {"bias": False, "peepholes": False},
    {"grid_size": (6, 7)},
    {"in_channels": 0},
    {"in_channels": 0, "bias": False, "reverse": True},
    {"recurrent_kernel_size": 5},
    {"reverse": True},
]


@pytest.mark.parametrize("arguments", RECOMPUTED)
@algorithms
def test_recompute_changes_neither_outputs_nor_gradients(algorithm, arguments, rng):
    arguments = {"in_channels": 2, "out_channels": 3, "kernel_size": 3, "algorithm": algorithm, **arguments}
    plain, again = ConvLSTM(**arguments), ConvLSTM(**arguments, recompute=True)
    assert (plain.recompute, again.recompute) == (False, True)
    randomise(plain, rng)
    again.update(plain.parameters())
    x = normal(rng, (2, 4, 6, 7, 2)) if arguments["in_channels"] else None
    state, weights = (normal(rng, (2, 6, 7, 3)), normal(rng, (2, 6, 7, 3))), normal(rng, (2, 4, 6, 7, 3))
    same(again(x, state, length=4), plain(x, state, length=4), 1e-5)
    expected = gradients(plain, x, weights, state, 4)
    assert all(mx.abs(a).max() > 1e-3 for _, a in tree_flatten(expected))
    same(gradients(again, x, weights, state, 4), expected, 1e-5)
    again.update(plain.parameters())
    value_and_grad = nn.value_and_grad(again, lambda x, state: (again(x, state, length=4)[0] * weights).sum())
    _, others = mx.compile(value_and_grad, inputs=again.state)(x, state)
    alone = nn.value_and_grad(plain, lambda x, state: (plain(x, state, length=4)[0] * weights).sum())(x, state)[1]
    same(others, alone, 1e-5)


@algorithms
@pytest.mark.parametrize("options", [{"recurrent_dropout": 0.4}, {"dropout": 0.4}, {"bidirectional": True}])
def test_recompute_with_other_options(options, algorithm, rng):
    layer = randomise(ConvLSTM(2, 3, 3, algorithm=algorithm, **options), rng)
    x = normal(rng, (3, 4, 6, 7, 2))
    key, outcomes = mx.random.key(0), []
    for layer.recompute in (False, True):
        outcomes.append(nn.value_and_grad(layer, lambda x: (layer(x, key=key)[0] ** 2).sum())(x))
    same(outcomes[1], outcomes[0], 1e-5)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"kernel_size": 5, "peepholes": False},
        {"recurrent_kernel_size": 5},
        {"return_sequences": False},
        {"recompute": True},
        {"kernel_size": 7},
    ],
)
@pytest.mark.parametrize("algorithm", ["native", "auto"])
def test_a_walk_in_parts_equals_the_call(algorithm, arguments, rng):
    layer = randomise(ConvLSTM(2, 3, **{"kernel_size": 3, **arguments}, algorithm=algorithm), rng)
    x, weights = normal(rng, (2, 5, 6, 7, 2)), normal(rng, (2, 6, 7, 3))

    def whole(x):
        outputs, state = layer(x)
        return (weights * (outputs if outputs.ndim == 4 else outputs[:, -1])).sum() + state[1].sum(), outputs, state

    def in_parts(x):
        filters, state, parts = layer.prepare(), None, []
        for part in (x[:, :1], x[:, 1:4], x[:, 4:]):
            outputs, state, filters = layer.walk(part, state, filters)
            parts.append(outputs)
        outputs = outputs if outputs.ndim == 4 else mx.concatenate(parts, axis=1)
        return (weights * (outputs if outputs.ndim == 4 else outputs[:, -1])).sum() + state[1].sum(), outputs, state

    same(nn.value_and_grad(layer, in_parts)(x), nn.value_and_grad(layer, whole)(x), 1e-5)
    same(mx.grad(lambda x: in_parts(x)[0])(x), mx.grad(lambda x: whole(x)[0])(x), 1e-5)


def test_only_kernels_that_fit_are_prepared(kernels):
    assert ConvLSTM(2, 3, 3).prepare() is not None
    assert ConvLSTM(2, 3, 5, recurrent_kernel_size=3).prepare().x is None
    for arguments in ({"kernel_size": 7}, {"algorithm": "native"}, {"recurrent_dropout": 0.1}):
        assert ConvLSTM(2, 3, **arguments).prepare() is None
    assert ConvLSTM(2, 3, recurrent_dropout=0.1).eval().prepare() is not None


@pytest.mark.parametrize("arguments", [{"reverse": True}, {"bidirectional": True}])
def test_only_a_layer_that_walks_forwards_walks_in_parts(arguments):
    with pytest.raises(ValueError, match=r"^\[ConvLSTM\] only a layer that walks forwards can walk in parts\.$"):
        ConvLSTM(1, 2, **arguments).walk(mx.zeros((1, 1, 4, 4, 1)), None, None)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
@pytest.mark.parametrize(
    "arguments", [{"kernel_size": 3}, {"kernel_size": 7, "recurrent_kernel_size": 3}, {"stride": 2}]
)
def test_inputs_of_another_type_are_promoted(arguments, dtype, rng):
    layers = [ConvLSTM(2, 3, **arguments, algorithm=algorithm) for algorithm in ("native", "auto")]
    layers[1].update(randomise(layers[0], rng).parameters())
    x = (4 * mx.abs(normal(rng, (1, 3, 6, 7, 2)))).astype(dtype)
    (expected, _), (outputs, _) = layers[0](x), layers[1](x)
    assert outputs.dtype == expected.dtype == mx.float32
    close(outputs, expected, 1e-5)
