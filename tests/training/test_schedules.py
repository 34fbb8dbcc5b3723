"""Learning-rate schedules: closed-form points, and PyTorch's one-cycle formula."""

import math
import re

from convlstm.training.schedules import constant, cosine, one_cycle, staircase

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest


def rates(schedule, steps):
    """Returns the learning rate of each step, called as the optimizers call it."""
    return np.array([schedule(mx.array(step, mx.uint64)).item() for step in steps])


def test_constant_is_a_number():
    assert constant(3e-4) == 3e-4


def test_constant_after_a_linear_warmup():
    expected = 0.5 * np.array([0.2, 0.4, 0.6, 0.8, 1, 1, 1])
    np.testing.assert_allclose(rates(constant(0.5, warmup_steps=4), [0, 1, 2, 3, 4, 5, 10**6]), expected, rtol=1e-6)


def test_cosine_closed_form():
    schedule = cosine(2e-3, 100, warmup_share=0.2, final_share=0.1)
    # Half-way down from 2e-3 to 2e-4; a third of the way the cosine of 60 degrees.
    expected = {0: 2e-3 / 21, 19: 2e-3 * 20 / 21, 20: 2e-3, 60: 1.1e-3, 100: 2e-4, 101: 2e-4, 10**5: 2e-4}
    np.testing.assert_allclose(rates(schedule, expected), list(expected.values()), rtol=1e-5)
    third = cosine(1.0, 90, warmup_share=0, final_share=0)
    np.testing.assert_allclose(rates(third, [0, 30, 45, 60, 90]), [1, 0.75, 0.5, 0.25, 0], rtol=0, atol=1e-6)


def test_cosine_defaults():
    schedule = cosine(1.0, 1000)
    np.testing.assert_allclose(rates(schedule, [0, 49, 50, 1000]), [1 / 51, 50 / 51, 1, 0.01], rtol=1e-5)
    np.testing.assert_allclose(rates(schedule, [525]), [0.505], rtol=1e-5)


def test_cosine_rises_then_falls():
    values = rates(cosine(1.0, 40, warmup_share=0.25), range(41))
    assert values.argmax() == 10
    assert (np.diff(values[:11]) > 0).all()
    assert (np.diff(values[10:]) < 0).all()


def torch_one_cycle(step, max_lr, total_steps, pct_start=0.3, div_factor=25.0, final_div_factor=1e4):
    """Returns the rate of PyTorch's `OneCycleLR` with two phases and cosine annealing, from its documentation."""
    initial_lr = max_lr / div_factor
    min_lr = initial_lr / final_div_factor
    peak, end = pct_start * total_steps - 1, total_steps - 1
    first, last, share = (initial_lr, max_lr, step / peak) if step <= peak else (
        max_lr, min_lr, (step - peak) / (end - peak)
    )  # fmt: skip
    return last + (first - last) / 2 * (1 + math.cos(math.pi * share))


@pytest.mark.parametrize(
    ("steps", "options", "named"),
    [
        (100, {}, {}),
        (10, {}, {}),
        (37, {"warmup_share": 0.5}, {"pct_start": 0.5}),
        (64, {"warmup_share": 0.1, "div": 10.0, "final_div": 100.0},
         {"pct_start": 0.1, "div_factor": 10.0, "final_div_factor": 100.0}),
        (1000, {"div": 2.0}, {"div_factor": 2.0}),
        (50, {"final_div": 3.0}, {"final_div_factor": 3.0}),
    ],
)  # fmt: skip
def test_one_cycle_is_pytorch_s(steps, options, named):
    expected = [torch_one_cycle(step, 5e-4, steps, **named) for step in range(steps)]
    # The floor is float32's resolution of the highest rate, which the cosine ends in.
    np.testing.assert_allclose(rates(one_cycle(5e-4, steps, **options), range(steps)), expected, rtol=2e-5, atol=1e-10)


