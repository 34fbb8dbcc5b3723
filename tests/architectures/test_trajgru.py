"""The TrajGRU: what lies along flows, its cell and layer, and the encoder-forecasters of both GRUs."""

import re

import convlstm  # noqa: F401  before mlx.core, so that the tests run with a fast BLAS
from convlstm.architectures.trajgru import TrajGRU, TrajGRUCell
from convlstm.models import CELLS, EncoderForecaster
from convlstm.ops.warp import reference_warp, warp, warp_product
from tests.architectures.test_convgru import held_to_torch
from tests.support.reference import close, normal, randomise
from tests.test_models import from_yaml, parameters

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

algorithms = pytest.mark.parametrize("algorithm", ["native", "winograd"])
SMALL = {"links": 3, "flow_channels": 4, "flow_kernel_size": 3}
STRIDED = {
    "hidden_channels": [3, 4],
    "kernel_size": 3,
    "downsample": [None, {"channels": 5, "kernel_size": 3, "stride": 2, "padding": 1}],
    "upsample": [None, {"channels": 4, "kernel_size": 4, "stride": 2, "padding": 1, "bias": False}],
}
GRUS = {"convgru": {"recurrent_kernel_size": [5, 3]}, "trajgru": {"links": [2, 3], "flow_channels": 4}}
grus = pytest.mark.parametrize("cell", GRUS)


@pytest.fixture(autouse=True)
def _kernels_where_winograd_is_asked_for(request):
    if hasattr(request.node, "callspec") and "winograd" in request.node.callspec.params.values():
        request.getfixturevalue("kernels")


def identity_product(h, flow, algorithm):
    """`warp` by way of `warp_product`."""
    return warp_product(h, flow, mx.eye(flow.shape[3] // 2 * h.shape[3]), algorithm)


def flows(*pairs):
    """A constant flow (1, 2, 3, 2L) for each of the pairs."""
    return mx.broadcast_to(mx.array([value for pair in pairs for value in pair]), (1, 2, 3, 2 * len(pairs)))


@algorithms
@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        ((0.0, 0.0), [[1, 2, 3], [4, 5, 6]]),
        # What is there has come down by a row, to the right by a column.
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


# Channels and grids that fill vectors, blocks of pixels and panels, and those that do not.
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
def test_a_flow_that_is_not_a_number_shows_where_it_is(algorithm, rng):
    h, flow = normal(rng, (1, 4, 5, 2)), normal(rng, (1, 4, 5, 4))
    for value in (np.nan, np.inf):
        flow[0, 1, 2, 2] = value
        field = np.array(identity_product(h, flow, algorithm))
        assert np.isnan(field[0, 1, 2]).any()
        assert np.isfinite(field).sum() >= field.size - 4


def test_half_precision_does_not_shift_the_places(rng):
    # 301.5 has no bfloat16: places are computed in float32.
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


@algorithms
@pytest.mark.parametrize(
    ("grid", "arguments"),
    [
        ((6, 7), SMALL),
        ((9, 4), {"kernel_size": 5, "state_activation": "tanh", "links": 2}),
        ((5, 6), {**SMALL, "bias": False, "flow_kernel_size": (1, 3)}),
    ],
)
def test_layer_equals_pytorch(algorithm, grid, arguments, rng):
    layer = randomise(TrajGRU(2, 3, **arguments, algorithm=algorithm), rng)
    held_to_torch(layer, normal(rng, (2, 3, *grid, 2)), normal(rng, (2, *grid, 3)), rng)


@pytest.mark.parametrize(("grid", "channels"), [((6, 7), 3), ((4, 9), 17)])
def test_layer_without_input_equals_pytorch(grid, channels, rng):
    layer = randomise(TrajGRU(0, channels, **SMALL), rng)
    held_to_torch(layer, None, normal(rng, (2, *grid, channels)), rng, length=3)


def test_a_constant_flow_moves_the_state(rng):
    cell = TrajGRUCell(0, 1, links=1)
    cell.bf = mx.array([0.0, 1.0])
    cell.Wh = mx.array([0.0, 0, 1]).reshape(3, 1, 1, 1)
    cell.bh = mx.array([-30.0, 30, 0])  # all of the candidate, none of the state
    h = mx.abs(normal(rng, (1, 3, 4, 1)))
    close(cell(None, h)[:, :, 1:], h[:, :, :-1], 1e-6)
    assert cell.flow((), h).tolist() == mx.broadcast_to(cell.bf, (1, 3, 4, 2)).tolist()


def test_it_begins_without_flows(rng):
    cell = TrajGRUCell(2, 3, links=2)
    x, h = normal(rng, (1, 5, 6, 2)), normal(rng, (1, 5, 6, 3))
    assert not cell.flow(cell.project(x), h).any()
    # But learns them.
    gradients = mx.grad(lambda W: cell.update({"Wf": W})(x, h).sum())(cell.Wf)
    assert mx.abs(gradients).max().item() > 1e-4


def test_arguments_make_the_parameters():
    def shapes(cell):
        return {name: a.shape for name, a in cell.parameters().items()}

    assert shapes(TrajGRUCell(2, 4)) == {
        "Wx": (12, 3, 3, 2),
        "bx": (12,),
        "Wh": (12, 1, 1, 52),
        "bh": (12,),
        "Wfx": (32, 5, 5, 2),
        "bfx": (32,),
        "Wfh": (32, 5, 5, 4),
        "bfh": (32,),
        "Wf": (26, 5, 5, 32),
        "bf": (26,),
    }
    assert shapes(TrajGRUCell(0, 4, links=5, flow_channels=6, flow_kernel_size=(1, 3), bias=False)) == {
        "Wh": (12, 1, 1, 20),
        "Wfh": (6, 1, 3, 4),
        "Wf": (10, 1, 3, 6),
    }
    assert TrajGRUCell(2, 4, (5, 1)).Wx.shape == (12, 5, 1, 2)
    assert shapes(TrajGRU(2, 4).cell) == shapes(TrajGRUCell(2, 4))
    assert "links=5, flow_channels=32, flow_kernel_size=(5, 5), bias=True" in repr(TrajGRU(1, 2, links=5))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"links": 0}, "'links' must be a whole number of at least 1 but got 0."),
        ({"links": 2.0}, "'links' must be a whole number of at least 1 but got 2.0."),
        ({"flow_channels": 0}, "'flow_channels' must be a whole number of at least 1 but got 0."),
        ({"flow_kernel_size": 4}, "'flow_kernel_size' must be odd but got 4"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=re.escape(f"[TrajGRUCell] {message}")):
        TrajGRUCell(1, 1, **arguments)


