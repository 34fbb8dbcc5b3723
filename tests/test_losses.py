"""Training losses: closed forms, and what a mask hides."""

import math
import re

from convlstm.losses import BinaryCrossEntropy, MeanAbsoluteError, MeanSquaredError, WeightedSum

import mlx.core as mx
import numpy as np
import pytest
from reference import normal

SHAPE = (2, 3, 4, 5, 2)
LOSSES = {
    "mse": MeanSquaredError(),
    "mae": MeanAbsoluteError(),
    "bce": BinaryCrossEntropy(),
    "sum": WeightedSum([BinaryCrossEntropy(), MeanAbsoluteError()], [0.5, 2]),
}
losses = pytest.mark.parametrize("name", LOSSES)


def per_pixel(name, p, t):
    """The losses before the mean, in float64."""
    if name == "mse":
        return (p - t) ** 2
    if name == "mae":
        return np.abs(p - t)
    if name == "bce":
        return -(t * np.log(p) + (1 - t) * np.log(1 - p))
    return 0.5 * per_pixel("bce", p, t) + 2 * per_pixel("mae", p, t)


@pytest.fixture
def arrays(rng):
    """Probabilities, targets and a mask, in NumPy."""
    forecast = rng.uniform(0.05, 0.95, SHAPE).astype(np.float32)
    target = rng.uniform(0, 1, SHAPE).astype(np.float32)
    return forecast, target, rng.random(SHAPE) < 0.6


@pytest.mark.parametrize(
    ("loss", "forecast", "target", "expected"),
    [
        (MeanSquaredError(), 0.75, 0.25, 0.25),
        (MeanAbsoluteError(), 0.25, 0.75, 0.5),
        (BinaryCrossEntropy(), 0.5, 0.3, math.log(2)),
        (BinaryCrossEntropy(), 0.25, 1.0, math.log(4)),
        (BinaryCrossEntropy(), 0.25, 0.0, -math.log(0.75)),
        (WeightedSum([MeanSquaredError(), MeanAbsoluteError()]), 0.75, 0.25, 0.75),
        (WeightedSum([MeanSquaredError(), MeanAbsoluteError()], [2, 0.1]), 0.75, 0.25, 0.55),
        (WeightedSum([MeanSquaredError()], [3.0]), 0.75, 0.25, 0.75),
    ],
)
def test_closed_forms(loss, forecast, target, expected):
    value = loss(mx.full(SHAPE, forecast), mx.full(SHAPE, target))
    assert value.shape == ()
    assert value.item() == pytest.approx(expected, rel=5e-6)


@losses
def test_mean_over_all_values(name, arrays):
    forecast, target, _ = arrays
    expected = per_pixel(name, forecast.astype(np.float64), target.astype(np.float64)).mean()
    assert LOSSES[name](mx.array(forecast), mx.array(target)).item() == pytest.approx(expected, rel=5e-6)


@losses
@pytest.mark.parametrize("dtype", [np.bool_, np.float32, np.uint8])
def test_mask_leaves_the_mean_over_what_counts(name, dtype, arrays):
    forecast, target, mask = arrays
    expected = per_pixel(name, forecast.astype(np.float64), target.astype(np.float64))[mask].mean()
    weights = mask.astype(dtype) * dtype(1)
    value = LOSSES[name](mx.array(forecast), mx.array(target), mx.array(weights))
    assert value.item() == pytest.approx(expected, rel=5e-6)


def test_mask_is_where_it_is_not_zero_and_no_weight(arrays):
    forecast, target, mask = (mx.array(a) for a in arrays)
    one, seven = (MeanSquaredError()(forecast, target, mask * weight) for weight in (1.0, 7.0))
    assert one.item() == seven.item()


@losses
def test_mask_is_broadcast_to_the_target(name, arrays):
    forecast, target, mask = arrays
    some = mask[:, :, :, :, :1]
    full = np.broadcast_to(some, SHAPE)
    a, b = (LOSSES[name](mx.array(forecast), mx.array(target), mx.array(m)).item() for m in (some, full))
    assert a == pytest.approx(b, rel=1e-6)
    assert a != pytest.approx(LOSSES[name](mx.array(forecast), mx.array(target)).item(), rel=1e-3)


