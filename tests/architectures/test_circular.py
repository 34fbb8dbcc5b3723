"""Frames whose columns go round: a shift of the input by some columns is a shift of the forecast."""

import convlstm  # noqa: F401  before mlx.core
from convlstm.architectures.advection_residual import AdvectionResidual, smooth
from convlstm.architectures.convgru import ConvGRU
from convlstm.architectures.convlstm_stack import ConvLSTMStack
from convlstm.architectures.extrapolation import Extrapolation, advect
from convlstm.architectures.frame_mover import FrameMover
from convlstm.architectures.noise_filters import noise_spectrum
from convlstm.architectures.predrnn import PredRNN
from convlstm.architectures.simvp import SimVP
from convlstm.architectures.sprog import SPROG
from convlstm.architectures.st_lstm import STLSTMCell
from convlstm.architectures.steps import STEPS
from convlstm.architectures.trajgru import TrajGRU
from convlstm.layers import ConvLSTM, ConvLSTMCell
from convlstm.losses import MeanSquaredError
from convlstm.models import EncoderForecaster
from convlstm.ops import band_processes
from convlstm.ops.algorithm import without_kernels
from convlstm.ops.convolution import conv2d
from convlstm.ops.distribution import city_blocks
from tests.support.reference import close, normal

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map


def drawn(module, seed=0):
    """Gives a module random weights, so that no flow and no output starts at zero."""
    rng = np.random.default_rng(seed)
    module.update(
        tree_map(lambda a: normal(rng, a.shape, a[0].size ** -0.5 if a.ndim > 1 else 0.3), module.parameters())
    )
    for name, array in tree_flatten(module.parameters()):
        if name.endswith("running_var"):
            array[:] = mx.abs(array) + 0.3
    return module


def waves_round(seed=0, shape=(2, 4, 16, 24), channels=1, speed=1.5):
    """Returns frames in [0, 1] of waves that go round and move to the east, (N, T, H, W, C)."""
    N, T, H, W = shape
    rng = np.random.default_rng(seed)
    t, y, x = np.arange(T)[:, None, None], np.arange(H)[:, None] / H, np.arange(W)
    waves = [
        rng.random((N, channels, 1, 1, 1))
        * np.sin(2 * np.pi * (kx * (x - speed * t) / W + ky * y + rng.random((N, channels, 1, 1, 1))))
        for kx in (1, 2, 3, 4)
        for ky in (0, 1, 2)
    ]
    values = np.moveaxis(sum(waves), 1, -1)
    return mx.array(((values - values.min()) / np.ptp(values)).astype(np.float32))


@pytest.mark.parametrize("kernel", [(3, 3), (5, 5), (1, 3), (4, 4), (7, 5), (3, 31)])
@pytest.mark.parametrize("algorithm", ["auto", "native"])
def test_the_convolution_is_that_of_columns_that_go_round(kernel, algorithm):
    mx.random.seed(0)
    x, weight = mx.random.normal((2, 7, 12, 5)), mx.random.normal((6, *kernel, 5))
    expected = np.zeros((2, 7, 12, 6))
    top, left = (kernel[0] - 1) // 2, (kernel[1] - 1) // 2
    rows = np.pad(np.array(x, np.float64), [(0, 0), (top, kernel[0]), (0, 0), (0, 0)])
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            shifted = np.roll(rows[:, i : i + 7], left - j, axis=2)
            expected += shifted @ np.array(weight, np.float64)[:, i, j].T
    np.testing.assert_allclose(conv2d(x, weight, padding="circular", algorithm=algorithm), expected, atol=1e-4)


def test_strides_keep_the_grid_of_same_padding():
    x, weight = mx.random.normal((1, 8, 12, 2)), mx.random.normal((3, 3, 3, 2))
    whole = conv2d(x, weight, padding="circular")
    strided = conv2d(x, weight, stride=(2, 2), padding="circular")
    assert strided.shape == conv2d(x, weight, stride=(2, 2)).shape == (1, 4, 6, 3)
    # 'same' pads on the right only, so the first kernel stands on the first column.
    np.testing.assert_allclose(strided[:, :-1], whole[:, 1:-1:2, 1::2], atol=1e-5)


