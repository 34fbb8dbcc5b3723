"""Encoder-forecasters of ConvGRU and TrajGRU layers."""

from __future__ import annotations

import re

from convlstm.models import CELLS, EncoderForecaster
from convlstm.summary import parameters
from tests.support.models import from_yaml
from tests.support.reference import close, normal, randomise

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten

STRIDED = {
    "hidden_channels": [3, 4],
    "kernel_size": 3,
    "downsample": [None, {"channels": 5, "kernel_size": 3, "stride": 2, "padding": 1}],
    "upsample": [None, {"channels": 4, "kernel_size": 4, "stride": 2, "padding": 1, "bias": False}],
}
GRUS = {"convgru": {"recurrent_kernel_size": [5, 3]}, "trajgru": {"links": [2, 3], "flow_channels": 4}}
grus = pytest.mark.parametrize("cell", GRUS)


def of_gru(C, O, k):
    """Returns the number of parameters of a ConvGRU layer with a recurrent kernel of k x k, with biases."""
    return 3 * O * (O * k * k + 1) + (3 * O * (C * 9 + 1) if C else 0)


def of_trajgru(C, O, L):
    """Returns the number of parameters of a TrajGRU layer with L links."""
    flow = 32 * (O * 25 + 1) + 2 * L * (32 * 25 + 1) + (32 * (C * 25 + 1) if C else 0)
    return 3 * O * (O * L + 1) + (3 * O * (C * 9 + 1) if C else 0) + flow


def around(channels, first, down, up):
    """Returns the parameters outside the layers, from the kernels between the levels; upsampling has no biases."""
    c, k = first
    a, b, d = channels
    lower = c * (k * k + 1) + b * (down[0] ** 2 * a + 1) + d * (down[1] ** 2 * b + 1)
    upper = d * d * up[1] ** 2 + b * b * up[0] ** 2 + a * c * k * k
    return lower + upper + c * (9 * c + 1) + c + 1


def layers_of(channels, first, count):
    """Returns the sum of `count(C, O, level)` over the layers of the encoder and of the forecaster."""
    a, b, d = channels
    sizes = [(first, a, 0), (b, b, 1), (d, d, 2), (0, d, 2), (d, b, 1), (b, a, 0)]
    return sum(count(*size) for size in sizes)


# The authors' program has 3 x 392 more: its first convolution also sees coordinates and a constant.
@pytest.mark.parametrize(
    ("name", "count", "program"),
    [
        ("convgru", lambda C, O, n: of_gru(C, O, (5, 5, 3)[n]), 13_649_081),
        ("trajgru", lambda C, O, n: of_trajgru(C, O, (13, 13, 9)[n]), 12_150_053),
    ],
)
def test_parameters_of_hko_7(name, count, program):
    sizes = (64, 192, 192)
    expected = layers_of(sizes, 8, count) + around(sizes, (8, 7), (5, 3), (5, 4))
    assert parameters(from_yaml(name)) == expected == program - 3 * 8 * 7 * 7


# Table 1 of the paper, in millions. It swaps Conv-K3 and Traj-L5, and has 4.77 instead of 4.58 for Traj-L17.
@pytest.mark.parametrize(
    ("cell", "options", "millions"),
    [
        ("convgru", {"recurrent_kernel_size": 5}, 4.77),
        ("convgru", {"recurrent_kernel_size": 7}, 8.01),
        ("trajgru", {"links": 9}, 3.42),
        ("trajgru", {"links": 13}, 4.00),
    ],
)
def test_parameters_of_moving_mnist(cell, options, millions):
    down, up = {"kernel_size": 3, "stride": 2, "padding": 1}, {"kernel_size": 4, "stride": 2, "padding": 1}
    first = {"channels": 16, "kernel_size": 3, "padding": 1}
    model = EncoderForecaster(
        hidden_channels=[64, 96, 96],
        cell=cell,
        kernel_size=3,
        downsample=[first, {"channels": 96, **down}, {"channels": 96, **down}],
        upsample=[first, {"channels": 96, **up}, {"channels": 96, **up}],
        head_channels=[16],
        **options,
    )
    assert round(parameters(model) / 1e6, 2) == millions


@pytest.mark.parametrize("name", ["convgru", "trajgru"])
def test_models_of_the_configurations_forecast(name, rng):
    model = from_yaml(
        name,
        "model.hidden_channels=[4,6,6]",
        *(f"model.{way}.{n}.channels={c}" for way in ("downsample", "upsample") for n, c in enumerate((3, 6, 6))),
    )
    assert {type(layer).__name__ for layer in (*model.encoder, *model.forecaster)} == {
        "convgru": {"ConvGRU"},
        "trajgru": {"TrajGRU"},
    }[name]
    assert model(normal(rng, (1, 2, 60, 120, 1)), 3).shape == (1, 3, 60, 120, 1)


