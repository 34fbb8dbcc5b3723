"""SimVP: published numbers, against PyTorch, and as a forecaster."""

from __future__ import annotations

import re

from convlstm.architectures.simvp import SimVP, pixels
from convlstm.losses import MeanSquaredError
from convlstm.training.step import make_step
from tests.support.project import PROJECT
from tests.support.reference import close, normal

import hydra
import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map
from omegaconf import OmegaConf

SMALL = {"frames": 3, "hidden_channels": 4, "translator_channels": 6, "levels": 2, "blocks": 2}
FORMS = {
    "gsta": {"mlp_ratio": 2.0, "large_kernel": 9},
    "incepu": {"translator": "incepu", "kernel_sizes": (3, 5), "groups": 3},
}
forms = pytest.mark.parametrize("form", FORMS)
MSE = MeanSquaredError()

# Our names -> OpenSTL's, in this order.
NAMES = (
    (r"^encoder\.(\d+)\.conv", r"enc.enc.\1.conv.conv"),
    (r"^encoder\.(\d+)\.norm", r"enc.enc.\1.conv.norm"),
    (r"^decoder\.(\d+)\.norm", r"dec.dec.\1.conv.norm"),
    (r"^output\.", "dec.readout."),
    (r"^translator\.blocks\.(\d+)\.reduce", r"hid.enc.\1.reduction"),
    (r"^translator\.blocks\.(\d+)\.(norm\d)", r"hid.enc.\1.block.\2"),
    (r"^translator\.blocks\.(\d+)\.attention\.project(\d)", r"hid.enc.\1.block.attn.proj_\2"),
    (r"^translator\.blocks\.(\d+)\.attention\.gate\.near", r"hid.enc.\1.block.attn.spatial_gating_unit.conv0"),
    (r"^translator\.blocks\.(\d+)\.attention\.gate\.far", r"hid.enc.\1.block.attn.spatial_gating_unit.conv_spatial"),
    (r"^translator\.blocks\.(\d+)\.attention\.gate\.mix", r"hid.enc.\1.block.attn.spatial_gating_unit.conv1"),
    (r"^translator\.blocks\.(\d+)\.perceptron\.expand", r"hid.enc.\1.block.mlp.fc1"),
    (r"^translator\.blocks\.(\d+)\.perceptron\.depthwise", r"hid.enc.\1.block.mlp.dwconv.dwconv"),
    (r"^translator\.blocks\.(\d+)\.perceptron\.contract", r"hid.enc.\1.block.mlp.fc2"),
    (r"^translator\.blocks\.(\d+)\.scale(\d)", r"hid.enc.\1.block.layer_scale_\2"),
    (r"^translator\.down\.(\d+)\.inner", r"hid.enc.\1.conv1"),
    (r"^translator\.up\.(\d+)\.inner", r"hid.dec.\1.conv1"),
    (r"^translator\.down\.(\d+)\.branches", r"hid.enc.\1.layers"),
    (r"^translator\.up\.(\d+)\.branches", r"hid.dec.\1.layers"),
)


def small(rng, in_channels=1, **arguments):
    """Returns a small model with random weights and random running statistics."""
    model = SimVP(in_channels, **{**SMALL, **arguments})

    def drawn(a):
        return normal(rng, a.shape, a[0].size ** -0.5 if a.ndim > 1 else 0.5) + (a.ndim == 1) * 0.5

    model.update(tree_map(drawn, model.parameters()))
    for name, array in tree_flatten(model.parameters()):
        if name.endswith("running_var"):
            array[:] = mx.abs(array) + 0.3
    return model


def number_of_parameters(model):
    return sum(a.size for _, a in tree_flatten(model.trainable_parameters()))


@pytest.mark.parametrize(("choice", "parameters"), [("simvp", 46_769_665), ("simvp_incepu", 57_946_113)])
def test_the_configurations_have_the_published_number_of_parameters(choice, parameters):
    # 46.8M and 58.0M in OpenSTL's table.
    config = OmegaConf.load(PROJECT / f"configs/model/{choice}.yaml")
    assert number_of_parameters(hydra.utils.instantiate(config, _convert_="all")) == parameters


def openstl_parameter(model, name, array):
    """Returns OpenSTL's name and PyTorch's layout of a parameter."""
    if match := re.match(r"decoder\.(\d+)\.conv\.(.*)", name):
        up = ".0" if model.decoder[int(match[1])].up else ""
        other_name = f"dec.dec.{match[1]}.conv.conv{up}.{match[2]}"
    else:
        other_name = next(re.sub(ours, other, name) for ours, other in NAMES if re.match(ours, name))
    if array.ndim == 3:  # depthwise
        array = array.transpose(2, 0, 1)[:, None]
    elif array.ndim == 4:
        array = array.transpose(0, 3, 1, 2)
    elif array.ndim == 2:
        array = array[:, :, None, None]
    return other_name, np.array(array)


