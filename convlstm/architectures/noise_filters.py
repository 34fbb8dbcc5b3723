"""The spectrum and the strength of the noise of STEPS, from the last frames of rain."""

from __future__ import annotations

from itertools import product

from convlstm.architectures.cascade import weights_of_power
from convlstm.ops.white_noise import white_noise

import mlx.core as mx
import numpy as np

# Bounds of the two slopes and of the logarithm of their wavenumber, as in pysteps.
_SLOPES, _BREAKS, _LEVELS = (-4.0, -1.0), (2.0, 5.0), (0.0, 20.0)
# Fields of noise from which its strength is estimated.
_DRAWS = 20


def window(H: int, W: int, *, circular: bool = False) -> np.ndarray:
    """Returns the Tukey window that lets a field fade at its border, (H, W), float32.

    With `circular` the columns go round, and the window is that of the rows.
    """
    across = np.zeros(W) if circular else np.arange(W) / W - 0.5
    r = np.hypot(np.arange(H)[:, None] / H - 0.5, across)
    fading = np.where(r < 0.5, 0.5 * (1 + np.cos(np.pi * (np.clip(r, 0.4, 0.5) / 0.1 - 4))), 0)
    return fading.astype(np.float32)


def noise_spectrum(frames: mx.array, *, circular: bool = False) -> mx.array:
    """Returns the amplitudes of rain, (T, H, W) -> (H, W // 2 + 1): the spectrum that noise gets.

    The step from no rain to rain, which has a spectrum of its own, is removed before, and a window lets the field
    fade at its border, only at that of the rows if the columns go round. Without rain the noise is white.
    """
    _, H, W = frames.shape
    wet = frames > 0
    step = mx.where(wet, frames, mx.inf).min()
    field = mx.where(wet, frames - step, 0).mean(axis=0)
    amplitude = mx.abs(mx.fft.rfft2(field * mx.array(window(H, W, circular=circular))))
    return mx.where(amplitude.max() > 0, amplitude, 1)


def power_law(frames: mx.array, *, circular: bool = False) -> mx.array:
    """Returns amplitudes that follow two power laws of the wavenumber, (T, H, W) -> (H, W // 2 + 1).

    The logarithm of the mean power in rings of the spectrum is two lines over the logarithm of the wavenumber, fitted
    by least squares. Their slopes are in [-4, -1], and they meet between the wavenumbers e^2 and e^5.

    Source: `initialize_param_2d_fft_filter` of Pulkkinen et al., Pysteps: an Open-Source Python Library for
    Probabilistic Precipitation Nowcasting (v1.0), 2019.
    """
    _, H, W = frames.shape
    field = np.array(frames.mean(axis=0)) * window(H, W, circular=circular)
    rows, columns = np.fft.fftfreq(H) * H, np.fft.fftfreq(W) * W
    ring = np.hypot(rows[:, None], columns).round().astype(int)
    count = max(H, W) // 2 + max(H, W) % 2
    power = np.bincount(ring.ravel(), (abs(np.fft.fft2(field)) ** 2 / field.size).ravel())
    mean = (power / np.maximum(np.bincount(ring.ravel()), 1))[1:count]
    x, y = np.log(np.arange(1, count)), np.log(np.maximum(mean, 1e-30))
    start, level, slopes = _two_lines(x, y)
    r = np.hypot(rows[:, None], np.arange(W // 2 + 1))
    r[0, 0] = 1
    offset = np.log(r) - start
    amplitude = np.exp(level + 0.5 * np.where(offset < 0, slopes[0], slopes[1]) * offset)
    amplitude /= amplitude.max()
    amplitude[0, 0] = 0
    return mx.array(amplitude.astype(np.float32))


def _two_lines(x: np.ndarray, y: np.ndarray) -> tuple[float, float, tuple[float, float]]:
    """Returns where two lines meet that fit y(x), their value there, and their slopes."""
    best = (np.inf, 0.0, 0.0, (0.0, 0.0))
    for start in np.linspace(*_BREAKS, 61):
        design = np.stack([np.ones_like(x), np.minimum(x - start, 0), np.maximum(x - start, 0)], axis=1)
        for level, *slopes in _bounded(design, y, (_LEVELS, _SLOPES, _SLOPES)):
            error = ((design @ [level, *slopes] - y) ** 2).sum()
            if error < best[0]:
                best = (error, start, level, (slopes[0], slopes[1]))
    return best[1:]


def _bounded(design: np.ndarray, y: np.ndarray, bounds: tuple[tuple[float, float], ...]) -> list[np.ndarray]:
    """Returns solutions of least squares within bounds: the best one, or those with each set of values at a bound."""
    solutions = []
    for fixed in product((None, 0, 1), repeat=len(bounds)):
        free = [n for n, side in enumerate(fixed) if side is None]
        values = np.array([0.0 if side is None else bounds[n][side] for n, side in enumerate(fixed)])
        if free:
            values[free] = np.linalg.lstsq(design[:, free], y - design @ values, rcond=None)[0]
        if all(low - 1e-9 <= value <= high + 1e-9 for value, (low, high) in zip(values, bounds, strict=True)):
            solutions.append(values)
            if len(free) == len(bounds):
                break
    return solutions


def strengths(last: mx.array, threshold: float, amplitudes: mx.array, levels: int, key: mx.array) -> mx.array:
    """Returns the factors of the noise of each band by which a mask of no rain weakens it, (levels,).

    Fields of noise get the mean and the deviation of the last frame and its dry pixels. The factors are the ratio of
    the deviations of the bands: those of the frame to the mean ones of such fields.

    Args:
        last: The last frame in decibels, 0 without rain, (H, W).
        threshold: Lowest value of rain.
        amplitudes: Spectrum of the noise, (H, W // 2 + 1).
        levels: Number of bands.
        key: Key of the draws.

    Source: Bowler et al., STEPS: A Probabilistic Precipitation Forecasting Scheme, 2006.
    """
    H, W = last.shape
    wet = last >= threshold
    rain = mx.where(wet, last, 0)
    mean, deviation = rain.mean(), mx.sqrt(rain.var())
    powers = mx.array(weights_of_power(H, W, levels))

    def deviations(fields: mx.array) -> mx.array:
        spectra = mx.fft.rfft2(fields)
        return mx.sqrt((spectra.real**2 + spectra.imag**2).reshape(len(fields), -1) @ powers)

    total = mx.zeros((levels,))
    for one in mx.random.split(key, _DRAWS):
        noise = mx.fft.irfft2(white_noise(one[None].astype(mx.uint32), 0, H, W) * amplitudes, s=(H, W))
        noise = (noise - noise.mean()) * mx.rsqrt(mx.maximum(noise.var(), 1e-20))
        total = total + deviations(mx.where(wet, noise * deviation + mean, 0))[0]
        mx.eval(total)
    return mx.where(total > 1e-6, deviations(rain[None])[0] * _DRAWS / mx.maximum(total, 1e-6), 1)