@grus
@pytest.mark.parametrize("yaml", ["encoder_forecaster", "shi2015"])
def test_any_cell_by_configuration(cell, yaml, rng):
    model = from_yaml(yaml, f"model.cell={cell}", "model.hidden_channels=[4,3]", "model.forget_bias=null")
    assert isinstance(model.encoder[0], CELLS[cell][0])
    assert model(normal(rng, (1, 2, 8, 12, 1)), 2).shape == (1, 2, 8, 12, 1)


@grus
def test_forecast_equals_its_layers_one_by_one(cell, rng):
    model = randomise(EncoderForecaster(1, 2, **STRIDED, cell=cell, **GRUS[cell], activation="linear"), rng)
    x = normal(rng, (2, 3, 8, 12, 1))
    fine, fine_state = model.encoder[0](x)
    _, coarse_state = model.encoder[1](model.downsample[1](fine))
    coarse, _ = model.forecaster[1](None, coarse_state, length=4)
    hidden, _ = model.forecaster[0](model.upsample[1](coarse), fine_state)
    close(model(x, 4), hidden @ model.output.weight[:, 0, 0].T + model.output.bias, 1e-6)
    close(model(x[1:], 2), model(x, 4)[1:, :2], 5e-6)


@grus
@pytest.mark.parametrize("recompute", [False, True])
def test_gradient_reaches_every_parameter(cell, recompute, rng):
    model = EncoderForecaster(1, **STRIDED, cell=cell, **GRUS[cell], recompute=recompute)
    randomise(model, rng)
    x, weights = normal(rng, (2, 3, 8, 8, 1)), normal(rng, (2, 3, 8, 8, 1))

    def total(values):
        model.update(values)
        return (weights * model(x, 3)).sum()

    for name, gradient in tree_flatten(mx.grad(total)(model.parameters())):
        assert mx.abs(gradient).max().item() > 1e-7, name


def test_links_are_one_for_all_levels_or_one_each():
    def links(**arguments):
        model = EncoderForecaster(1, hidden_channels=[2, 3], cell="trajgru", kernel_size=3, **arguments)
        assert [layer.cell.links for layer in model.forecaster] == [layer.cell.links for layer in model.encoder]
        return [layer.cell.links for layer in model.encoder]

    assert links() == [13, 13]
    assert links(links=2) == [2, 2]
    assert links(links=[2, 4]) == [2, 4]
    with pytest.raises(ValueError, match=r"'links' must have one entry for each of the 2 levels"):
        links(links=[1, 2, 3])


def test_upsampling_without_biases():
    model = EncoderForecaster(1, **STRIDED)
    assert "bias" not in model.upsample[1].conv
    assert "bias" in model.downsample[1].conv
    down = {"channels": 5, "kernel_size": 3, "stride": 2, "padding": 1, "bias": False}
    bare = EncoderForecaster(1, **{**STRIDED, "downsample": [None, down]})
    assert "bias" not in bare.downsample[1].conv
    assert bare(mx.zeros((1, 2, 8, 8, 1)), 1).shape == (1, 1, 8, 8, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cell": "convgru", "peepholes": True}, "cell='convgru' has layers without 'peepholes': leave that out, or"),
        (
            {"cell": "trajgru", "recurrent_kernel_size": 3, "forget_bias": 1.0},
            "cell='trajgru' has layers without 'recurrent_kernel_size', 'forget_bias': leave that out, or choose the "
            "'cell' that has it.",
        ),
        ({"links": 3}, "cell='convlstm' has layers without 'links'"),
        ({"cell": "convgru", "links": [3, 3]}, "cell='convgru' has layers without 'links'"),
    ],
)
def test_options_of_other_cells(arguments, message):
    with pytest.raises(TypeError, match=re.escape(f"[EncoderForecaster] {message}")):
        EncoderForecaster(1, hidden_channels=[2, 2], **arguments)


def test_no_such_cell():
    message = "[EncoderForecaster] 'cell' must be one of convlstm, convgru, trajgru but got 'gru'."
    with pytest.raises(ValueError, match=re.escape(message)):
        EncoderForecaster(1, cell="gru")


def test_none_is_a_layer_s_own_default():
    model = EncoderForecaster(1, hidden_channels=[2], peepholes=None, forget_bias=None, state_activation=None)
    assert "Wci" in model.encoder[0].cell
    assert model.encoder[0].cell.bias.tolist() == [0.0] * 2 + [1.0] * 2 + [0.0] * 4
