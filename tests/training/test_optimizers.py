"""CycledAdam: beside Adam, and beside PyTorch with its one-cycle schedule."""

from __future__ import annotations

import convlstm  # noqa: F401
from convlstm.training.optimizers import CycledAdam
from convlstm.training.schedules import one_cycle, one_cycle_beta

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest


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
        (lambda: one_cycle_beta(0), "'steps' must be a whole number of at least 1 but got 0"),
        (lambda: one_cycle_beta(9, 1.0), "'warmup_share' must be between 0 and 1 but got 1.0"),
        (lambda: one_cycle_beta(9, low=0.9, high=0.8), "'low' and 'high' must ascend from 0 to below 1 but got 0.9"),
    ],
)
def test_numbers_out_of_range(make, text):
    with pytest.raises(ValueError, match=text):
        make()
