"""PredRNN and PredRNN-v2: by hand, published numbers, against PyTorch, and as a forecaster."""

from __future__ import annotations

import convlstm
from convlstm.architectures.predrnn import PredRNN
from convlstm.checkpoints import save
from convlstm.losses import MeanSquaredError
from convlstm.training.sampling import reverse
from convlstm.training.step import make_step
from tests.support.project import PROJECT
from tests.support.reference import close, normal, randomise, sigmoid

import hydra
import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import pytest
from mlx.utils import tree_flatten

SMALL = {"hidden_channels": (4, 4), "kernel_size": 3, "patch_size": 2}
# Models that take different paths through `architectures.st_lstm`. The frames of most tests have 2 x 3 patches.
FORMS = {
    "published": {},
    "v2": {"decoupling": 0.5},
    "native": {"algorithm": "native", "decoupling": 0.5},
    "recomputed": {"recompute": True, "decoupling": 0.5},
    "normed": {"norm_grid": (2, 3)},
    "wide": {"kernel_size": 7, "hidden_channels": (5,)},
}
forms = pytest.mark.parametrize("form", FORMS)
MSE = MeanSquaredError()


def small(rng, in_channels=1, **arguments):
    return randomise(PredRNN(in_channels, **{**SMALL, **arguments}), rng)


def test_one_pixel_by_hand():
    model = PredRNN(1, (1, 1), kernel_size=1, patch_size=1, forget_bias=0.0)
    for cell in model.cells:
        for name in ("Wx", "Wh", "Wm", "Wo"):
            cell[name] = mx.zeros_like(cell[name])
        # The candidates of both memories; all gates stay at a half.
        cell.Wx[2], cell.Wx[5] = 1.0, 2.0
        cell.W1 = mx.array([0.7, -0.4]).reshape(1, 1, 1, 2)
    model.output.weight = mx.full((1, 1, 1, 1), 3.0)
    x, c, m, expected = [0.5, -1.0], [0.0, 0.0], 0.0, []
    for t in range(5):
        value = x[t] if t < 2 else expected[-1]
        for n in range(2):
            c[n] = 0.5 * c[n] + 0.5 * np.tanh(value)
            m = 0.5 * m + 0.5 * np.tanh(2 * value)  # from the layer below, or from the topmost one a step before
            value = 0.5 * np.tanh(0.7 * c[n] - 0.4 * m)
        expected.append(3 * value)
    frames = model.unroll_frames(mx.array(x).reshape(1, 2, 1, 1, 1), 4)
    np.testing.assert_allclose(frames.reshape(-1), expected, rtol=1e-5)
    model.cells[0].forget_bias = 1.0
    first, second = model.unroll_frames(mx.array(x).reshape(1, 2, 1, 1, 1), 1).reshape(-1).tolist()
    assert first == pytest.approx(expected[0], rel=1e-5)
    c, m = 0.5 * np.tanh(0.5), 0.5 * np.tanh(1.0)
    m = 0.5 * m + 0.5 * np.tanh(2 * 0.5 * np.tanh(0.7 * c - 0.4 * m))
    assert sigmoid(1.0) * m != pytest.approx(0.5 * m)
    assert second != pytest.approx(expected[1], rel=1e-3)


def test_the_published_networks():
    model, second = PredRNN(), PredRNN(decoupling=0.1)
    shapes = {name: a.shape for name, a in tree_flatten(model.parameters())}
    expected = {"output.weight": (16, 1, 1, 128)}
    for n in range(4):
        expected[f"cells.{n}.Wx"] = (7 * 128, 5, 5, 128 if n else 16)
        expected[f"cells.{n}.Wh"] = (4 * 128, 5, 5, 128)
        expected[f"cells.{n}.Wm"] = (3 * 128, 5, 5, 128)
        expected[f"cells.{n}.Wo"] = (128, 5, 5, 256)
        expected[f"cells.{n}.W1"] = (128, 1, 1, 256)
    assert shapes == expected
    number, number_v2 = (sum(a.size for _, a in tree_flatten(m.parameters())) for m in (model, second))
    # OpenSTL's table: 23.8M and 116.0G, 23.9M and 116.6G multiplications for 10 -> 10 frames of 64 x 64. W_a,
    # which only training uses, counts twice for each layer and step.
    assert (number, number_v2) == (23_838_720, 23_838_720 + 128 * 128)
    assert (round(number / 1e6, 1), round(number_v2 / 1e6, 1)) == (23.8, 23.9)
    assert round(19 * 16 * 16 * number / 1e9, 1) == 116.0
    assert round(19 * 16 * 16 * (number + 2 * 4 * 128 * 128) / 1e9, 1) == 116.6