@pytest.mark.parametrize("kind", [ConvLSTM, ConvGRU, TrajGRU])
@pytest.mark.parametrize("options", [{}, {"kernel_size": (3, 5)}, {"algorithm": "native"}, {"recompute": True}])
def test_layers(kind, options):
    mx.random.seed(1)
    layer = kind(2, 4, **{"kernel_size": 3, "padding": "circular"} | options)
    drawn(layer)
    x = mx.random.normal((2, 3, 8, 12, 2))
    outputs, _ = layer(x)
    for columns in (1, 5, -4):
        np.testing.assert_allclose(layer(mx.roll(x, columns, 3))[0], mx.roll(outputs, columns, 3), atol=1e-5)
    zeros = kind(2, 4, **{"kernel_size": 3} | options)
    zeros.update(layer.parameters())
    # Far from the border, both paddings are the same for one step.
    first, of_zeros = layer(x[:, :1])[0], zeros(x[:, :1])[0]
    np.testing.assert_allclose(of_zeros[:, :, :, 2:-2], first[:, :, :, 2:-2], atol=1e-5)
    assert float(mx.abs(of_zeros - first).max()) > 1e-3


LEVELS = {"hidden_channels": (4, 4), "kernel_size": 3}
DOWN = [None, {"channels": 3, "kernel_size": 5, "stride": 3, "padding": 1}]
UP = [None, {"channels": 4, "kernel_size": 5, "stride": 3, "padding": 1}]
SIMVP = {"in_channels": 1, "frames": 3, "hidden_channels": 4, "translator_channels": 6, "blocks": 2}
# Each model as a function of its padding, with the number of columns that a roll must be a multiple of.
MODELS = {
    "encoder_forecaster": (lambda **p: EncoderForecaster(**LEVELS, **p), 1),
    "patches": (lambda **p: EncoderForecaster(**LEVELS, patch_size=4, concatenate=True, **p), 4),
    "grus": (lambda **p: EncoderForecaster(**LEVELS, cell="convgru", **p), 1),
    "trajectories": (lambda **p: EncoderForecaster(**LEVELS, cell="trajgru", links=3, **p), 1),
    "resampling": (
        lambda **p: EncoderForecaster(
            **LEVELS, patch_size=2, downsample=DOWN, upsample=UP, head_channels=[3, 3], activation="linear", **p
        ),
        6,
    ),
    "convlstm_stack": (lambda **p: ConvLSTMStack(**LEVELS, patch_size=2, **p), 2),
    "frame_mover": (lambda **p: FrameMover(**LEVELS, patch_size=2, motion_size=5, **p), 2),
    "predrnn": (lambda **p: PredRNN(**LEVELS, patch_size=2, **p), 2),
    "predrnn_v2": (lambda **p: PredRNN(**LEVELS, patch_size=2, decoupling=0.1, **p), 2),
    "simvp": (lambda **p: SimVP(**SIMVP, levels=4, mlp_ratio=2.0, large_kernel=9, **p), 4),
    "simvp_incepu": (lambda **p: SimVP(**SIMVP, levels=2, translator="incepu", kernel_sizes=(3, 7), groups=2, **p), 2),
    "advection_residual": (lambda **p: AdvectionResidual(**LEVELS, patch_size=2, points=8, **p), 2),
}
# Models without means over the whole frame, whose forecasts come from nearby pixels alone.
LOCAL = [name for name in MODELS if name not in ("simvp", "simvp_incepu", "advection_residual")]
ROWS, COLUMNS = 12, 24


@pytest.mark.parametrize("name", MODELS)
def test_models_roll_their_forecasts_with_their_inputs(name):
    build, multiple = MODELS[name]
    model, columns = drawn(build(padding="circular")), -3 * multiple
    model.eval()
    x = waves_round(shape=(1, 3, ROWS, COLUMNS))
    y, rolled = model(x, 2), mx.roll(x, columns, 3)
    assert float(mx.abs(y).max()) > 1e-2
    close(model(rolled, 2), mx.roll(y, columns, 3), 2e-4)

    zeros = build()
    zeros.load_weights(tree_flatten(model.parameters()))
    zeros.eval()
    error = mx.abs(zeros(rolled, 2) - mx.roll(zeros(x, 2), columns, 3)).max()
    assert float(error) > 1e-3, "the padding makes no difference"

    model.train()
    if name.startswith("simvp"):  # its running statistics must not differ from call to call
        model.apply_to_modules(lambda _, m: setattr(m, "momentum", 0.0) if hasattr(m, "momentum") else None)
    weight = mx.random.normal(y.shape, key=mx.random.key(1))
    gradient = mx.grad(lambda x, weight: (model(x, 2) * weight).sum())
    close(gradient(rolled, mx.roll(weight, columns, 3)), mx.roll(gradient(x, weight), columns, 3), 1e-3)


