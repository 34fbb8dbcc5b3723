"""The ConvLSTM stack, which reads its own predictions."""

import re

import convlstm
from convlstm.architectures.convlstm_stack import ConvLSTMStack
from convlstm.checkpoints import save
from convlstm.layers import ConvLSTM
from convlstm.losses import MeanSquaredError
from convlstm.training.step import make_step
from tests.support.project import PROJECT
from tests.support.reference import close, normal
from tests.support.stack import FORMS, SMALL, forms, slow, small
from tests.support.tiny import OVERRIDES, call

import hydra
import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest
from mlx.utils import tree_flatten

MSE = MeanSquaredError()


def test_one_pixel_by_hand():
    model = ConvLSTMStack(1, (1,), kernel_size=1, patch_size=1, bias=True)
    cell = model.layers[0].cell
    cell.Wx, cell.Wh = mx.zeros_like(cell.Wx), mx.zeros_like(cell.Wh)
    cell.Wx[2] = 1.0  # the candidate; the gates stay at a half
    model.output.weight = mx.full((1, 1, 1, 1), 3.0)
    x, c, expected = [0.5, -1.0], 0.0, []
    for t in range(5):
        c = 0.5 * c + 0.5 * np.tanh(x[t] if t < 2 else expected[-1])
        expected.append(3.0 * 0.5 * np.tanh(c))
    frames = model.unroll_frames(mx.array(x).reshape(1, 2, 1, 1, 1), 4)
    np.testing.assert_allclose(frames.reshape(-1), expected, rtol=1e-5)


def test_without_weights_the_forecast_is_empty(rng):
    model, x = small(rng), normal(rng, (1, 2, 4, 6, 1))
    assert mx.abs(model(x, 3)).min().item() > 0
    model.output.weight = mx.zeros_like(model.output.weight)
    assert not model.unroll_frames(x, 3).any()
    model = small(rng)
    for layer in model.layers:
        layer.cell.Wx, layer.cell.Wh = mx.zeros_like(layer.cell.Wx), mx.zeros_like(layer.cell.Wh)
    assert not model.unroll_frames(x, 3).any()


def test_the_published_network():
    model = ConvLSTMStack()
    shapes = {name: a.shape for name, a in tree_flatten(model.parameters())}
    expected = {"output.weight": (16, 1, 1, 128)}
    for n in range(4):
        expected[f"layers.{n}.cell.Wx"] = (512, 5, 5, 128 if n else 16)
        expected[f"layers.{n}.cell.Wh"] = (512, 5, 5, 128)
    assert shapes == expected
    number = sum(a.size for _, a in tree_flatten(model.parameters()))
    assert number == 11_675_648
    # OpenSTL's table: 56.8G multiplications for 10 -> 10 frames of 64 x 64, and 15.0M parameters with those of
    # `conv_o` (256 -> 128, 5 x 5) and `conv_last` (256 -> 128), which its cells hold but do not use.
    assert round(19 * 16 * 16 * number / 1e9, 1) == 56.8
    assert (number + 4 * (256 * 128 * 25 + 256 * 128)) // 10**5 / 10 == 15.0


def test_starts_as_a_convolution_of_pytorch_does():
    model = ConvLSTMStack()
    for _, a in tree_flatten(model.parameters()):
        bound = a[0].size ** -0.5
        assert 0.98 * bound < mx.abs(a).max().item() <= bound * (1 + 1e-6)  # rounded to float32
        assert abs(a.mean().item()) < 0.05 * bound


@forms
@pytest.mark.parametrize("horizon", [1, 4])
def test_equals_the_slow_form(form, horizon, rng):
    model, x = small(rng, 2, **FORMS[form]), normal(rng, (2, 3, 6, 10, 2))
    expected = slow(model, x, horizon)
    close(model.unroll_frames(x, horizon), expected, 1e-5)
    close(model(x, horizon), expected[:, -horizon:], 1e-5)


@pytest.mark.parametrize("patch_size", [1, 2, 4])
def test_patch_size(patch_size, rng):
    model, x = small(rng, 3, patch_size=patch_size), normal(rng, (1, 2, 8, 12, 3))
    assert model.layers[0].cell.in_channels == model.output.weight.shape[0] == 3 * patch_size**2
    close(model(x, 2), slow(model, x, 2)[:, -2:], 1e-5)