@losses
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["target", "forecast", "both"])
def test_nothing_under_the_mask_reaches_value_or_gradient(name, where, bad, arrays):
    forecast, target, mask = arrays
    value_and_gradient = mx.value_and_grad(lambda f, t: LOSSES[name](f, t, mx.array(mask)))
    value, gradient = value_and_gradient(mx.array(forecast), mx.array(target))
    spoilt = {"target": target, "forecast": forecast}
    for key in ("target", "forecast") if where == "both" else (where,):
        spoilt[key] = np.where(mask, spoilt[key], np.float32(bad))
    spoilt_value, spoilt_gradient = value_and_gradient(mx.array(spoilt["forecast"]), mx.array(spoilt["target"]))
    assert spoilt_value.item() == value.item()
    assert mx.array_equal(spoilt_gradient, gradient)
    assert (np.array(gradient)[~mask] == 0).all()
    assert (np.array(gradient)[mask] != 0).all()


@losses
def test_nan_that_counts_is_not_hidden(name, arrays):
    forecast, target, mask = arrays
    target[tuple(np.argwhere(mask)[0])] = np.nan
    assert math.isnan(LOSSES[name](mx.array(forecast), mx.array(target), mx.array(mask)).item())
    assert math.isnan(LOSSES[name](mx.array(forecast), mx.array(target)).item())


@losses
def test_nothing_known_is_a_loss_and_a_gradient_of_zero(name, arrays):
    forecast, _, _ = arrays
    target = mx.full(SHAPE, float("nan"))
    loss = LOSSES[name]
    value, gradient = mx.value_and_grad(lambda f: loss(f, target, mx.zeros(SHAPE)))(mx.array(forecast))
    assert value.item() == 0
    assert not mx.any(gradient).item()


@losses
def test_gradients_equal_finite_differences(name, arrays, rng):
    forecast, target, mask = arrays
    gradient = mx.grad(lambda f: LOSSES[name](f, mx.array(target), mx.array(mask)))(mx.array(forecast))
    point, truth, direction = forecast.astype(np.float64), target.astype(np.float64), rng.normal(size=SHAPE)
    ahead, behind = (per_pixel(name, point + step * direction, truth)[mask].mean() for step in (1e-7, -1e-7))
    slope = (np.array(gradient, np.float64) * direction).sum()
    assert slope == pytest.approx((ahead - behind) / 2e-7, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("epsilon", [1e-6, 1e-3])
def test_epsilon_bounds_the_cross_entropy(epsilon):
    loss = BinaryCrossEntropy(epsilon)
    for forecast, target in ((0.0, 1.0), (1.0, 0.0)):
        assert loss(mx.array([forecast]), mx.array([target])).item() == pytest.approx(-math.log(epsilon), rel=5e-3)
    for value in (0.0, 1.0):
        assert loss(mx.array([value]), mx.array([value])).item() == pytest.approx(epsilon, rel=0.1)
    assert BinaryCrossEntropy().epsilon == 1e-6


def test_weighted_sum_takes_any_loss(rng):
    forecast, target, mask = (normal(rng, (2, 3)) for _ in range(3))
    calls = []

    def spy(*arguments):
        calls.append(arguments)
        return mx.array(4.0)

    assert WeightedSum([spy, spy], [1, -0.5])(forecast, target, mask).item() == 2.0
    assert [[a is b for a, b in zip(call, (forecast, target, mask), strict=True)] for call in calls] == [[True] * 3] * 2


@pytest.mark.parametrize("epsilon", [0, -1e-3, 1e-9, 0.5, float("nan")])
def test_bad_epsilon(epsilon):
    message = f"[BinaryCrossEntropy] 'epsilon' must be at least 1e-7 and below 0.5 but got {epsilon}:"
    with pytest.raises(ValueError, match=re.escape(message)):
        BinaryCrossEntropy(epsilon)


def test_a_pixel_that_is_certain_and_wrong_has_a_gradient():
    gradient = mx.grad(lambda p: BinaryCrossEntropy()(p, mx.array([1.0, 0.0])))(mx.array([0.0, 1.0]))
    np.testing.assert_allclose(np.array(gradient), [-5e5, 5e5], rtol=0.1)
    assert BinaryCrossEntropy(1e-7)(mx.array([1.0]), mx.array([1.0])).item() < 1e-6


def test_forecast_and_target_must_have_one_shape():
    message = "[loss] 'forecast' and 'target' must have the same shape but got (2, 2) and (3, 2, 2)."
    with pytest.raises(ValueError, match=re.escape(message)):
        MeanSquaredError()(mx.zeros((2, 2)), mx.zeros((3, 2, 2)))


def test_weights_must_be_one_a_loss():
    with pytest.raises(ValueError, match=re.escape("[WeightedSum] got 2 losses but 1 'weights'. Give one a loss.")):
        WeightedSum([MeanSquaredError(), MeanAbsoluteError()], [1.0])