# Shape of the inputs, the frames that a draw may feed, and options.
PARITY = {
    "published": ((2, 3, 8, 12, 1), None, {"hidden_channels": (8, 8, 8), "kernel_size": 5}),
    "other channels": ((1, 4, 6, 10, 3), "targets", {"hidden_channels": (5, 5), "forget_bias": 0.2}),
    "v2": ((2, 3, 8, 6, 2), "all", {"hidden_channels": (8, 8), "kernel_size": 5, "decoupling": 0.7}),
    "v2 of one layer": ((3, 2, 4, 10, 1), None, {"hidden_channels": (17,), "decoupling": 0.1}),
    "normed": ((2, 3, 4, 6, 1), "targets", {"hidden_channels": (6, 6), "norm_grid": (2, 3)}),
    "normed v2": ((2, 2, 6, 8, 2), "all", {"hidden_channels": (5, 5), "norm_grid": (3, 4), "decoupling": 0.3}),
}


@pytest.mark.parametrize("algorithm", ["auto", "native"])
@pytest.mark.parametrize("case", PARITY)
def test_equals_pytorch(case, algorithm, rng):
    """Compares predictions, training loss and gradients, with fed frames from a draw."""
    torch = pytest.importorskip("torch")
    from tests.support.torch_predrnn import network, patches, pixels, to_torch, torch_name

    (N, T, H, W, C), sampled, options = PARITY[case]
    model = small(rng, C, **options, algorithm=algorithm)
    x, y, horizon = normal(rng, (N, T, H, W, C)), normal(rng, (N, 3, H, W, C)), 3
    true = patches(mx.concatenate([x, y], axis=1), 2)
    fed = np.ones((N, T + horizon - 1), bool)
    fed[:, T:] = False
    if sampled is not None:
        start = T if sampled == "targets" else 1
        fed[:, start:] = rng.random((N, T + horizon - 1 - start)) < 0.5
    mask = {None: None, "targets": fed[:, T:], "all": fed[:, 1:]}[sampled]
    given = {} if mask is None else {"truth": y, "mask": mx.array(mask)}

    other = network(model)

    def feed(t, frame):
        where = torch.from_numpy(fed[:, t]).reshape(N, 1, 1, 1)
        return true[:, t] if frame is None else torch.where(where, true[:, t], frame)

    frames, likeness = other(feed, T + horizon - 1, model.cells[0].forget_bias)
    total = ((frames - true[:, 1:]) ** 2).mean()
    total = total if likeness is None else total + model.decoupling * likeness
    total.backward()
    close(model.unroll_frames(x, horizon, **given), pixels(frames, 2), 1e-4)

    def minimised():
        # As in `training_loss`, with a given draw.
        walked, penalty = model._walk(x, horizon, given.get("truth"), given.get("mask"), None)
        value = MSE(walked, mx.concatenate([x[:, 1:], y], axis=1))
        return value if penalty is None else value + penalty

    value, gradients = nn.value_and_grad(model, minimised)()
    assert value.item() == pytest.approx(total.item(), rel=1e-5)
    torch_parameters = dict(other.named_parameters())
    assert len(torch_parameters) == len(tree_flatten(gradients))
    for name, gradient in tree_flatten(gradients):
        close(to_torch(gradient).numpy(), torch_parameters[torch_name(name)].grad.numpy(), 1e-4)