def of_gru(C, O, k):
    """Number of parameters of a ConvGRU layer with a recurrent kernel of k x k: the equations and the biases."""
    return 3 * O * (O * k * k + 1) + (3 * O * (C * 9 + 1) if C else 0)


def of_trajgru(C, O, L):
    """The same of a TrajGRU layer with L links."""
    flow = 32 * (O * 25 + 1) + 2 * L * (32 * 25 + 1) + (32 * (C * 25 + 1) if C else 0)
    return 3 * O * (O * L + 1) + (3 * O * (C * 9 + 1) if C else 0) + flow


def around(channels, first, down, up):
    """What an encoder-forecaster has besides its layers, given the kernels from level to level; no biases upwards."""
    c, k = first
    a, b, d = channels
    lower = c * (k * k + 1) + b * (down[0] ** 2 * a + 1) + d * (down[1] ** 2 * b + 1)
    upper = d * d * up[1] ** 2 + b * b * up[0] ** 2 + a * c * k * k
    return lower + upper + c * (9 * c + 1) + c + 1


def layers_of(channels, first, count):
    """`count(C, O, level)` over the encoder's layers and the forecaster's."""
    a, b, d = channels
    sizes = [(first, a, 0), (b, b, 1), (d, d, 2), (0, d, 2), (d, b, 1), (b, a, 0)]
    return sum(count(*size) for size in sizes)


# The authors' program has these and 3 x 392 more: its first convolution also sees coordinates and a constant.
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


# Table 1 of the paper, in millions. It has Conv-K3 and Traj-L5 the other way round, and 4.77 for Traj-L17 (4.58).
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
def test_yaml_s_forecast(name, rng):
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


def test_a_way_up_without_biases():
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