def test_one_cycle_closed_form():
    schedule = one_cycle(1.0, 100)
    np.testing.assert_allclose(rates(schedule, [0, 29, 64, 99, 1000]), [0.04, 1, 0.5, 4e-6, 4e-6], rtol=1e-4, atol=1e-7)


def test_staircase_closed_form():
    schedule = staircase(0.8, 10, factor=0.5, minimum=0.15)
    expected = {0: 0.8, 9: 0.8, 10: 0.4, 19: 0.4, 20: 0.2, 30: 0.15, 10**6: 0.15}
    np.testing.assert_allclose(rates(schedule, expected), list(expected.values()), rtol=1e-6)
    np.testing.assert_allclose(rates(staircase(1.0, 20000), [19999, 40000]), [1, 0.49], rtol=1e-6)


@pytest.mark.parametrize("schedule", [constant(0.1, 3), cosine(0.1, 10), one_cycle(0.1, 10), staircase(0.1, 2)])
def test_an_optimizer_takes_it(schedule):
    optimizer = optim.SGD(schedule)
    weights = {"w": mx.array([0.0])}
    for step in range(4):
        optimizer.apply_gradients({"w": mx.array([1.0])}, weights)
        assert optimizer.learning_rate.item() == pytest.approx(schedule(mx.array(step)).item(), rel=1e-6)


@pytest.mark.parametrize("make", [lambda steps: cosine(1e-3, steps), lambda steps: one_cycle(1e-3, steps)])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_shortest_runs_have_rates(make, steps):
    values = rates(make(steps), range(steps + 2))
    assert np.isfinite(values).all()
    assert (values > 0).all()
    assert (values <= 1e-3 * (1 + 1e-6)).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: constant(0), "[constant] 'learning_rate' must be above 0 but got 0."),
        (lambda: constant(float("nan")), "[constant] 'learning_rate' must be a finite number but got nan."),
        (lambda: constant(1e-3, -1), "[constant] 'warmup_steps' must be a whole number of at least 0 but got -1."),
        (lambda: cosine(-1e-3, 10), "[cosine] 'learning_rate' must be above 0 but got -0.001."),
        (lambda: cosine(1e-3, 0), "[cosine] 'steps' must be a whole number of at least 1 but got 0."),
        (lambda: cosine(1e-3, 10, 1.0), "[cosine] 'warmup_share' must be at least 0 and below 1 but got 1.0."),
        (lambda: cosine(1e-3, 10, -0.1), "[cosine] 'warmup_share' must be at least 0 and below 1 but got -0.1."),
        (lambda: staircase(0.0, 10), "[staircase] 'learning_rate' must be above 0 but got 0.0."),
        (lambda: staircase(1e-3, 0), "[staircase] 'every' must be a whole number of at least 1 but got 0."),
        (lambda: staircase(1e-3, 10, 1.5), "[staircase] 'factor' must be above 0 and at most 1 but got 1.5."),
        (lambda: staircase(1e-3, 10, 0.0), "[staircase] 'factor' must be above 0 and at most 1 but got 0.0."),
        (lambda: staircase(1e-3, 10, 0.7, 1), "[staircase] 'minimum' must be from 0 to the learning rate but got 1."),
        (lambda: staircase(1e-3, 10, 0.7, -1), "[staircase] 'minimum' must be from 0 to the learning rate but got -1."),
        (lambda: one_cycle(0.0, 10), "[one_cycle] 'learning_rate' must be above 0 but got 0.0."),
        (lambda: one_cycle(1e-3, -5), "[one_cycle] 'steps' must be a whole number of at least 1 but got -5."),
        (lambda: one_cycle(1e-3, 10, 0.0), "[one_cycle] 'warmup_share' must be between 0 and 1 but got 0.0."),
        (lambda: one_cycle(1e-3, 10, 1.0), "[one_cycle] 'warmup_share' must be between 0 and 1 but got 1.0."),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()
