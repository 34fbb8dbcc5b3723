"""CycledAdam: beside Adam, and beside PyTorch with its one-cycle schedule. Muon: beside its equation, and Adam."""

from __future__ import annotations

import convlstm  # noqa: F401
from convlstm.models import EncoderForecaster
from convlstm.ops.adam import adam_step
from convlstm.ops.algorithm import without_kernels
from convlstm.training.optimizers import CycledAdam, Muon, is_kernel, orthogonal, take_kernels
from convlstm.training.schedules import one_cycle, one_cycle_beta

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest
from mlx.utils import tree_flatten


def walk(optimizer, steps, start=(1.0, -2.0, 0.5)):
    """Returns the parameters after each step down the slope of sum(w^4) / 4 + w."""
    parameters, seen = {"w": mx.array(start)}, []
    optimizer.init(parameters)
    for _ in range(steps):
        parameters = optimizer.apply_gradients({"w": parameters["w"] ** 3 + 1}, parameters)
        mx.eval(parameters, optimizer.state)
        seen.append(np.array(parameters["w"]))
    return np.array(seen)


def test_a_constant_beta_is_adam():
    plain = walk(optim.Adam(0.1, [0.8, 0.99], 1e-6, bias_correction=True), 9)
    np.testing.assert_allclose(walk(CycledAdam(0.1, 0.8, beta2=0.99, eps=1e-6), 9), plain, rtol=1e-5, atol=1e-6)
    assert not np.allclose(walk(CycledAdam(0.1, 0.9, beta2=0.99), 9), plain, rtol=1e-3)
    assert not np.allclose(walk(CycledAdam(0.1, 0.8, beta2=0.9), 9), plain, rtol=1e-3)
    assert not np.allclose(walk(CycledAdam(0.1, 0.8, beta2=0.99, eps=1.0), 9), plain, rtol=1e-3)


def test_beside_pytorchs_one_cycle():
    torch = pytest.importorskip("torch")
    w = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))
    optimizer = torch.optim.Adam([w], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.2, total_steps=20)
    seen, betas = [], []
    for step in range(20):
        betas.append(optimizer.param_groups[0]["betas"][0])
        optimizer.zero_grad()
        w.grad = w.detach() ** 3 + 1
        optimizer.step()
        if step < 19:
            schedule.step()
        seen.append(w.detach().numpy().copy())
    beta = one_cycle_beta(20)
    np.testing.assert_allclose([float(beta(mx.array(n))) for n in range(20)], betas, rtol=1e-5)
    np.testing.assert_allclose(walk(CycledAdam(one_cycle(0.2, 20), beta), 20), seen, rtol=2e-4, atol=1e-5)


def test_the_cycle_of_beta_by_hand():
    beta = one_cycle_beta(11, warmup_share=0.5, low=0.6, high=0.8)
    # Down along half a cosine to step 4.5, up along another to step 10.
    np.testing.assert_allclose([float(beta(mx.array(n))) for n in (0, 10)], [0.8, 0.8], rtol=1e-6)
    assert float(beta(mx.array(4.5))) == pytest.approx(0.6)
    assert float(beta(mx.array(2.25))) == pytest.approx(0.7)
    assert float(beta(mx.array(7.25))) == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: CycledAdam(0.1, 1.0), "'beta1' must be at least 0 and below 1 but got 1.0"),
        (lambda: CycledAdam(0.1, 0.9, beta2=-1), "'beta2' must be at least 0 and below 1 but got -1"),
        (lambda: CycledAdam(0.1, 0.9, eps=0), "'eps' must be above 0 but got 0"),
        (lambda: Muon(-0.1), "'learning_rate' must be at least 0 but got -0.1"),
        (lambda: Muon(0.1, 1.0), "'momentum' must be at least 0 and below 1 but got 1.0"),
        (lambda: Muon(0.1, betas=[0.9]), r"'betas' must be two numbers of at least 0 and below 1 but got \[0.9\]"),
        (lambda: Muon(0.1, betas=[0.9, 1.0]), "'betas' must be two numbers of at least 0 and below 1 but got"),
        (lambda: Muon(0.1, eps=0), "'eps' must be above 0 but got 0"),
        (lambda: Muon(0.1, rows=0), "'rows' must be a whole number of at least 1 but got 0"),
        (lambda: Muon(0.1, weight_decay=-1), "'weight_decay' must be at least 0 but got -1"),
        (lambda: one_cycle_beta(0), "'steps' must be a whole number of at least 1 but got 0"),
        (lambda: one_cycle_beta(9, 1.0), "'warmup_share' must be between 0 and 1 but got 1.0"),
        (lambda: one_cycle_beta(9, low=0.9, high=0.8), "'low' and 'high' must ascend from 0 to below 1 but got 0.9"),
    ],
)
def test_numbers_out_of_range(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def iterated(matrices):
    """Returns `orthogonal` as its equation states it, in float64."""
    x = matrices / np.linalg.norm(matrices, axis=(1, 2), keepdims=True)
    for _ in range(5):
        gram = x @ x.swapaxes(1, 2)
        x = 3.4445 * x - 4.775 * gram @ x + 2.0315 * gram @ gram @ x
    return x


@pytest.mark.parametrize("shape", [(2, 4, 4), (3, 8, 30), (1, 30, 8), (1, 1, 5)])
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e4])
def test_orthogonal_equals_its_equation(shape, size, rng):
    matrices = size * rng.normal(size=shape)
    np.testing.assert_allclose(orthogonal(mx.array(matrices, mx.float32)), iterated(matrices), atol=2e-4)


