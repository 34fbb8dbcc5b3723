"""The ConvLSTM stack that feeds on its own output."""

import re

import convlstm
from convlstm.architectures.convlstm_stack import ConvLSTMStack
from convlstm.architectures.frames import depth_to_space, space_to_depth
from convlstm.checkpoints import save
from convlstm.layers import ConvLSTM
from convlstm.losses import MeanSquaredError
from convlstm.training.step import make_step
from tests.support import reference
from tests.support.project import PROJECT
from tests.support.reference import close, doubles, normal, randomise
from tests.support.tiny import OVERRIDES, call

import hydra
import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest
from mlx.utils import tree_flatten

SMALL = {"hidden_channels": (3, 4), "kernel_size": 3, "patch_size": 2}
# The forms of layers that go other ways through `convlstm.layers`.
FORMS = {
    "published": {},
    "paper": {"bias": True, "peepholes": True},
    "native": {"bias": True, "algorithm": "native"},
    "wide": {"kernel_size": (3, 5), "peepholes": True, "recurrent_kernel_size": 7},
}
forms = pytest.mark.parametrize("form", FORMS)
MSE = MeanSquaredError()


def small(rng, in_channels=1, **arguments):
    return randomise(ConvLSTMStack(in_channels, **{**SMALL, **arguments}), rng)