def torch_model(model, form, in_channels=1, **arguments):
    """Returns PyTorch's model with our weights."""
    torch = pytest.importorskip("torch")
    from tests.support import torch_simvp

    settings = {**SMALL, **FORMS[form], **arguments}
    sizes = [settings.pop(name) for name in ("frames", "hidden_channels", "translator_channels", "levels", "blocks")]
    other = torch_simvp.SimVP(in_channels, *sizes, **settings)
    weights = dict(openstl_parameter(model, *pair) for pair in tree_flatten(model.parameters()))
    wrong = other.load_state_dict({name: torch.tensor(array) for name, array in weights.items()}, strict=False)
    assert not wrong.unexpected_keys
    assert all(name.endswith("num_batches_tracked") for name in wrong.missing_keys)
    return torch, other


@forms
@pytest.mark.parametrize(("N", "H", "W", "C", "more"), [(2, 8, 12, 1, {}), (1, 16, 8, 2, {"levels": 4, "blocks": 3})])
def test_values_and_gradients_are_those_of_pytorch(form, N, H, W, C, more, rng):
    model = small(rng, C, **FORMS[form], **more)
    torch, other = torch_model(model, form, C, **more)
    x, dy = normal(rng, (N, 3, H, W, C)), normal(rng, (N, 3, H, W, C))
    for training in (False, True):
        model.train(training)
        other.train(training)
        inputs = torch.tensor(np.array(x.transpose(0, 1, 4, 2, 3)), requires_grad=True)
        other.zero_grad()
        expected = other(inputs)
        (expected * torch.tensor(np.array(dy.transpose(0, 1, 4, 2, 3)))).sum().backward()

        def value(parameters, x):
            model.update(parameters)
            return (model(x, 3) * dy).sum()

        close(model(x, 3).transpose(0, 1, 4, 2, 3), expected.detach().numpy(), 1e-4)
        parameters, slopes = mx.grad(value, argnums=(0, 1))(model.trainable_parameters(), x)
        close(slopes.transpose(0, 1, 4, 2, 3), inputs.grad.numpy(), 1e-4)
        gradients = dict(other.named_parameters())
        for name, array in tree_flatten(parameters):
            other_name, ours = openstl_parameter(model, name, array)
            expected = gradients[other_name].grad.numpy()
            # Relative to the largest: the gradient of a bias before a norm consists of rounding errors.
            assert np.abs(ours - expected).max() <= 1e-4 * max(np.abs(expected).max(), 1.0), name


def test_four_times_the_channels_become_pixels_as_pytorch_shuffles_them(rng):
    torch = pytest.importorskip("torch")
    x = normal(rng, (2, 3, 4, 8))
    expected = torch.pixel_shuffle(torch.tensor(np.array(x.transpose(0, 3, 1, 2))), 2).numpy()
    x = x.reshape(2, 3, 4, 2, 4).swapaxes(3, 4).reshape(x.shape)  # PyTorch's channels are c, row, column
    assert np.array_equal(np.array(pixels(x).transpose(0, 3, 1, 2)), expected)


@forms
def test_a_longer_horizon_is_forecast_from_its_own_forecasts(form, rng):
    model = small(rng, **FORMS[form])
    model.eval()
    x = normal(rng, (2, 3, 8, 4, 1))
    first, second = model(x, 3), model(model(x, 3), 3)
    close(model(x, 5), mx.concatenate([first, second], axis=1)[:, :5], 1e-6)
    close(model(x, 2), first[:, :2], 1e-6)
    longer = mx.concatenate([normal(rng, (2, 2, 8, 4, 1)), x], axis=1)
    close(model(longer, 3), first, 1e-6)  # the last frames of longer inputs count


@forms
def test_a_batch_is_its_samples_in_evaluation(form, rng):
    model = small(rng, 2, **FORMS[form])
    model.eval()
    x = normal(rng, (3, 3, 8, 6, 2))
    close(mx.concatenate([model(x[n : n + 1], 3) for n in range(3)]), model(x, 3), 2e-5)


@forms
def test_recomputing_changes_no_gradient(form, rng):
    x, targets = normal(rng, (2, 3, 8, 8, 1)), normal(rng, (2, 3, 8, 8, 1))
    results = []
    for recompute in (False, True):
        model = small(np.random.default_rng(7), **FORMS[form], recompute=recompute)
        optimizer = optim.SGD(0.1)
        optimizer.init(model.trainable_parameters())
        step = make_step(model, optimizer, MSE)
        for n in range(2):
            value, norm = step({"inputs": x, "targets": targets}, mx.random.key(n))
        results.append((float(value), float(norm), dict(tree_flatten(model.parameters()))))
    assert results[1][:2] == pytest.approx(results[0][:2], rel=1e-5)
    for name, array in results[0][2].items():
        assert float(mx.abs(array - results[1][2][name]).max()) < 1e-5, name