def test_orthogonal_keeps_directions_and_levels_their_sizes(rng):
    u, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    v, _ = np.linalg.qr(rng.normal(size=(20, 6)))
    result = np.array(orthogonal(mx.array((u * np.geomspace(1, 0.02, 6)) @ v.T, mx.float32)[None])[0])
    sizes = u.T @ result @ v
    assert np.abs(sizes - np.diag(np.diag(sizes))).max() < 1e-3
    assert 0.6 < np.diag(sizes).min() < np.diag(sizes).max() < 1.25


def test_orthogonal_of_nothing_is_nothing():
    assert not np.array(orthogonal(mx.zeros((2, 3, 5)))).any()


def muon_walk(shape, steps=3, **arguments):
    """Returns a kernel after steps with the gradients w^3 + 1, and the gradients."""
    w = mx.array(np.random.default_rng(5).normal(size=shape), mx.float32)
    optimizer, gradients = Muon(0.1, **arguments), []
    optimizer.init({"w": w})
    for _ in range(steps):
        gradients.append(np.array(w) ** 3 + 1)
        w = optimizer.apply_gradients({"w": mx.array(gradients[-1])}, {"w": w})["w"]
    return np.array(w), gradients


@pytest.mark.parametrize(("shape", "blocks"), [((6, 3, 3, 2), 2), ((5, 3, 1, 2), 5), ((3, 3, 3, 2), 1), ((4, 5, 2), 2)])
def test_kernels_by_the_equation_of_muon(shape, blocks):
    end, gradients = muon_walk(shape, momentum=0.8, rows=3, weight_decay=0.3)
    w, m = np.random.default_rng(5).normal(size=shape), np.zeros(shape)
    for gradient in gradients:
        m = 0.8 * m + 0.2 * gradient
        matrices = (0.8 * m + 0.2 * gradient).reshape(blocks, shape[0] // blocks, -1)
        update = 0.2 * max(matrices.shape[1:]) ** 0.5 * iterated(matrices).reshape(shape)
        w = w - 0.1 * (update + 0.3 * w)
    np.testing.assert_allclose(end, w, atol=2e-4)


def test_arguments_of_muon_matter():
    plain, _ = muon_walk((6, 3, 3, 2))
    for change in ({"momentum": 0.5}, {"rows": 2}, {"weight_decay": 0.1}):
        assert np.abs(muon_walk((6, 3, 3, 2), **change)[0] - plain).max() > 1e-3, change


def test_other_weights_are_adams():
    adam = walk(optim.Adam(0.1, [0.8, 0.99], 1e-6, bias_correction=True), 9)
    np.testing.assert_allclose(walk(Muon(0.1, betas=[0.8, 0.99], eps=1e-6, weight_decay=0.5), 9), adam, atol=1e-6)
    for change in (
        {"betas": [0.9, 0.99], "eps": 1e-6},
        {"betas": [0.8, 0.9], "eps": 1e-6},
        {"betas": [0.8, 0.99], "eps": 1.0},
    ):
        assert not np.allclose(walk(Muon(0.1, **change), 9), adam, rtol=1e-3), change


def test_which_weights_are_kernels():
    model = EncoderForecaster(2, hidden_channels=[4], kernel_size=3, patch_size=2, head_channels=[3])
    kernels = {name for name, array in tree_flatten(model.parameters()) if is_kernel(array)}
    assert kernels == {"encoder.0.cell.Wx", "encoder.0.cell.Wh", "forecaster.0.cell.Wh", "head.0.conv.weight"}
    assert not is_kernel(mx.zeros((8, 7, 7, 1)))  # depthwise


def test_muon_follows_a_schedule():
    still = Muon(lambda step: mx.where(step < 2, 0.0, 0.1))
    parameters = {"w": mx.ones((2, 3, 3, 2)), "b": mx.ones(2)}
    still.init(parameters)
    for step in range(3):
        after = still.apply_gradients(parameters, parameters)
        moved = [mx.abs(after[name] - parameters[name]).max().item() > 1e-3 for name in ("w", "b")]
        assert moved == [step == 2] * 2


@pytest.mark.parametrize("kind", [optim.Adam, optim.AdamW])
@pytest.mark.parametrize("corrects", [True, False])
def test_mlx_s_adam_by_kernels_is_the_same(kind, corrects, kernels):
    def made():
        return kind(one_cycle(0.3, 9), [0.8, 0.99], 1e-4, bias_correction=corrects)

    start, fast = tuple(np.linspace(-2, 2, 37)), made()
    take_kernels(fast)
    np.testing.assert_allclose(walk(fast, 9, start), walk(made(), 9, start), rtol=2e-6, atol=1e-6)
    plain = made()
    take_kernels(plain)
    with without_kernels():
        np.testing.assert_array_equal(walk(plain, 9, start), walk(made(), 9, start))
    others = CycledAdam(0.1, 0.8)
    take_kernels(others)
    assert others.apply_single.__func__ is CycledAdam.apply_single


def test_arrays_of_different_shapes_are_refused(kernels):
    with pytest.raises(ValueError, match="must have one shape but got"):
        adam_step(*map(mx.zeros, (3, 3, 4, 3)), (0.9, 0.99), mx.array(0.1), 1.0, 1e-8)
