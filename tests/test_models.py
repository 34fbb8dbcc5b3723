"""The encoder-forecaster."""

from convlstm.layers import ConvLSTM
from convlstm.losses import MeanSquaredError
from convlstm.models import EncoderForecaster
from convlstm.summary import parameters
from tests.support.models import NETWORKS, STRIDED, from_yaml
from tests.support.reference import close, normal, randomise

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map

networks = pytest.mark.parametrize("network", NETWORKS)


def of_layer(C, O, input_kernel, state_kernel, peepholes=True):
    """Returns the number of parameters of a ConvLSTM layer."""
    return 4 * O * (C * input_kernel**2 + O * state_kernel**2 + 1) + (3 * O if peepholes else 0)


@networks
@pytest.mark.parametrize("horizon", [1, 4])
def test_shapes(network, horizon, rng):
    model = EncoderForecaster(2, 3, **NETWORKS[network])
    assert model(normal(rng, (2, 3, 8, 12, 2)), horizon).shape == (2, horizon, 8, 12, 3)
    assert model(normal(rng, (1, 1, 4, 4, 2)), horizon).shape == (1, horizon, 4, 4, 3)


def test_output_has_the_input_s_channels_by_default(rng):
    assert EncoderForecaster(2, hidden_channels=[3])(normal(rng, (1, 2, 4, 4, 2)), 3).shape == (1, 3, 4, 4, 2)
    assert EncoderForecaster()(mx.zeros((1, 1, 4, 4, 1)), 1).shape == (1, 1, 4, 4, 1)


@networks
def test_a_short_forecast_is_the_start_of_a_long_one(network, rng):
    model = randomise(EncoderForecaster(1, **NETWORKS[network]), rng)
    x = normal(rng, (2, 3, 8, 8, 1))
    long = model(x, 10)
    close(long[:, :5], model(x, 5), 2e-6)
    assert np.abs(np.diff(long, axis=1)).max(axis=(0, 2, 3, 4)).min() > 1e-4


@networks
def test_batch_equals_its_samples(network, rng):
    model = randomise(EncoderForecaster(2, **NETWORKS[network]), rng)
    x = normal(rng, (3, 3, 8, 12, 2))
    whole = model(x, 3)
    for n in range(3):
        close(model(x[n : n + 1], 3), whole[n : n + 1], 2e-6)


@networks
def test_gradient_reaches_every_parameter(network, rng):
    model = randomise(EncoderForecaster(2, 1, **NETWORKS[network]), rng)
    x, weights = normal(rng, (2, 3, 8, 8, 2)), normal(rng, (2, 3, 8, 8, 1))

    def total(values):
        model.update(values)
        return (weights * model(x, 3)).sum()

    for name, gradient in tree_flatten(mx.grad(total)(model.parameters())):
        assert mx.abs(gradient).max().item() > 1e-7, name


@networks
def test_every_input_frame_and_every_pixel_matters(network, rng):
    model = randomise(EncoderForecaster(1, **NETWORKS[network]), rng)
    gradient = np.array(mx.grad(lambda x: (model(x, 2) ** 2).sum())(normal(rng, (1, 3, 8, 8, 1))))
    assert (np.abs(gradient).max(axis=(2, 3, 4)) > 1e-6).all()
    assert (gradient[0, -1] != 0).all()


def test_forecast_equals_its_layers_one_by_one(rng):
    model = randomise(EncoderForecaster(1, 2, **STRIDED), rng)
    x = normal(rng, (2, 3, 8, 8, 1))
    fine, fine_state = model.encoder[0](x)
    _, coarse_state = model.encoder[1](model.downsample[1](fine))
    coarse, _ = model.forecaster[1](None, coarse_state, length=4)
    hidden, _ = model.forecaster[0](model.upsample[1](coarse), fine_state)
    y = hidden @ model.output.weight[:, 0, 0].T + model.output.bias
    close(model(x, 4), mx.sigmoid(y), 1e-6)
    model.activation = "linear"
    close(model(x, 4), y, 1e-6)


def test_concatenate_shows_the_output_all_levels(rng):
    arguments = {"hidden_channels": [3, 4], "kernel_size": 3, "activation": "linear"}
    all_levels = randomise(EncoderForecaster(1, **arguments, concatenate=True), rng)
    finest = EncoderForecaster(1, **arguments)
    assert (all_levels.output.weight.shape[-1], finest.output.weight.shape[-1]) == (7, 3)
    # Without the coarse level's weights the output sees the finest level only.
    weight = all_levels.output.weight
    all_levels.output.weight = mx.concatenate([weight[..., :3], mx.zeros_like(weight[..., 3:])], axis=-1)
    finest.update(tree_map(lambda a: a, all_levels.parameters()))
    finest.output.weight = weight[..., :3]
    x = normal(rng, (1, 2, 4, 4, 1))
    close(all_levels(x, 2), finest(x, 2), 1e-6)
    all_levels.output.weight = weight
    assert mx.abs(all_levels(x, 2) - finest(x, 2)).max().item() > 1e-2