def test_weights_start_as_in_openstl():
    model = SimVP(frames=4, hidden_channels=32, translator_channels=96, levels=2, blocks=2)
    weights = dict(tree_flatten(model.trainable_parameters()))
    outputs = {"project1": 128, "mix": 256, "project2": 128, "expand": 1024, "contract": 128}
    for name, array in weights.items():
        part = next((n for n in outputs if f".{n}.weight" in name and ".blocks.0." in name), None)
        if part is not None:  # normal, of variance 2 / outputs
            assert float(mx.std(array)) == pytest.approx((2 / outputs[part]) ** 0.5, rel=0.05), name
            assert float(mx.abs(array).max()) > 3 * float(mx.std(array))
        elif name.endswith("weight") and array.ndim == 3:  # depthwise, by the same rule
            assert float(mx.std(array)) == pytest.approx(2**0.5 / array.shape[0], rel=0.05), name
        elif name.endswith("weight") and array.ndim == 4 and name != "output.weight":
            assert float(mx.std(array)) == pytest.approx(0.02, rel=0.15), name
        elif "reduce.weight" in name or name == "output.weight":  # PyTorch's own
            bound = array.shape[-1] ** -0.5
            assert 0.8 * bound < float(mx.abs(array).max()) <= bound * (1 + 1e-6), name
        elif name.endswith("bias") and "reduce" not in name:
            assert not mx.any(array), name


def test_inceptions_start_as_in_pytorch():
    model = SimVP(frames=4, hidden_channels=32, translator_channels=64, levels=2, blocks=2, translator="incepu")
    for name, array in tree_flatten(model.translator.trainable_parameters()):
        if name.endswith("weight") and ".norm." not in name:
            bound = array[0].size ** -0.5
            assert 0.9 * bound < float(mx.abs(array).max()) <= bound * (1 + 1e-6), name


@forms
def test_it_learns(form, rng):
    model = SimVP(**{**SMALL, **FORMS[form]})
    x = mx.array(rng.random((4, 3, 8, 8, 1), np.float32))
    optimizer = optim.Adam(3e-3)
    optimizer.init(model.trainable_parameters())
    step = make_step(model, optimizer, MSE)
    losses = [float(step({"inputs": x, "targets": 1 - x}, mx.random.key(n))[0]) for n in range(80)]
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"in_channels": 0}, "'in_channels' must be a whole number of at least 1 but got 0"),
        ({"frames": 0}, "'frames' must be a whole number of at least 1 but got 0"),
        ({"hidden_channels": 5}, "'hidden_channels' must be even but got 5"),
        ({"levels": 3}, "'levels' must be even but got 3"),
        ({"translator_channels": 0}, "'translator_channels' must be a whole number"),
        ({"blocks": 1}, "'blocks' must be a whole number of at least 2 but got 1."),
        ({"kernel_size": 4}, "'kernel_size' must be odd but got 4"),
        ({"translator": "vit"}, "'translator' must be one of gsta, incepu but got 'vit'"),
        ({"mlp_ratio": 0}, "'mlp_ratio' must be at least 1 but got 0"),
        ({"large_kernel": 3}, "'large_kernel' must be a whole number of at least 9 but got 3"),
        ({"translator": "incepu", "groups": 0}, "'groups' must be a whole number of at least 1 but got 0"),
        (
            {"translator": "incepu", "kernel_sizes": [4]},
            r"'kernel_sizes' must be odd numbers, one or more, but got \[4\]",
        ),
    ],
)
def test_bad_arguments(arguments, text):
    with pytest.raises(ValueError, match=text):
        SimVP(**{**SMALL, **arguments})


@pytest.mark.parametrize(
    ("shape", "horizon", "text"),
    [
        ((1, 3, 8, 8, 2), 3, r"NTHWC with C=1 channels but got shape \(1, 3, 8, 8, 2\)"),
        ((1, 3, 8, 8, 1), 0, "'horizon' must be at least 1 but got 0"),
        ((1, 2, 8, 8, 1), 3, "at least 3 input frames .'frames'. but got 2"),
        ((1, 3, 8, 7, 1), 3, "frames of 8x7 cannot be halved 1 times: height and width must be multiples of 2"),
    ],
)
def test_inputs_that_do_not_fit(shape, horizon, text):
    with pytest.raises(ValueError, match=text):
        SimVP(**SMALL)(mx.zeros(shape), horizon)