@pytest.mark.parametrize("name", LOCAL)
def test_models_equal_the_plain_model_on_a_frame_that_is_wrapped_widely(name):
    build, _ = MODELS[name]
    model, plain = drawn(build(padding="circular")), build()
    plain.load_weights(tree_flatten(model.parameters()))
    x, targets = waves_round(shape=(1, 2, ROWS, COLUMNS)), waves_round(1, (1, 2, ROWS, COLUMNS))
    loss = MeanSquaredError()
    wide = mx.concatenate([x] * 5, axis=3)
    middle = slice(2 * COLUMNS, 3 * COLUMNS)

    def of_ring(parameters):
        model.update(parameters)
        return loss(model(x, 2), targets)

    def of_wide(parameters):
        plain.update(parameters)
        return loss(plain(wide, 2)[:, :, :, middle], targets)

    close(model(x, 2), plain(wide, 2)[:, :, :, middle], 2e-4)
    mine, theirs = (mx.grad(f)(model.trainable_parameters()) for f in (of_ring, of_wide))
    for (part, a), (_, b) in zip(tree_flatten(mine), tree_flatten(theirs), strict=True):
        error, largest = float(mx.abs(a - b).max()), float(mx.abs(b).max())
        assert error < 2e-3 * largest + 1e-7, part


@pytest.mark.parametrize("norm_grid", [None, (8, 12)])
@pytest.mark.parametrize("algorithm", ["auto", "native"])
def test_cell_of_predrnn(norm_grid, algorithm):
    cell = STLSTMCell(2, 3, 3, padding="circular", norm_grid=norm_grid, algorithm=algorithm)
    mx.random.seed(4)
    x, state = mx.random.normal((2, 8, 12, 2)), tuple(mx.random.normal((3, 2, 8, 12, 3)))
    after = cell(x, state)
    for a, b in zip(cell(mx.roll(x, 5, 2), tuple(mx.roll(s, 5, 2) for s in state)), after, strict=True):
        close(a, mx.roll(b, 5, 2), 1e-5)
    if norm_grid is None:
        plain = STLSTMCell(2, 3, 3, algorithm=algorithm)
        plain.update(cell.parameters())
        wide = plain(mx.concatenate([x] * 3, axis=2), tuple(mx.concatenate([s] * 3, axis=2) for s in state))
        for a, b in zip(after, wide, strict=True):
            close(a, b[:, :, 12:24], 1e-5)


def test_cells_that_keep_the_grid_have_two_paddings():
    for build in (lambda **p: STLSTMCell(2, 3, **p), lambda **p: TrajGRU(2, 3, **p)):
        build(padding="same")
        with pytest.raises(ValueError, match="'padding' must be 'same' or 'circular' but got 'valid'"):
            build(padding="valid")
    with pytest.raises(ValueError, match="'padding' must be 'same', 'valid', 'circular', an int or a pair of ints"):
        ConvLSTMCell(2, 3, padding="full")


@pytest.mark.parametrize("model", [EncoderForecaster, PredRNN, SimVP])
def test_models_refuse_other_paddings(model):
    with pytest.raises(ValueError, match=rf"\[{model.__name__}\] 'padding' must be None or 'circular' but got 'same'"):
        model(padding="same")


def test_a_stride_that_does_not_divide_the_columns_is_refused():
    model = EncoderForecaster(**LEVELS, downsample=DOWN, upsample=UP, padding="circular")
    with pytest.raises(ValueError, match="frames of 12x22 change their size at level 1"):
        model(mx.zeros((1, 2, 12, 22, 1)), 1)


