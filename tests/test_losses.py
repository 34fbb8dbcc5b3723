"""Training losses: closed forms, masks, and missing values."""

import dataclasses
import math
import re
from pathlib import Path

from convlstm.datasets.transforms import LogRain, Reflectivity
from convlstm.losses import (
    Balanced,
    BalancedMeanAbsoluteError,
    BalancedMeanSquaredError,
    BinaryCrossEntropy,
    MeanAbsoluteError,
    MeanSquaredError,
    WeightedSum,
)
from tests.support.reference import normal

import mlx.core as mx
import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

SHAPE = (2, 3, 4, 5, 2)
BINS, WEIGHTS = (0.2, 0.5, 0.75), (1.0, 2.0, 5.0, 0.5)
LOSSES = {
    "mse": MeanSquaredError(),
    "mae": MeanAbsoluteError(),
    "bce": BinaryCrossEntropy(),
    "sum": WeightedSum([BinaryCrossEntropy(), MeanAbsoluteError()], [0.5, 2]),
    "b_mse": BalancedMeanSquaredError(BINS, WEIGHTS),
    "b_mae": BalancedMeanAbsoluteError(BINS, WEIGHTS),
    "balanced": Balanced(BINS, WEIGHTS, squared=2.0, absolute=0.25),
}
losses = pytest.mark.parametrize("name", LOSSES)


def per_pixel(name, p, t):
    """Returns the losses before the mean, in float64."""
    if name == "mse":
        return (p - t) ** 2
    if name == "mae":
        return np.abs(p - t)
    if name == "bce":
        return -(t * np.log(p) + (1 - t) * np.log(1 - p))
    if name == "sum":
        return 0.5 * per_pixel("bce", p, t) + 2 * per_pixel("mae", p, t)
    weight = np.array(WEIGHTS)[np.searchsorted(BINS, t, side="right")]
    squared, absolute = {"b_mse": (1, 0), "b_mae": (0, 1), "balanced": (2, 0.25)}[name]
    return weight * (squared * (p - t) ** 2 + absolute * np.abs(p - t))


@pytest.fixture
def arrays(rng):
    """Returns probabilities, targets and a mask, in NumPy."""
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
def test_mask_leaves_the_mean_over_valid_values(name, dtype, arrays):
    forecast, target, mask = arrays
    expected = per_pixel(name, forecast.astype(np.float64), target.astype(np.float64))[mask].mean()
    weights = mask.astype(dtype) * dtype(1)
    value = LOSSES[name](mx.array(forecast), mx.array(target), mx.array(weights))
    assert value.item() == pytest.approx(expected, rel=5e-6)


def test_any_nonzero_value_of_the_mask_counts_once(arrays):
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
def test_a_valid_nan_is_not_hidden(name, arrays):
    forecast, target, mask = arrays
    target[tuple(np.argwhere(mask)[0])] = np.nan
    assert math.isnan(LOSSES[name](mx.array(forecast), mx.array(target), mx.array(mask)).item())
    assert math.isnan(LOSSES[name](mx.array(forecast), mx.array(target)).item())


@losses
def test_an_empty_mask_gives_a_loss_and_a_gradient_of_zero(name, arrays):
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
    bounds = "a finite number" if math.isnan(epsilon) else "at least 1e-07 and below 0.5"
    message = f"[BinaryCrossEntropy] 'epsilon' must be {bounds} but got {epsilon}."
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


def test_weights_must_be_one_per_loss():
    with pytest.raises(ValueError, match=re.escape("[WeightedSum] got 2 losses but 1 'weights'. Give one per loss.")):
        WeightedSum([MeanSquaredError(), MeanAbsoluteError()], [1.0])


def test_a_pixel_weighs_by_the_bin_of_its_truth():
    """0.125 is below all bins, 0.25 and 0.5 are the lower ends of theirs; the forecast's bin does not matter."""
    target = mx.array([0.125, 0.25, 0.375, 0.5, 1.0])
    forecast = mx.array([0.625, 0.75, 0.875, 1.0, 0.5])
    bins, weights = [0.25, 0.5], [1, 10, 100]
    weight = (1 + 10 + 10 + 100 + 100) / 5
    squared, absolute = BalancedMeanSquaredError(bins, weights), BalancedMeanAbsoluteError(bins, weights)
    assert squared(forecast, target).item() == pytest.approx(0.25 * weight, rel=1e-6)
    assert absolute(forecast, target).item() == pytest.approx(0.5 * weight, rel=1e-6)
    assert Balanced(bins, weights)(forecast, target).item() == pytest.approx(0.75 * weight, rel=1e-6)
    mask = mx.array([1, 0, 0, 1, 0])
    assert squared(forecast, target, mask).item() == pytest.approx(0.25 * (1 + 100) / 2, rel=1e-6)