@forms
def test_a_short_forecast_is_the_start_of_a_long_one(form, rng):
    model, x = small(rng, **FORMS[form]), normal(rng, (2, 3, 4, 6, 1))
    long = model(x, 8)
    close(long[:, :3], model(x, 3), 2e-6)
    assert np.abs(np.diff(long, axis=1)).max(axis=(0, 2, 3, 4)).min() > 1e-4


def test_two_halves_equal_the_whole(rng):
    model, x = small(rng), normal(rng, (2, 3, 4, 6, 1))
    whole = model(x, 5)
    close(model(mx.concatenate([x, whole[:, :2]], axis=1), 3), whole[:, 2:], 2e-6)


@forms
def test_batch_equals_its_samples(form, rng):
    model, x = small(rng, 2, **FORMS[form]), normal(rng, (3, 3, 4, 6, 2))
    whole = model(x, 3)
    for n in range(3):
        close(model(x[n : n + 1], 3), whole[n : n + 1], 2e-6)


def test_any_grid_that_patches_divide(rng):
    model = small(rng, 2)
    for shape in ((1, 1, 2, 2, 2), (2, 3, 6, 14, 2), (1, 2, 12, 4, 2)):
        assert model(normal(rng, shape), 2).shape == (shape[0], 2, *shape[2:])


@forms
def test_gradient_reaches_every_parameter(form, rng):
    model = small(rng, 2, **FORMS[form])
    x, weights = normal(rng, (2, 3, 6, 8, 2)), normal(rng, (2, 3, 6, 8, 2))

    def total(values):
        model.update(values)
        return (weights * model(x, 3)).sum()

    values = model.parameters()
    gradients = dict(tree_flatten(mx.grad(total)(values)))
    for name, gradient in gradients.items():
        assert mx.abs(gradient).max().item() > 1e-6, name
    # The gradient also flows through frames that are fed back: compare it with a difference in float64.
    model.update(values)
    direction = {name: normal(rng, a.shape) for name, a in gradients.items()}
    slope, step = sum((direction[name] * gradients[name]).sum().item() for name in gradients), 1e-3
    ends = []
    for sign in (1, -1):
        moved = ConvLSTMStack(2, **{**SMALL, **FORMS[form]})
        moved.load_weights([(n, a + sign * step * direction[n]) for n, a in tree_flatten(values)])
        ends.append((np.array(weights, np.float64) * slow(moved, x, 3)[:, -3:]).sum())
    assert slope == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=2e-2)


def test_every_input_frame_and_every_pixel_matters(rng):
    model = small(rng, kernel_size=5)
    gradient = np.array(mx.grad(lambda x: (model(x, 3) ** 2).sum())(normal(rng, (1, 3, 8, 8, 1))))
    assert (np.abs(gradient).max(axis=(2, 3, 4)) > 1e-6).all()
    assert (gradient[0, -1] != 0).all()


@pytest.mark.parametrize("name", ["dropout", "recurrent_dropout"])
def test_dropout_is_for_training_and_follows_its_key(name, rng):
    model = small(rng, hidden_channels=(6, 6), **{name: 0.5})
    x, key = normal(rng, (1, 3, 8, 8, 1)), mx.random.key(0)
    first = model(x, 2, key=key)
    assert mx.array_equal(first, model(x, 2, key=key))
    assert mx.abs(first - model(x, 2, key=mx.random.key(1))).max().item() > 1e-3
    mx.random.seed(0)
    drawn = model(x, 2)
    assert mx.abs(drawn - model(x, 2)).max().item() > 1e-3
    mx.random.seed(0)
    assert mx.array_equal(drawn, model(x, 2))
    y = normal(rng, (1, 2, 8, 8, 1))
    close(model.training_loss(MSE, x, y, None, key)[1], MSE(first, y), 1e-6)
    model.eval()
    assert mx.array_equal(model(x, 2, key=key), model(x, 2))
    assert mx.abs(first - model(x, 2)).max().item() > 1e-3


