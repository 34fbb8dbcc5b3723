"""The smooth critical success index as a loss."""

from __future__ import annotations

import math

from convlstm.losses import (
    SoftCriticalSuccess,
)

import mlx.core as mx
import numpy as np
import pytest

SHAPE = (2, 3, 4, 5, 2)


def slow_csi_loss(forecast, target, valid, thresholds, width):
    """Returns 1 - CSI, pixel by pixel, in float64."""
    misses = []
    for threshold in thresholds:
        for t in range(forecast.shape[1]):
            hits = either = 0.0
            for y, o, k in zip(forecast[:, t].ravel(), target[:, t].ravel(), valid[:, t].ravel(), strict=True):
                p, o = 1 / (1 + math.exp(-(float(y) - threshold) / width)), float(o >= threshold)
                hits, either = (hits + p * o, either + p + o - p * o) if k else (hits, either)
            misses.append(1 - (hits + 1) / (either + 1))
    return float(np.mean(misses))


@pytest.mark.parametrize(("thresholds", "width"), [([0.3], 0.05), ([0.2, 0.6], 0.05), ([0.2, 0.6], 0.2)])
def test_soft_csi_equals_a_slow_count(thresholds, width, rng):
    forecast, target = (rng.uniform(0, 1, SHAPE).astype(np.float32) for _ in range(2))
    valid = rng.random(SHAPE) < 0.6
    loss = SoftCriticalSuccess(thresholds, width)
    value = loss(mx.array(forecast), mx.array(target), mx.array(valid)).item()
    assert value == pytest.approx(slow_csi_loss(forecast, target, valid, thresholds, width), rel=1e-5)
    everywhere = slow_csi_loss(forecast, target, np.ones_like(valid), thresholds, width)
    assert loss(mx.array(forecast), mx.array(target)).item() == pytest.approx(everywhere, rel=1e-5)


def test_soft_csi_of_a_sharp_forecast_is_that_of_the_contingency_table(rng):
    forecast, target = (np.where(rng.random(SHAPE) < 0.4, 0.9, 0.1).astype(np.float32) for _ in range(2))
    hits = np.sum((forecast > 0.5) & (target > 0.5), axis=(0, 2, 3, 4))
    either = np.sum((forecast > 0.5) | (target > 0.5), axis=(0, 2, 3, 4))
    value = SoftCriticalSuccess([0.5], 0.01)(mx.array(forecast), mx.array(target)).item()
    assert value == pytest.approx(1 - np.mean((hits + 1) / (either + 1)), abs=1e-6)


def test_soft_csi_counts_a_rare_threshold_as_much_as_a_common_one():
    target = np.full((1, 1, 10, 10, 1), 0.4, np.float32)
    target[0, 0, 0, 0] = 0.9
    loss = SoftCriticalSuccess([0.3, 0.8], 0.01)
    without_heavy, without_any = (loss(mx.full(target.shape, value), mx.array(target)).item() for value in (0.4, 0.0))
    assert without_heavy == pytest.approx((0 + (1 - 1 / 2)) / 2, abs=1e-3)
    assert without_any == pytest.approx((1 - 1 / 101 + 1 - 1 / 2) / 2, abs=1e-3)


def test_soft_csi_pulls_a_missed_pixel_up_and_no_nan_reaches_the_gradient():
    target, forecast = np.full((1, 1, 2, 2, 1), 0.1, np.float32), np.full((1, 1, 2, 2, 1), 0.1, np.float32)
    target[0, 0, 0, 0], forecast[0, 0, 0, 0] = 0.9, 0.4
    target[0, 0, 1, 1] = np.nan
    loss = SoftCriticalSuccess([0.5])
    slope = np.array(mx.grad(lambda y: loss(y, mx.array(target), mx.array(target == target)))(mx.array(forecast)))
    assert slope[0, 0, 0, 0] < 0
    assert slope[0, 0, 1, 1] == 0
    assert np.all(slope[0, 0, [0, 1], [1, 0]] >= 0)


@pytest.mark.parametrize("thresholds", [[], [0.5, 0.5], [0.5, 0.2], [math.nan]])
def test_soft_csi_refuses_thresholds_that_do_not_ascend(thresholds):
    with pytest.raises(ValueError, match=r"'thresholds' must be (one or more,.*|a finite number) but got "):
        SoftCriticalSuccess(thresholds)


@pytest.mark.parametrize("width", [0, -1, math.inf, math.nan])
def test_soft_csi_refuses_a_width_that_is_not_above_0(width):
    with pytest.raises(ValueError, match=r"'width' must be (above 0|a finite number) but got"):
        SoftCriticalSuccess([0.5], width)


def test_soft_csi_refuses_other_shapes():
    with pytest.raises(ValueError, match="must have the same shape"):
        SoftCriticalSuccess([0.5])(mx.zeros((1, 1, 2, 2, 1)), mx.zeros((1, 1, 2, 3, 1)))


def test_lead_times_without_a_known_pixel_have_no_part_in_the_mean(rng):
    loss = SoftCriticalSuccess([0.3, 0.6])
    y, t = mx.array(rng.random((2, 3, 4, 5, 1))), mx.array(rng.random((2, 3, 4, 5, 1)))
    mask = mx.broadcast_to(mx.array([True, False, True]).reshape(1, 3, 1, 1, 1), t.shape)
    known = mx.array([0, 2])
    expected = loss(mx.take(y, known, axis=1), mx.take(t, known, axis=1))
    assert loss(y, t, mask).item() == pytest.approx(expected.item(), rel=1e-6)
    assert loss(y, t, mx.ones(t.shape)).item() == pytest.approx(loss(y, t).item(), rel=1e-6)
    assert loss(y, t, mx.zeros(t.shape)).item() == 0