@pytest.mark.parametrize("decoupling", [0.1, 0.9])
def test_training_loss_by_hand(decoupling, rng):
    model = small(rng, decoupling=decoupling)
    x, y = normal(rng, (2, 3, 4, 6, 1)), normal(rng, (2, 2, 4, 6, 1))
    total, forecast = model.training_loss(MSE, x, y, None, mx.random.key(0))
    frames = model.unroll_frames(x, 2)
    cosines = []
    state = [[mx.zeros((2, 2, 3, 4))] * 2 for _ in range(2)]
    m = mx.zeros((2, 2, 3, 4))
    true = mx.concatenate([x, frames[:, 2:]], axis=1)
    for t in range(4):
        z = true[:, t].reshape(2, 2, 2, 3, 2, 1).swapaxes(2, 3).reshape(2, 2, 3, 4)
        for n, cell in enumerate(model.cells):
            (z, c, m), added, _ = cell.step(z, (*state[n], m), cell.prepare(), products=True)
            state[n] = [z, c]
            a, b = (np.array(p).reshape(2, 6, 4) @ np.array(model.adapter.weight)[:, 0, 0].T for p in added)
            a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (a, b))
            cosines.append(np.abs((a * b).sum(axis=1)))
    plain = MSE(frames, mx.concatenate([x[:, 1:], y], axis=1)).item()
    assert np.mean(cosines) > 0.05
    assert total.item() == pytest.approx(plain + decoupling * np.mean(cosines), rel=1e-5)
    assert forecast.item() == pytest.approx(MSE(model(x, 2), y).item(), rel=1e-6)


def test_the_decoupling_loss_of_zeros_has_no_gradient(rng):
    model = small(rng, decoupling=1.0)
    for cell in model.cells:
        cell.Wx = mx.zeros_like(cell.Wx)
    x = normal(rng, (1, 2, 4, 6, 1))
    run = nn.value_and_grad(model, lambda: model.training_loss(MSE, x, x, None, mx.random.key(0))[0])
    value, gradients = run()
    assert value.item() == pytest.approx(MSE(mx.zeros((1, 3, 4, 6, 1)), mx.concatenate([x[:, 1:], x], 1)).item())
    assert all(mx.isfinite(g).all().item() for _, g in tree_flatten(gradients))


@forms
def test_a_walk_over_true_frames_and_a_free_one(form, rng):
    model, x = small(rng, 2, **FORMS[form]), normal(rng, (2, 5, 4, 6, 2))
    forced = model.unroll_frames(x[:, :3], 3, truth=x[:, 3:], mask=mx.ones((2, 2)))
    close(forced, model.unroll_frames(x, 1), 2e-6)
    free = model.unroll_frames(x[:, :3], 3)
    assert mx.array_equal(model.unroll_frames(x[:, :3], 3, truth=x[:, 3:], mask=mx.zeros((2, 2))), free)
    assert mx.array_equal(free[:, :3], forced[:, :3])
    assert mx.abs(free[:, 3:] - forced[:, 3:]).max().item() > 1e-3


@forms
def test_a_short_forecast_is_the_start_of_a_long_one_and_goes_on(form, rng):
    model, x = small(rng, **FORMS[form]), normal(rng, (2, 3, 4, 6, 1))
    long = model(x, 7)
    close(long[:, :3], model(x, 3), 2e-6)
    close(model(mx.concatenate([x, long[:, :2]], axis=1), 5), long[:, 2:], 5e-6)
    assert np.abs(np.diff(long, axis=1)).max(axis=(0, 2, 3, 4)).min() > 1e-5


@forms
def test_batch_equals_its_samples(form, rng):
    model, x = small(rng, 2, **FORMS[form]), normal(rng, (3, 3, 4, 6, 2))
    whole = model(x, 3)
    for n in range(3):
        close(model(x[n : n + 1], 3), whole[n : n + 1], 2e-6)


@pytest.mark.parametrize("patch_size", [1, 2, 4])
def test_any_grid_that_patches_divide(patch_size, rng):
    model = small(rng, 3, patch_size=patch_size)
    for shape in ((1, 1, 4, 8, 3), (2, 3, 12, 4, 3)):
        assert model(normal(rng, shape), 2).shape == (shape[0], 2, *shape[2:])


@forms
def test_gradient_reaches_every_parameter(form, rng):
    model = small(rng, 2, **FORMS[form])
    x, y = normal(rng, (2, 3, 4, 6, 2)), normal(rng, (2, 2, 4, 6, 2))
    run = nn.value_and_grad(model, lambda: model.training_loss(MSE, x, y, None, mx.random.key(0))[0])
    for name, gradient in tree_flatten(run()[1]):
        assert mx.abs(gradient).max().item() > 1e-6, name


