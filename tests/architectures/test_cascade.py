"""The cascade of scales against plain NumPy."""

import convlstm  # noqa: F401  before mlx.core, so that the tests run with a fast BLAS
from convlstm.architectures.cascade import autoregression, bands, cascade, continued

import mlx.core as mx
import numpy as np
import pytest

SIZES = pytest.mark.parametrize("size", [(24, 40), (31, 18), (17, 33)])


def split(field, levels):
    """Returns the bands of a field, (levels, H, W)."""
    return np.fft.irfft2(np.fft.rfft2(field) * bands(*field.shape, levels), s=field.shape)


def frames_of(rng, size):
    """Returns three frames that change slowly."""
    base = rng.normal(size=size)
    return np.stack([base + 0.3 * t * rng.normal(size=size) for t in (2, 1, 0)]).astype(np.float32) + 3


@SIZES
def test_bands_sum_to_one_and_only_the_first_has_the_mean(size):
    weights = bands(*size, 6)
    np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-6)
    np.testing.assert_array_equal(weights[:, 0, 0], [1, 0, 0, 0, 0, 0])
    assert (weights >= 0).all()


def test_a_band_weighs_a_wavenumber_by_the_distance_of_logarithms():
    # Side 64, 5 bands: borders between bands at 32^(k/5) = 2^k, centres at 1.5 * 2^k.
    weights = bands(64, 64, 5)
    for column in (1, 3, 12, 32):
        expected = np.exp(-2 * np.log2(column / (1.5 * 2.0 ** np.arange(5))) ** 2)
        np.testing.assert_allclose(weights[:, 0, column], expected / expected.sum(), rtol=1e-5)
    np.testing.assert_array_equal(weights[:, 12, 0], weights[:, 0, 12])
    np.testing.assert_array_equal(weights[:, 64 - 12, 0], weights[:, 12, 0])


@SIZES
def test_the_bands_of_a_field_sum_to_the_field(size, rng):
    field = rng.normal(size=size)
    np.testing.assert_allclose(split(field, 7).sum(axis=0), field, atol=1e-6)


@SIZES
def test_deviations_and_coefficients_are_those_of_the_bands(size, rng):
    frames, levels = frames_of(rng, size), 4
    state = cascade(mx.array(frames[None]), levels)
    oldest, before, now = (split(frame, levels) for frame in frames)
    np.testing.assert_allclose(state.deviations[0, 0], now.std(axis=(1, 2)), rtol=1e-4)
    np.testing.assert_allclose(state.deviations[0, 1], before.std(axis=(1, 2)), rtol=1e-4)
    for k in range(levels):
        g1, g2 = (np.corrcoef(now[k].ravel(), other[k].ravel())[0, 1] for other in (before, oldest))
        g2 = max(g2, (3 * g1**2 - 2 + 2 * (1 - g1**2) ** 1.5) / g1**2)
        phi = np.linalg.solve([[1, g1], [g1, 1]], [g1, g2])
        np.testing.assert_allclose([state.phi1[0, k].item(), state.phi2[0, k].item()], phi, rtol=2e-3, atol=2e-3)
        assert state.phi0[0, k].item() == pytest.approx(np.sqrt(1 - phi @ [g1, g2]), abs=2e-3)


def test_a_process_has_the_correlations_that_it_was_made_from(rng):
    g1, g2 = 0.9, 0.75
    phi1, phi2, phi0 = (x.item() for x in autoregression(mx.array(g1), mx.array(g2)))
    x = np.zeros((2000, 200))
    for t in range(2, 2000):
        x[t] = phi1 * x[t - 1] + phi2 * x[t - 2] + phi0 * rng.normal(size=200)
    x = x[100:]
    assert x.std() == pytest.approx(1, abs=0.02)
    assert np.corrcoef(x[1:].ravel(), x[:-1].ravel())[0, 1] == pytest.approx(g1, abs=0.01)
    assert np.corrcoef(x[2:].ravel(), x[:-2].ravel())[0, 1] == pytest.approx(g2, abs=0.01)


def test_correlations_that_no_process_has_are_raised():
    # Without the adjustment the process of these correlations would explode.
    phi1, phi2, _ = (np.array(x) for x in autoregression(mx.array([0.9, 0.5, 0.0]), mx.array([0.1, -0.9, 0.0])))
    assert (phi1 + phi2 < 1).all()
    assert (phi2 - phi1 < 1).all()
    assert (abs(phi2) < 1).all()


@SIZES
def test_the_forecast_is_the_recursion_of_every_band(size, rng):
    frames, levels, leads = frames_of(rng, size), 4, 6
    state = cascade(mx.array(frames[None]), levels)
    _, before, now = (split(frame, levels) for frame in frames)
    mean, deviation = now.mean(axis=(1, 2), keepdims=True), now.std(axis=(1, 2), keepdims=True)
    x = (now - mean) / deviation
    y = (before - before.mean(axis=(1, 2), keepdims=True)) / before.std(axis=(1, 2), keepdims=True)
    phi1, phi2 = (np.array(phi)[0][:, None, None] for phi in (state.phi1, state.phi2))
    forecast = np.array(continued(state, leads))
    assert forecast.shape == (1, leads, *size)
    for t in range(leads):
        x, y = phi1 * x + phi2 * y, x
        np.testing.assert_allclose(forecast[0, t], (mean + deviation * x).sum(axis=0), atol=2e-4)


def test_frames_that_repeat_go_on(rng):
    frames = np.repeat(rng.normal(size=(1, 1, 20, 20)), 3, axis=1).astype(np.float32)
    np.testing.assert_allclose(continued(cascade(mx.array(frames), 4), 3)[:, 2], frames[:, 0], atol=0.01)


def test_empty_frames_stay_empty():
    forecast = np.array(continued(cascade(mx.zeros((1, 3, 16, 16)), 4), 3))
    np.testing.assert_array_equal(forecast, 0)