def test_head_widths_and_kernels():
    model = EncoderForecaster(1, hidden_channels=[3], head_channels=[8, 5])
    assert [layer.conv.weight.shape for layer in model.head] == [(8, 3, 3, 3), (5, 3, 3, 8)]
    assert model.output.weight.shape == (1, 1, 1, 5)
    assert EncoderForecaster(1, hidden_channels=[3]).head == []


def test_activation_bounds_the_forecast(rng):
    x = normal(rng, (1, 2, 4, 4, 1))
    for activation, bounded in (("sigmoid", True), ("linear", False)):
        model = EncoderForecaster(1, hidden_channels=[2], activation=activation)
        model.output.bias = mx.array([30.0])
        assert (model(x, 1).max().item() <= 1) is bounded


@pytest.mark.parametrize(("activation", "mean"), [("sigmoid", 0.05), ("sigmoid", 0.9), ("linear", -3.0)])
@pytest.mark.parametrize("patch_size", [1, 2])
def test_the_forecast_starts_at_output_mean(activation, mean, patch_size, rng):
    model = EncoderForecaster(
        1, hidden_channels=[4], kernel_size=3, activation=activation, output_mean=mean, patch_size=patch_size
    )
    forecast = model(mx.zeros((1, 3, 8, 8, 1)), 2)
    assert abs(forecast.mean().item() - mean) < 0.1 * abs(mean)
    model.output.weight = mx.zeros_like(model.output.weight)
    np.testing.assert_allclose(model(normal(rng, (1, 3, 8, 8, 1)), 2), mean, rtol=1e-5)


def test_kernels_are_one_for_all_levels_or_one_each():
    def shapes(**arguments):
        model = EncoderForecaster(1, hidden_channels=[2, 3], **arguments)
        assert [layer.cell.kernel_size for layer in model.encoder] == [
            layer.cell.kernel_size for layer in model.forecaster
        ]
        return [(layer.cell.Wx.shape[1:3], layer.cell.Wh.shape[1:3]) for layer in model.encoder]

    assert shapes() == [((5, 5), (5, 5))] * 2
    assert shapes(kernel_size=3) == [((3, 3), (3, 3))] * 2
    assert shapes(kernel_size=[3, (3, 5)]) == [((3, 3), (3, 3)), ((3, 5), (3, 5))]
    assert shapes(kernel_size=3, recurrent_kernel_size=5) == [((3, 3), (5, 5))] * 2
    assert shapes(kernel_size=3, recurrent_kernel_size=[5, 7]) == [((3, 3), (5, 5)), ((3, 3), (7, 7))]


@pytest.mark.parametrize(
    "arguments",
    [{"peepholes": False}, {"bias": False}, {"forget_bias": 4.0}, {"grid_size": (6, 7)}, {"algorithm": "native"}],
)
def test_arguments_of_the_layers_reach_all_of_them(arguments):
    model = EncoderForecaster(1, hidden_channels=[2, 3], kernel_size=3, **arguments)
    for layer in (*model.encoder, *model.forecaster):
        C, O = layer.cell.in_channels, layer.cell.out_channels
        alone = ConvLSTM(C, O, 3, **arguments)
        assert {n: a.shape for n, a in layer.cell.items() if isinstance(a, mx.array)} == {
            n: a.shape for n, a in alone.cell.items() if isinstance(a, mx.array)
        }
        assert layer.cell.algorithm == alone.cell.algorithm
        if "bias" in alone.cell:
            assert layer.cell.bias.tolist() == alone.cell.bias.tolist()


@pytest.mark.parametrize("name", ["dropout", "recurrent_dropout"])
def test_dropout_is_for_training_and_follows_its_key(name, rng):
    model = EncoderForecaster(1, hidden_channels=[4, 4], kernel_size=3, activation="linear", **{name: 0.5})
    randomise(model, rng)
    x, key = normal(rng, (1, 3, 8, 8, 1)), mx.random.key(0)
    first = model(x, 2, key=key)
    assert mx.array_equal(first, model(x, 2, key=key))
    assert mx.abs(first - model(x, 2, key=mx.random.key(1))).max().item() > 1e-3
    mx.random.seed(0)
    drawn = model(x, 2)
    assert mx.abs(drawn - model(x, 2)).max().item() > 1e-3
    model.eval()
    assert mx.array_equal(model(x, 2, key=key), model(x, 2))
    assert mx.abs(first - model(x, 2)).max().item() > 1e-3


def squared(forecast, target, mask):
    return mx.square(forecast - target).mean() if mask is None else (mask * mx.square(forecast - target)).mean()