def test_windows_of_a_correction_go_round():
    x = waves_round()
    for width in (1, 4, 5):
        smoothed = smooth(x, width, circular=True)
        close(smoothed, smooth(mx.concatenate([x] * 3, axis=3), width)[:, :, :, 24:48], 1e-6)
        close(smooth(mx.roll(x, 3, 3), width, circular=True), mx.roll(smoothed, 3, 3), 1e-6)


def test_extrapolation():
    x = waves_round()
    for border in ("circular", "edge"):
        model = Extrapolation(border=border)
        forecast = model(x, 4)
        shifted = model(mx.roll(x, 7, 3), 4)
        error = float(mx.abs(shifted - mx.roll(forecast, 7, 3)).max())
        assert error < 1e-5 if border == "circular" else error > 1e-2


def test_extrapolation_brings_back_what_leaves_the_frame():
    x = waves_round(shape=(1, 9, 16, 24))
    forecast = Extrapolation(border="circular")(x[:, :5], 4)
    np.testing.assert_allclose(forecast, x[:, 5:], atol=0.06)
    assert float(mx.abs(Extrapolation()(x[:, :5], 4) - x[:, 5:]).max()) > 0.1


def test_advection_with_zeros_beyond_the_rows_only():
    field = waves_round()[:, 0] + 1
    flow = mx.broadcast_to(mx.array([2.0, 3.0]), (2, 16, 24, 2))
    moved = advect(field, flow, 2, border="zero", circular=True)
    for t in (0, 1):
        close(moved[:, t, 2 * (t + 1) :], mx.roll(field, 3 * (t + 1), 2)[:, : -2 * (t + 1)], 1e-5)
        np.testing.assert_array_equal(moved[:, t, : 2 * t + 1], 0)


def rain(seed=2):
    """Returns rain that goes round, (2, 5, 32, 48, 1) on the model's scale, a third of it dry."""
    x = waves_round(seed, (2, 5, 32, 48))
    return mx.where(x > 0.45, 0.3 + 0.4 * x, 0)


@pytest.mark.parametrize("matching", ["cdf", "mean", "none"])
def test_sprog(matching):
    x = rain()
    for border in ("circular", "edge"):
        model = SPROG(matching=matching, border=border)
        forecast, rolled = model(x, 3), model(mx.roll(x, 12, 3), 3)
        # At the edge of the rain a rounding error decides.
        same = mx.abs(rolled - mx.roll(forecast, 12, 3)) < 2e-3
        assert float(same.mean()) > 0.999 if border == "circular" else float(same.mean()) < 0.98


def test_steps(monkeypatch):
    x = rain()[:1]
    noise, columns = band_processes.white_noise, 12
    turned = mx.exp(-2j * np.pi * columns / x.shape[3] * mx.arange(x.shape[3] // 2 + 1))
    for border in ("circular", "edge"):
        model = STEPS(members=3, border=border)
        forecast = model(x, 3, key=mx.random.key(0))
        monkeypatch.setattr(band_processes, "white_noise", lambda *arguments: noise(*arguments) * turned)
        with without_kernels():
            rolled = model(mx.roll(x, columns, 3), 3, key=mx.random.key(0))
        monkeypatch.setattr(band_processes, "white_noise", noise)
        same = mx.abs(rolled - mx.roll(forecast, columns, 4)) < 5e-3
        assert float(same.mean()) > 0.99 if border == "circular" else float(same.mean()) < 0.95


def test_distances_to_rain_go_round():
    wet = np.zeros((3, 20), bool)
    wet[1, 1] = True
    distance = np.array(city_blocks(mx.array(wet), 30, circular=True))
    across = np.minimum((np.arange(20) - 1) % 20, (1 - np.arange(20)) % 20)
    np.testing.assert_array_equal(distance, across + np.array([[1], [0], [1]]))
    assert float(city_blocks(mx.array(wet), 30)[1, 19]) == 18


def test_the_spectrum_of_noise_does_not_depend_on_the_seam():
    frames = mx.maximum(waves_round(shape=(1, 3, 16, 24))[0, ..., 0] - 0.4, 0)
    close(noise_spectrum(mx.roll(frames, 9, 2), circular=True), noise_spectrum(frames, circular=True), 1e-4)
    plain = noise_spectrum(frames)
    assert float(mx.abs(noise_spectrum(mx.roll(frames, 9, 2)) - plain).max() / plain.max()) > 0.05