def test_one_bin_is_the_plain_loss(arrays):
    forecast, target, mask = (mx.array(a) for a in arrays)
    for balanced, plain in (
        (BalancedMeanSquaredError([], [1]), MeanSquaredError()),
        (BalancedMeanAbsoluteError([], [1]), MeanAbsoluteError()),
    ):
        assert balanced(forecast, target, mask).item() == plain(forecast, target, mask).item()


def test_balanced_losses_do_not_grow_with_the_frame():
    """A large frame does not lose digits either: pixels are summed frame by frame."""
    values = [
        BalancedMeanSquaredError([0.5], [1, 30])(mx.full(shape, 0.25), mx.full(shape, 0.75)).item()
        for shape in ((1, 1, 4, 4, 1), (2, 8, 256, 256, 1))
    ]
    assert values[0] == 7.5
    assert values[1] == pytest.approx(7.5, rel=1e-6)


@pytest.mark.parametrize("loss", [BalancedMeanSquaredError, BalancedMeanAbsoluteError, Balanced])
@pytest.mark.parametrize(
    ("bins", "weights", "message"),
    [
        ([0.5, 0.2], [1, 2, 3], "'bins' must be finite and ascend but got [0.5, 0.2]."),
        ([0.5, 0.5], [1, 2, 3], "'bins' must be finite and ascend but got [0.5, 0.5]."),
        ([math.nan], [1, 2], "'bins' must be a finite number but got nan."),
        (
            [0.5],
            [1],
            "'weights' must be one more than the 1 'bins' but got 1: the first is the weight of values below all bins.",
        ),
        ([0.5], [1, -2], "'weights' must be finite, at least 0 and not all 0, but got [1.0, -2.0]."),
        ([0.5], [1, math.inf], "'weights' must be a finite number but got inf."),
        ([0.5], [0, 0], "'weights' must be finite, at least 0 and not all 0, but got [0.0, 0.0]."),
    ],
)
def test_bad_bins_and_weights(loss, bins, weights, message):
    with pytest.raises(ValueError, match=re.escape(f"[{loss.__name__}] {message}")):
        loss(bins, weights)


@pytest.mark.parametrize(("squared", "absolute"), [(-1, 1), (1, math.nan), (math.inf, 1), (0, 0)])
def test_bad_factors(squared, absolute):
    message = {
        (-1, 1): "[Balanced] 'squared' must be at least 0 but got -1.",
        (math.inf, 1): "[Balanced] 'squared' must be a finite number but got inf.",
        (0, 0): "[Balanced] 'squared' and 'absolute' must not both be 0. Raise one of them.",
    }.get((squared, absolute), "[Balanced] 'absolute' must be a finite number but got nan.")
    with pytest.raises(ValueError, match=re.escape(message)):
        Balanced([0.5], [1, 2], squared=squared, absolute=absolute)


@pytest.mark.parametrize("name", ["b_mse", "b_mae", "balanced"])
def test_the_configurations_take_rain_rates_to_the_scale_of_the_data(name):
    folder = Path(__file__).resolve().parents[1] / "configs" / "loss"
    for transform in (Reflectivity(), LogRain(0.1, 200.0)):
        config = OmegaConf.load(folder / f"{name}.yaml")
        node = {"_target_": f"convlstm.datasets.transforms.{type(transform).__name__}"} | dataclasses.asdict(transform)
        loss = instantiate(OmegaConf.create({"data": {"transform": node}, "loss": config}).loss, _convert_="all")
        rain = np.array([0.0, 0.49, 0.5, 1.99, 2.0, 9.0, 10.0, 29.0, 30.0, 80.0], np.float32)
        target = mx.array(transform.forward(rain))
        weight = np.array(loss(target + 0.5, target).item()) * len(rain)
        each = sum([1, 1, 1, 1, 2, 5, 10, 10, 30, 30])
        assert weight == pytest.approx(each * {"b_mse": 0.25, "b_mae": 0.5, "balanced": 0.75}[name], rel=1e-5)