@networks
def test_training_loss_adds_the_next_input_frames(network, rng):
    x, y = normal(rng, (2, 4, 8, 8, 1)), normal(rng, (2, 3, 8, 8, 1))
    mask, key = (y > 0).astype(mx.float32), mx.random.key(0)
    model = randomise(EncoderForecaster(1, **NETWORKS[network]), rng)
    plain, share = model.training_loss(squared, x, y, mask, key)
    assert plain.item() == share.item()
    close(plain, squared(model(x, 3), y, mask), 1e-6)
    weighted = EncoderForecaster(1, **NETWORKS[network], next_frame_weight=0.5)
    weighted.update(model.parameters())
    total, share = weighted.training_loss(squared, x, y, mask, key)
    close(share, plain, 1e-6)
    _, hidden = weighted.encode(x)
    logits = weighted.predict([up(h) for up, h in zip(weighted.upsample, hidden, strict=True)])
    frames = logits if model.activation == "linear" else mx.sigmoid(logits)
    close(total, share + 0.5 * squared(frames[:, :-1], x[:, 1:], None), 1e-6)
    known = x > 0
    masked, share = weighted.training_loss(MeanSquaredError(), x, y, mask, key, input_mask=known)
    of_inputs = np.square(np.array(frames[:, :-1] - x[:, 1:]))[np.array(known[:, 1:])].mean()
    assert (masked - share).item() == pytest.approx(0.5 * of_inputs, rel=1e-4)
    assert mx.array_equal(weighted(x, 3), model(x, 3))
    alone = weighted.training_loss(squared, x[:, :1], y, mask, key)
    assert alone[0].item() == alone[1].item()


def test_next_frame_loss_of_a_frame_does_not_see_it(rng):
    model = randomise(EncoderForecaster(1, hidden_channels=[3], kernel_size=3, next_frame_weight=1.0), rng)
    predicted = []

    def loss(forecast, target, mask):
        predicted.append(forecast)
        return forecast.mean()

    x, y = normal(rng, (1, 4, 6, 6, 1)), mx.zeros((1, 1, 6, 6, 1))
    for inputs in (x, mx.concatenate([x[:, :3], x[:, 3:] + 1], axis=1)):
        model.training_loss(loss, inputs, y, None, mx.random.key(0))
    (forecast, frames), (other_forecast, other_frames) = predicted[:2], predicted[2:]
    assert frames.shape == (1, 3, 6, 6, 1)
    close(other_frames, frames, 1e-6)
    assert mx.abs(forecast - other_forecast).max().item() > 1e-3


def test_yaml_of_2015(rng):
    model = from_yaml("shi2015")
    layers = [(16, 128), (128, 64), (64, 64), (64, 128), (64, 64), (0, 64)]
    assert parameters(model) == sum(of_layer(C, O, 5, 5) for C, O in layers) + (256 + 1) * 16
    assert parameters(model) == 7_585_296  # in the paper's first table
    assert model.encoder[0].cell.bias.tolist() == [0.0] * 512
    forecast = model(mx.abs(normal(rng, (1, 2, 16, 24, 1), 0.3)), 3)
    assert forecast.shape == (1, 3, 16, 24, 1)
    assert 0 < forecast.min().item() < forecast.max().item() < 1


def test_yaml_of_2017(rng):
    model = from_yaml("shi2017")
    levels = [(8, 64, 5), (192, 192, 5), (192, 192, 3)]
    encoder = sum(of_layer(C, O, 3, k, peepholes=False) for C, O, k in levels)
    forecaster = sum(of_layer(C, O, 3, k, peepholes=False) for C, O, k in [(192, 64, 5), (192, 192, 5), (0, 192, 3)])
    down = (8 * 49 * 1 + 8) + (192 * 25 * 64 + 192) + (192 * 9 * 192 + 192)
    up = (192 * 16 * 192 + 192) + (192 * 25 * 192 + 192) + (8 * 49 * 64 + 8)
    head = (8 * 9 * 8 + 8) + (8 + 1)
    assert parameters(model) == encoder + forecaster + down + up + head
    size, chain = (480, 480), []
    for resample in model.downsample:
        size = resample.output_size(size)
        chain.append(size)
    for resample in reversed(model.upsample):
        size = resample.output_size(size)
        chain.append(size)
    assert [height for height, _ in chain] == [96, 32, 16, 32, 96, 480]
    assert model(normal(rng, (1, 2, 60, 120, 1)), 2).shape == (1, 2, 60, 120, 1)


def test_yaml_takes_overrides():
    model = from_yaml("encoder_forecaster", "model.hidden_channels=[8]", "model.grid_size=[4,6]", "model.patch_size=2")
    assert model.forecaster[0].cell.Wci.shape == (4, 6, 8)
    assert model(mx.zeros((1, 2, 8, 12, 1)), 2).shape == (1, 2, 8, 12, 1)