def slow(model, inputs, horizon, fed=None):
    """The stack in NumPy: one time step after the other, through all layers. `fed[t]`: frames to feed at step t."""
    p, weights = model.patch_size, doubles(model.parameters())
    inputs = np.array(inputs, dtype=np.float64)
    N, T_in, H, W, C = inputs.shape
    states = [(np.zeros((N, H // p, W // p, n["cell"]["Wh"].shape[-1])),) * 2 for n in weights["layers"]]
    frames = []
    for t in range(T_in + horizon - 1):
        frame = inputs[:, t] if t < T_in else frames[-1]
        frame = fed.get(t, frame) if fed else frame
        x = np.zeros((N, H // p, W // p, p * p * C))
        for row in range(p):
            for column in range(p):
                x[..., (row * p + column) * C : (row * p + column + 1) * C] = frame[:, row::p, column::p]
        for n, layer in enumerate(weights["layers"]):
            states[n] = reference.cell(x, *states[n], layer["cell"])
            x = states[n][0]
        y, frame = reference.convolve(x, weights["output"]["weight"]), np.zeros((N, H, W, C))
        for row in range(p):
            for column in range(p):
                frame[:, row::p, column::p] = y[..., (row * p + column) * C : (row * p + column + 1) * C]
        frames.append(frame)
    return np.stack(frames, axis=1)


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
        assert 0.98 * bound < mx.abs(a).max().item() <= bound
        assert abs(a.mean().item()) < 0.05 * bound


@forms
@pytest.mark.parametrize("horizon", [1, 4])
def test_equals_the_slow_form(form, horizon, rng):
    model, x = small(rng, 2, **FORMS[form]), normal(rng, (2, 3, 6, 10, 2))
    expected = slow(model, x, horizon)
    close(model.unroll_frames(x, horizon), expected, 1e-5)
    close(model(x, horizon), expected[:, -horizon:], 1e-5)


@pytest.mark.parametrize("patch_size", [1, 2, 4])
def test_frames_are_cut_into_patches_of_the_size_asked_for(patch_size, rng):
    model, x = small(rng, 3, patch_size=patch_size), normal(rng, (1, 2, 8, 12, 3))
    assert model.layers[0].cell.in_channels == model.output.weight.shape[0] == 3 * patch_size**2
    close(model(x, 2), slow(model, x, 2)[:, -2:], 1e-5)


@forms
def test_a_mask_of_ones_is_a_walk_over_the_true_frames(form, rng):
    model = small(rng, 2, **FORMS[form])
    x = normal(rng, (2, 6, 4, 6, 2))
    frames = model.unroll_frames(x[:, :3], 4, truth=x[:, 3:], mask=mx.ones((2, 3)))
    hidden = space_to_depth(x, 2)
    for layer in model.layers:
        hidden, _ = layer(hidden)
    close(frames, depth_to_space(hidden @ model.output.weight[:, 0, 0].T, 2), 2e-6)
    close(frames, model.unroll_frames(x, 1), 2e-6)


def test_a_mask_of_zeros_is_a_free_walk(rng):
    model, x = small(rng), normal(rng, (2, 3, 4, 6, 1))
    nowhere = model.unroll_frames(x, 4, truth=mx.full((2, 3, 4, 6, 1), mx.nan), mask=mx.zeros((2, 3)))
    assert mx.array_equal(nowhere, model.unroll_frames(x, 4))
    forced = model.unroll_frames(x, 4, truth=normal(rng, (2, 3, 4, 6, 1)), mask=mx.ones((2, 3)))
    assert mx.array_equal(forced[:, :3], nowhere[:, :3]), "the first frame after the inputs needs none of them"
    assert mx.abs(forced[:, 3:] - nowhere[:, 3:]).max(axis=(0, 2, 3, 4)).min().item() > 1e-3


def test_the_mask_says_which_sequence_and_step_is_fed(rng):
    model, x, truth = small(rng), normal(rng, (3, 2, 4, 6, 1)), normal(rng, (3, 4, 4, 6, 1))
    mask = mx.array([[1, 0, 0], [0, 2, 0], [0, 1, 1]])
    frames = model.unroll_frames(x, 4, truth=truth, mask=mask)
    for n, steps in enumerate(([0], [1], [1, 2])):
        # Step 2 is the first after the two inputs, and the frame that it may be fed the first of the truth.
        fed = {2 + t: np.array(truth[n : n + 1, t], dtype=np.float64) for t in steps}
        close(frames[n : n + 1], slow(model, x[n : n + 1], 4, fed), 1e-5)
    assert mx.array_equal(frames, model.unroll_frames(x, 4, truth=truth, mask=mask == mx.array([1, 2, 1])[:, None]))


def test_truth_may_be_longer_than_what_is_fed(rng):
    model, x, truth = small(rng), normal(rng, (1, 2, 4, 6, 1)), normal(rng, (1, 5, 4, 6, 1))
    long = model.unroll_frames(x, 3, truth=truth, mask=mx.ones((1, 2)))
    assert mx.array_equal(long, model.unroll_frames(x, 3, truth=truth[:, :2], mask=mx.ones((1, 2))))
    assert model.unroll_frames(x, 1, truth=truth[:, :0], mask=mx.ones((1, 0))).shape == (1, 2, 4, 6, 1)


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
    # Through the frames that were fed back, too: along a direction, against a difference in float64.
    model.update(values)
    direction = {name: normal(rng, a.shape) for name, a in gradients.items()}
    slope, step = sum((direction[name] * gradients[name]).sum().item() for name in gradients), 1e-3
    ends = []
    for sign in (1, -1):
        moved = ConvLSTMStack(2, **{**SMALL, **FORMS[form]})
        moved.load_weights([(n, a + sign * step * direction[n]) for n, a in tree_flatten(values)])
        ends.append((np.array(weights, np.float64) * slow(moved, x, 3)[:, -3:]).sum())
    assert slope == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=2e-2)


def test_every_input_frame_and_every_place_matters(rng):
    model = small(rng, kernel_size=5)
    gradient = np.array(mx.grad(lambda x: (model(x, 3) ** 2).sum())(normal(rng, (1, 3, 8, 8, 1))))
    assert (np.abs(gradient).max(axis=(2, 3, 4)) > 1e-6).all()
    assert (gradient[0, -1] != 0).all()


@pytest.mark.parametrize("mask_dtype", [None, mx.bool_, mx.float32])
def test_training_loss_by_hand(mask_dtype, rng):
    model = small(rng)
    x, y = normal(rng, (2, 4, 4, 6, 1)), normal(rng, (2, 3, 4, 6, 1))
    known = np.array(y) > -0.3
    if mask_dtype is None:
        known[:] = True
    mask = None if mask_dtype is None else mx.array(known).astype(mask_dtype)
    target = y if mask is None else mx.where(mx.array(known), y, mx.nan)
    total, share = model.training_loss(MSE, x, target, mask, mx.random.key(0))
    frames = slow(model, x, 3)
    squares = (frames - np.concatenate([x[:, 1:], y], axis=1)) ** 2
    counts = np.concatenate([np.ones((2, 3, 4, 6, 1), bool), known], axis=1)
    assert total.item() == pytest.approx(squares[counts].mean(), rel=1e-5)
    assert share.item() == pytest.approx(squares[:, 3:][known].mean(), rel=1e-5)
    assert share.item() == MSE(model(x, 3), target, mask).item()


def test_training_loss_takes_a_mask_of_whole_frames_and_a_single_target(rng):
    model = small(rng)
    x, y = normal(rng, (2, 3, 4, 6, 1)), normal(rng, (2, 2, 4, 6, 1))
    mask = mx.array([1, 0]).reshape(1, 2, 1, 1, 1)
    total, share = model.training_loss(MSE, x, y, mask, mx.random.key(0))
    expected = model.training_loss(MSE, x, y[:, :1], None, mx.random.key(0))
    close(mx.stack([total, share]), mx.stack(expected), 1e-6)
    for share in (mx.array([1.0]), mx.array([1.0, 1.0])):
        alone = model.training_loss(MSE, x, y[:, :1], None, mx.random.key(0), truth_share=share)
        close(mx.stack(alone), mx.stack(expected), 1e-6)
    one = model.training_loss(MSE, x[:, :1], y[:, :1], None, mx.random.key(0))
    assert one[0].item() == one[1].item()


@pytest.mark.parametrize("share", [[1.0], [1.0, 1.0]])
def test_a_truth_share_of_one_feeds_every_target(share, rng):
    model, share = small(rng), mx.array(share)
    x = normal(rng, (2, 5, 4, 6, 1))
    total, forecast = model.training_loss(MSE, x[:, :2], x[:, 2:], None, mx.random.key(0), truth_share=share)
    close(total, MSE(model.unroll_frames(x[:, :4], 1), x[:, 1:]), 1e-5)
    close(forecast, MSE(model.unroll_frames(x[:, :4], 1)[:, 1:], x[:, 2:]), 1e-5)
    free = model.training_loss(MSE, x[:, :2], x[:, 2:], None, mx.random.key(0))
    assert abs(total.item() - free[0].item()) > 1e-3


@pytest.mark.parametrize("share", [[0.0], [1.0, 0.0]])
def test_a_truth_share_of_zero_feeds_no_target(share, rng):
    model, x, y = small(rng), normal(rng, (2, 3, 4, 6, 1)), normal(rng, (2, 4, 4, 6, 1))
    given = model.training_loss(MSE, x, y, None, mx.random.key(0), truth_share=mx.array(share))
    close(mx.stack(given), mx.stack(model.training_loss(MSE, x, y, None, mx.random.key(0))), 1e-6)


def test_a_truth_share_of_zero_for_the_inputs_feeds_the_first_alone(rng):
    model, x, y = small(rng), normal(rng, (2, 3, 4, 6, 1)), normal(rng, (2, 2, 4, 6, 1))
    total, forecast = model.training_loss(MSE, x, y, None, mx.random.key(0), truth_share=mx.array([0.0, 0.0]))
    frames = slow(model, x[:, :1], 4)
    assert total.item() == pytest.approx(MSE(mx.array(frames), mx.concatenate([x[:, 1:], y], axis=1)).item(), rel=1e-5)
    assert forecast.item() == pytest.approx(MSE(mx.array(frames[:, 2:]), y).item(), rel=1e-5)


def test_a_mask_from_the_second_frame_on_says_which_inputs_are_fed(rng):
    model, x, truth = small(rng), normal(rng, (2, 3, 4, 6, 1)), normal(rng, (2, 2, 4, 6, 1))
    frames = model.unroll_frames(x, 3, truth=truth, mask=mx.array([[1, 0, 0, 1], [0, 1, 1, 0]]))
    for n, steps in enumerate(([1, 4], [2, 3])):
        true = np.concatenate([x, truth], axis=1, dtype=np.float64)
        close(frames[n : n + 1], slow(model, x[n : n + 1, :1], 5, {t: true[n : n + 1, t] for t in steps}), 1e-5)


@pytest.mark.parametrize("share", [[1.0], [1.0, 1.0]])
def test_a_target_is_fed_with_zeros_where_it_is_not_known(share, rng):
    model, x, y = small(rng), normal(rng, (1, 2, 4, 6, 1)), normal(rng, (1, 3, 4, 6, 1))
    mask, arguments = y > 0, (mx.random.key(0),)
    total, _ = model.training_loss(MSE, x, mx.where(mask, y, mx.nan), mask, *arguments, truth_share=mx.array(share))
    expected, _ = model.training_loss(MSE, x, mx.where(mask, y, 0), mask, *arguments, truth_share=mx.array(share))
    assert total.item() == expected.item()


@pytest.mark.parametrize("share", [[0.25], [0.75, 0.25]])
def test_the_truth_share_is_the_probability_of_each_sequence_and_step(share, rng):
    model = small(rng)
    x, y = mx.zeros((200, 4, 2, 2, 1)), mx.zeros((200, 6, 2, 2, 1))
    drawn = []

    def spy(inputs, horizon, truth, mask, key):
        drawn.append(mask)
        return mx.zeros((200, 9, 2, 2, 1)), None

    model._walk = spy
    for seed in (0, 0, 1):
        model.training_loss(MSE, x, y, None, mx.random.key(seed), truth_share=mx.array(share))
    expected = np.repeat(share, [3, 5][-len(share) :])
    assert drawn[0].shape == (200, len(expected))
    assert mx.array_equal(drawn[0], drawn[1])
    assert not mx.array_equal(drawn[0], drawn[2])
    # Three and a half standard errors of a mean over 200 sequences.
    assert np.abs(np.array(drawn[0], float).mean(axis=0) - expected).max() < 3.5 * (0.25 * 0.75 / 200) ** 0.5
    assert len(np.unique(np.array(drawn[0]), axis=0)) > 10
    model.training_loss(MSE, x, y, None, mx.random.key(0))
    assert drawn[-1] is None


@pytest.mark.parametrize("shape", [(), (3,), (1, 1)])
def test_a_truth_share_is_one_or_two_probabilities(shape, rng):
    message = (
        "[ConvLSTMStack] 'truth_share' must be the probabilities of feeding a true target, shape (1,), or a true input "
        f"and a true target, shape (2,), but got shape {shape}."
    )
    x = mx.zeros((1, 2, 4, 6, 1))
    with pytest.raises(ValueError, match=re.escape(message)):
        small(rng).training_loss(MSE, x, x, None, mx.random.key(0), truth_share=mx.zeros(shape))


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


@pytest.mark.parametrize("name", ["dropout", "recurrent_dropout"])
@pytest.mark.parametrize("key", [None, 0])
def test_dropout_is_the_same_for_all_time_steps(name, key, rng):
    """A walk cut in two by what is fed has the masks of the walk in one piece."""
    model = small(rng, **{name: 0.5})
    x = normal(rng, (2, 5, 4, 6, 1))
    key = None if key is None else mx.random.key(key)
    mx.random.seed(3)
    cut = model.unroll_frames(x[:, :2], 4, truth=x[:, 2:], mask=mx.ones((2, 3)), key=key)
    mx.random.seed(3)
    close(cut, model.unroll_frames(x, 1, key=key), 2e-6)


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
    """What is fed takes the inputs' type, so that float32 targets do not widen the recurrence."""
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


def test_a_checkpoint_comes_back(tmp_path, rng):
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


def test_the_door_trains_it(tmp_path, monkeypatch, capsys):
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
def test_layers_that_change_the_grid_are_told(arguments, text):
    message = (
        f"[ConvLSTMStack] {text}, but its output is fed back, so every layer must keep the grid: leave 'stride' and "
        "'padding' at 1 and 'same'."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        ConvLSTMStack(1, **SMALL, **arguments)(mx.zeros((1, 2, 8, 12, 1)), 1)


def test_other_geometry_that_keeps_the_grid_is_taken(rng):
    for arguments in ({"padding": 1}, {"dilation": 2}):
        assert small(rng, **arguments)(normal(rng, (1, 2, 8, 12, 1)), 2).shape == (1, 2, 8, 12, 1)


@pytest.mark.parametrize(
    ("truth", "mask", "message"),
    [
        ((2, 3, 4, 6, 1), None, "'truth' came without 'mask'. Give both, or neither."),
        (None, (2, 3), "'mask' came without 'truth'. Give both, or neither."),
        (
            (2, 2, 4, 6, 1),
            (2, 3),
            "'truth' must be at least 3 frames after the inputs, of shape (2, 3, 4, 6, 1), but got shape "
            "(2, 2, 4, 6, 1).",
        ),
        ((1, 3, 4, 6, 1), (2, 3), "'truth' must be at least 3 frames after the inputs"),
        ((2, 3, 4, 6, 2), (2, 3), "'truth' must be at least 3 frames after the inputs"),
        ((2, 3, 4, 6), (2, 3), "'truth' must be at least 3 frames after the inputs"),
        (
            (2, 4, 4, 6, 1),
            (2, 5),
            "'mask' must have a value for each sequence and step after the inputs, shape (2, 3), or after the first of "
            "them, shape (2, 4), but got shape (2, 5).",
        ),
        ((2, 3, 4, 6, 1), (3,), "'mask' must have a value for each sequence and step after the inputs"),
    ],
)
def test_bad_truth(truth, mask, message):
    arguments = {"truth": truth and mx.zeros(truth), "mask": mask and mx.ones(mask)}
    with pytest.raises(ValueError, match=re.escape(f"[ConvLSTMStack] {message}")):
        ConvLSTMStack(1, **SMALL).unroll_frames(mx.zeros((2, 2, 4, 6, 1)), 4, **arguments)