@pytest.mark.parametrize("algorithm", ["auto", "native"])
def test_recomputation_changes_nothing(algorithm, rng):
    results = []
    for recompute in (False, True):
        options = {"algorithm": algorithm, "decoupling": 0.5, "recompute": recompute}
        model = small(np.random.default_rng(1), **options)
        x, y = (normal(np.random.default_rng(2), (2, 3, 4, 6, 1)) for _ in range(2))
        f = nn.value_and_grad(model, lambda m=model, x=x, y=y: m.training_loss(MSE, x, y, None, mx.random.key(0))[0])
        results.append([f()[0], *(g for _, g in tree_flatten(f()[1]))])
    for a, b in zip(*results, strict=True):
        close(a, b, 1e-6)


def peak_bytes(length: int, recompute: bool) -> int:
    """Returns the peak memory of the gradient of a walk over some frames."""
    model = PredRNN(1, (16,), kernel_size=3, patch_size=1, recompute=recompute)
    x = mx.zeros((1, length, 32, 32, 1))
    f = nn.value_and_grad(model, lambda: (model(x, 1) ** 2).sum())
    mx.eval(model.parameters(), x)
    mx.clear_cache()
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    mx.eval(f())
    return mx.get_peak_memory() - before


@pytest.mark.usefixtures("kernels")
def test_recomputation_takes_less_memory_for_a_step():
    kept, recomputed = (peak_bytes(16, recompute) - peak_bytes(6, recompute) for recompute in (False, True))
    assert recomputed < 0.5 * kept


def test_half_precision(rng):
    model, x = small(rng, decoupling=0.5), normal(rng, (2, 3, 4, 6, 1))
    exact = model(x, 3)
    model.set_dtype(mx.bfloat16)
    frames = model(x.astype(mx.bfloat16), 3)
    assert frames.dtype == mx.bfloat16
    close(frames.astype(mx.float32), exact, 0.1)
    assert model.training_loss(MSE, x.astype(mx.bfloat16), x, None, mx.random.key(0))[0].dtype == mx.float32


def test_training_steps_under_the_reverse_schedule_lower_the_loss(rng):
    model, optimizer = small(rng, decoupling=0.05), optim.Adam(1e-2)
    optimizer.init(model.trainable_parameters())
    batch = {"inputs": mx.abs(normal(rng, (2, 3, 4, 6, 1))), "targets": mx.abs(normal(rng, (2, 3, 4, 6, 1)))}
    step = make_step(model, optimizer, MSE, 1.0, sampling=reverse(5, 15, time_constant=3))
    losses = [step(batch, mx.random.key(n), n)[0].item() for n in range(25)]
    assert losses[-1] < 0.8 * losses[0]


def test_a_checkpoint_restores_it(tmp_path, rng):
    model, optimizer = small(rng, 2, decoupling=0.1), optim.Adam(0.1)
    optimizer.init(model.trainable_parameters())
    description = {"_target_": "convlstm.architectures.predrnn.PredRNN", "in_channels": 2, **SMALL, "decoupling": 0.1}
    save(tmp_path / "last", model, optimizer, {"step": 0}, {"model": description | {"hidden_channels": [4, 4]}})
    loaded, x = convlstm.load(tmp_path / "last"), normal(rng, (2, 2, 4, 6, 2))
    assert isinstance(loaded, PredRNN)
    assert mx.array_equal(loaded(x, 4), model(x, 4))


@pytest.mark.parametrize(("name", "decoupling"), [("predrnn", None), ("predrnn_v2", 0.1)])
def test_yaml_is_the_published_model(name, decoupling):
    with hydra.initialize_config_dir(str(PROJECT / "configs"), version_base="1.3"):
        config = hydra.compose("train", [f"model={name}", "loss=mse"])
    model, plain = hydra.utils.instantiate(config.model, _convert_="all"), PredRNN(decoupling=decoupling)
    assert {n: a.shape for n, a in tree_flatten(model.parameters())} == {
        n: a.shape for n, a in tree_flatten(plain.parameters())
    }
    for m in (model, plain):
        assert (m.patch_size, m.decoupling, m.recompute, m.feeds_back) == (4, decoupling, False, True)
        assert {(c.forget_bias, c.algorithm, c.norm_grid) for c in m.cells} == {(1.0, "auto", None)}