@pytest.mark.parametrize(
    "arguments",
    [
        {"peepholes": True},
        {"bias": True},
        {"bias": True, "forget_bias": 4.0},
        {"peepholes": True, "grid_size": (6, 7)},
        {"kernel_size": (3, 5)},
        {"recurrent_kernel_size": 5},
        {"algorithm": "native"},
        {"dropout": 0.25},
    ],
)
def test_arguments_of_the_layers_reach_all_of_them(arguments):
    model = ConvLSTMStack(2, **{**SMALL, **arguments})
    assert [(layer.cell.in_channels, layer.cell.out_channels) for layer in model.layers] == [(8, 3), (3, 4)]
    for layer in model.layers:
        plain = {"kernel_size": 3, "bias": False, "peepholes": False, "forget_bias": 0.0}
        alone = ConvLSTM(layer.cell.in_channels, layer.cell.out_channels, **{**plain, **arguments})
        assert {n: a.shape for n, a in layer.cell.items() if isinstance(a, mx.array)} == {
            n: a.shape for n, a in alone.cell.items() if isinstance(a, mx.array)
        }
        assert (layer.cell.algorithm, layer.dropout) == (alone.cell.algorithm, alone.dropout)
        if "bias" in alone.cell:
            assert layer.cell.bias.tolist() == alone.cell.bias.tolist()


def test_half_precision(rng):
    """Fed frames get the inputs' type, so that float32 targets do not make the recurrence float32."""
    model, x = small(rng, bias=True, peepholes=True), normal(rng, (2, 3, 4, 6, 1))
    arguments = {"truth": normal(rng, (2, 2, 4, 6, 1)), "mask": mx.array([[1, 0], [0, 1]])}
    exact = model.unroll_frames(x, 3, **arguments)
    close(model.unroll_frames(x.astype(mx.bfloat16), 3, **arguments).astype(mx.float32), exact, 0.05)
    model.set_dtype(mx.bfloat16)
    frames = model.unroll_frames(x.astype(mx.bfloat16), 3, **arguments)
    assert frames.dtype == mx.bfloat16
    close(frames.astype(mx.float32), exact, 0.1)


def test_a_training_step_lowers_both_losses(rng):
    model, optimizer = small(rng, hidden_channels=(4,)), optim.Adam(1e-2)
    optimizer.init(model.trainable_parameters())
    batch = {"inputs": mx.abs(normal(rng, (2, 3, 4, 6, 1))), "targets": mx.abs(normal(rng, (2, 3, 4, 6, 1)))}
    step = make_step(model, optimizer, MSE, 1.0)
    first, *_, final = (step(batch, mx.random.key(n))[0].item() for n in range(60))
    assert final < 0.5 * first


def test_a_checkpoint_restores_it(tmp_path, rng):
    model, optimizer = small(rng, 2, bias=True), optim.Adam(0.1)
    optimizer.init(model.trainable_parameters())
    description = {
        "_target_": "convlstm.architectures.convlstm_stack.ConvLSTMStack",
        "in_channels": 2,
        **SMALL,
        "bias": True,
    }
    save(tmp_path / "last", model, optimizer, {"step": 0}, {"model": description | {"hidden_channels": [3, 4]}})
    loaded, x = convlstm.load(tmp_path / "last"), normal(rng, (2, 2, 4, 6, 2))
    assert isinstance(loaded, ConvLSTMStack)
    assert not loaded.training
    assert mx.array_equal(loaded(x, 4), model(x, 4))


def test_yaml_is_the_default():
    with hydra.initialize_config_dir(str(PROJECT / "configs"), version_base="1.3"):
        config = hydra.compose("train", ["model=convlstm_stack", "loss=mse"])
    model, plain = hydra.utils.instantiate(config.model, _convert_="all"), ConvLSTMStack()
    assert {n: a.shape for n, a in tree_flatten(model.parameters())} == {
        n: a.shape for n, a in tree_flatten(plain.parameters())
    }
    assert model.patch_size == plain.patch_size == 4
    for layer, other in zip(model.layers, plain.layers, strict=True):
        assert (layer.cell.algorithm, layer.dropout, layer.recurrent_dropout) == (other.cell.algorithm, 0.0, 0.0)


