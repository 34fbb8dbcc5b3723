"""The spectrum and the strength of noise, against plain NumPy."""

import convlstm  # noqa: F401  before mlx.core, so that the tests run with a fast BLAS
from convlstm.architectures.cascade import bands
from convlstm.architectures.noise_filters import _two_lines, noise_spectrum, power_law, strengths, window

import mlx.core as mx
import numpy as np
import pytest


def test_the_noise_has_the_amplitudes_of_the_rain(rng):
    frames = np.where(rng.random((3, 32, 45)) < 0.4, 5 + rng.gamma(2, size=(3, 32, 45)), 0).astype(np.float32)
    field = np.where(frames > 0, frames - frames[frames > 0].min(), 0).mean(axis=0)
    r = np.hypot(np.arange(32)[:, None] / 32 - 0.5, np.arange(45) / 45 - 0.5)
    fading = np.ones_like(r)
    rim = (r > 0.4) & (r < 0.5)
    fading[rim] = 0.5 * (1 + np.cos(np.pi * (r[rim] / 0.1 - 4)))
    fading[r >= 0.5] = 0
    np.testing.assert_allclose(window(32, 45), fading, atol=1e-6)
    np.testing.assert_allclose(
        noise_spectrum(mx.array(frames)), abs(np.fft.rfft2(field * fading)), rtol=1e-3, atol=1e-3
    )
    np.testing.assert_array_equal(noise_spectrum(mx.zeros((3, 8, 8))), 1)


def test_two_lines_are_found_within_their_bounds(rng):
    x = np.log(np.arange(1, 129))
    y = 4 + np.where(x < 3, -1.5, -3) * (x - 3)
    start, level, slopes = _two_lines(x, y)
    assert (start, level) == (pytest.approx(3), pytest.approx(4))
    np.testing.assert_allclose(slopes, [-1.5, -3], atol=1e-6)
    _, _, slopes = _two_lines(x, 5 - 0.2 * x + 0.01 * rng.normal(size=len(x)))
    assert slopes[0] == -1


@pytest.mark.parametrize("size", [(96, 128), (127, 90)])
def test_power_laws_of_noise_that_follows_them(size, rng):
    H, W = size
    r = np.hypot((np.fft.fftfreq(H) * H)[:, None], np.arange(W // 2 + 1))
    r[0, 0] = 1
    frames = []
    for _ in range(3):
        field = np.fft.irfft2(np.fft.rfft2(rng.normal(size=size)) * r**-1.25, s=size)
        frames.append(1000 * (field - field.min()))
    frames = [frames[0]] * 3  # their spectra are averaged with their phases
    amplitude = np.array(power_law(mx.array(np.stack(frames), mx.float32)))
    assert amplitude.shape == r.shape
    # The longest waves have power of the mean, which the window spreads.
    low, high = (np.log(amplitude[0, b] / amplitude[0, a]) / np.log(b / a) for a, b in ((2, 6), (12, 40)))
    assert high == pytest.approx(-1.25, abs=0.25)
    assert -2 <= low <= -0.5
    np.testing.assert_allclose(amplitude[0, 1:30], amplitude[1:30, 0], rtol=1e-5)
    assert amplitude[0, 0] == 0


def test_strengths_undo_the_loss_by_a_mask(rng):
    """As in pysteps: bands of masked noise, which has the moments of the frame, beside those of the frame."""
    H, W, levels = 48, 64, 5
    smooth = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(H, W))) * bands(H, W, levels)[:3].sum(axis=0), s=(H, W))
    last = np.where(smooth > 0.3 * smooth.std(), 5 + 8 * smooth / smooth.std(), 0).astype(np.float32)
    amplitudes = noise_spectrum(mx.array(last[None]))
    found = np.array(strengths(mx.array(last), 4.9, amplitudes, levels, mx.random.key(0)))

    def deviations(field):
        split = np.fft.irfft2(np.fft.rfft2(field) * bands(H, W, levels), s=(H, W))
        return split.std(axis=(1, 2))

    draws = []
    for _ in range(60):
        noise = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(H, W))) * np.array(amplitudes), s=(H, W))
        noise = (noise - noise.mean()) / noise.std() * last.std() + last.mean()
        draws.append(deviations(np.where(last >= 4.9, noise, 0)))
    np.testing.assert_allclose(found, deviations(last) / np.mean(draws, axis=0), rtol=0.1)
    np.testing.assert_array_equal(strengths(mx.zeros((16, 16)), 4.9, mx.ones((16, 9)), 3, mx.random.key(0)), 1)