def test_train_py_trains_it(tmp_path, monkeypatch, capsys):
    arguments = ["model=convlstm_stack", "loss=mse", "trainer.max_steps=2", f"output={tmp_path}", "name=a"]
    status, out, err = call("train", monkeypatch, capsys, *OVERRIDES, *arguments)
    assert status == 0, err
    assert "ConvLSTMStack" in out
    assert convlstm.load(tmp_path / "a")(mx.zeros((1, 3, 16, 20, 1)), 7).shape == (1, 7, 16, 20, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_channels": 0}, "'in_channels' must be a whole number of at least 1 but got 0."),
        ({"in_channels": 1.0}, "'in_channels' must be a whole number of at least 1 but got 1.0."),
        ({"hidden_channels": []}, "'hidden_channels' must name at least one layer but got none."),
        ({"patch_size": 0}, "'patch_size' must be a whole number of at least 1 but got 0."),
        ({"patch_size": 2.0}, "'patch_size' must be a whole number of at least 1 but got 2.0."),
        ({"bidirectional": True}, "'bidirectional' is not for a forecaster's layers: leave it out."),
        ({"reverse": True}, "'reverse' is not for a forecaster's layers: leave it out."),
        ({"return_sequences": False}, "'return_sequences' is not for a forecaster's layers: leave it out."),
        ({"merge": "sum"}, "'merge' is not for a forecaster's layers: leave it out."),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=re.escape(f"[ConvLSTMStack] {message}")):
        ConvLSTMStack(**{**SMALL, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": 4}, "[ConvLSTMCell] 'kernel_size' must be odd but got 4"),
        (
            {"hidden_channels": [3, 0]},
            "[ConvLSTMStack] 'hidden_channels' must be a whole number of at least 1 but got 0.",
        ),
        ({"dropout": 1}, "[ConvLSTM] 'dropout' must be at least 0 and below 1 but got 1."),
    ],
)
def test_bad_arguments_of_the_layers(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        ConvLSTMStack(**{**SMALL, **arguments})


def test_unknown_argument():
    with pytest.raises(TypeError, match="'hidden'"):
        ConvLSTMStack(1, (3,), hidden=3)


@pytest.mark.parametrize(
    ("shape", "horizon", "message"),
    [
        (
            (1, 2, 9, 8, 1),
            1,
            "frames of 9x8 cannot be cut into patches of 2x2: height and width must be multiples of 'patch_size'. Pad "
            "or crop the frames, or choose another 'patch_size'.",
        ),
        ((1, 2, 8, 7, 1), 1, "frames of 8x7 cannot be cut into patches of 2x2"),
        ((1, 2, 8, 8, 3), 1, "expected inputs of shape NTHWC with C=1 channels but got shape (1, 2, 8, 8, 3)."),
        ((2, 8, 8, 1), 1, "expected inputs of shape NTHWC with C=1 channels but got shape (2, 8, 8, 1)."),
        ((1, 2, 8, 8, 1), 0, "'horizon' must be at least 1 but got 0."),
        ((1, 2, 8, 8, 1), -2, "'horizon' must be at least 1 but got -2."),
    ],
)
def test_bad_inputs(shape, horizon, message):
    with pytest.raises(ValueError, match=re.escape(f"[ConvLSTMStack] {message}")):
        ConvLSTMStack(1, **SMALL)(mx.zeros(shape), horizon)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"padding": "valid"}, "layer 0 turns 4x6 into 2x4"),
        ({"stride": 2}, "layer 0 turns 4x6 into 2x3"),
        ({"padding": 2}, "layer 0 turns 4x6 into 6x8"),
    ],
)
def test_layers_must_keep_the_grid(arguments, text):
    message = (
        f"[ConvLSTMStack] {text}, but its output is fed back, so every layer must keep the grid: leave 'stride' and "
        "'padding' at 1 and 'same'."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        ConvLSTMStack(1, **SMALL, **arguments)(mx.zeros((1, 2, 8, 12, 1)), 1)


def test_other_geometry_that_keeps_the_grid(rng):
    for arguments in ({"padding": 1}, {"dilation": 2}):
        assert small(rng, **arguments)(normal(rng, (1, 2, 8, 12, 1)), 2).shape == (1, 2, 8, 12, 1)
