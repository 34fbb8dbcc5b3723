"""A cascade of scales: rain in bands of wavelengths, each with its own memory, as S-PROG and STEPS use it."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from convlstm.ops.band_processes import powers

import mlx.core as mx
import numpy as np

# Largest correlation in time: a frame that repeats the one before would make the process of a band degenerate.
_LARGEST = 0.9999
# Smallest variance of a band, in dB^2, below which it counts as empty.
_EMPTY = 1e-8


@functools.lru_cache(maxsize=4)
def bands(H: int, W: int, levels: int) -> np.ndarray:
    """Returns the weights of the bands in Fourier space, (levels, H, W // 2 + 1), float32; they sum to 1.

    They are Gaussians of the logarithm of the wavenumber, each normalised by their sum. The first band holds the
    largest scales, and alone the mean of the field.

    Args:
        H, W: Size of the field. Its spectrum is that of `mx.fft.rfft2`.
        levels: Number of bands, at least 3.

    Source: Pulkkinen et al., Pysteps: an Open-Source Python Library for Probabilistic Precipitation Nowcasting (v1.0),
    2019 (`filter_gaussian`).
    """
    rows, columns = np.fft.fftfreq(H) * H, np.arange(W // 2 + 1)
    r = np.hypot(rows[:, None], columns)
    r[0, 0] = 1
    q = (0.5 * max(H, W)) ** (1 / levels)
    centres = np.array([(q**k + q ** (k + 1)) / 2 for k in range(levels)])
    distance = (np.log(r) - np.log(centres)[:, None, None]) / np.log(q)
    weights = np.exp(-2 * distance**2)  # of standard deviation 1/2
    weights /= weights.sum(axis=0)
    weights[:, 0, 0] = np.arange(levels) == 0
    weights = weights.astype(np.float32)
    weights.flags.writeable = False
    return weights


@functools.lru_cache(maxsize=4)
def weights_of_power(H: int, W: int, levels: int) -> np.ndarray:
    """Returns the matrix (H (W // 2 + 1), levels) that makes the power of a spectrum the variances of its bands."""
    return powers(bands(H, W, levels), W)


@dataclass(frozen=True)
class Cascade:
    """The last frames of sequences in bands of scales, with the process that continues each band.

    The band k of the frame t, normalised to the variance 1, continues as the autoregressive process

        x_{k,t} = phi1_k x_{k,t-1} + phi2_k x_{k,t-2} + phi0_k e_{k,t}

    Attributes:
        size: Height and width of the frames.
        spectra: The spectra of the last frame and of the one before, (N, 2, H, W // 2 + 1).
        deviations: Standard deviations of their bands, (N, 2, levels).
        phi1, phi2, phi0: Coefficients, (N, levels).
    """

    size: tuple[int, int]
    spectra: mx.array
    deviations: mx.array
    phi1: mx.array
    phi2: mx.array
    phi0: mx.array


def cascade(frames: mx.array, levels: int) -> Cascade:
    """Returns the cascade of sequences of three frames in Lagrangian coordinates, (N, 3, H, W), oldest first.

    The coefficients follow from the correlations of the last frame with the two before, by the Yule-Walker equations.
    The correlation over two frames is raised if need be, so that the process is stationary.
    """
    N, _, H, W = frames.shape
    spectra = mx.fft.rfft2(frames)
    now, before, oldest = spectra[:, 2], spectra[:, 1], spectra[:, 0]
    matrix = mx.array(weights_of_power(H, W, levels))

    def products(a: mx.array, b: mx.array) -> mx.array:
        return (a.real * b.real + a.imag * b.imag).reshape(N, -1) @ matrix

    v0, v1, v2 = (mx.maximum(products(f, f), _EMPTY) for f in (now, before, oldest))
    g1 = mx.clip(products(now, before) * mx.rsqrt(v0 * v1), -_LARGEST, _LARGEST)
    g2 = mx.clip(products(now, oldest) * mx.rsqrt(v0 * v2), -_LARGEST, _LARGEST)
    phi1, phi2, phi0 = autoregression(g1, g2)
    return Cascade((H, W), mx.stack([now, before], axis=1), mx.sqrt(mx.stack([v0, v1], axis=1)), phi1, phi2, phi0)


def autoregression(g1: mx.array, g2: mx.array) -> tuple[mx.array, mx.array, mx.array]:
    """Returns phi1, phi2 and phi0 of an autoregressive process of variance 1 with the correlations g1 and g2.

    g2 is raised to the least value of a stationary process first.
    """
    g2 = mx.maximum(g2, 2 * g1 * g2 - 1)
    square = g1 * g1
    g2 = mx.maximum(g2, (3 * square - 2 + 2 * mx.maximum(1 - square, 0) ** 1.5) / mx.maximum(square, 1e-6))
    phi1 = g1 * (1 - g2) / (1 - square)
    phi2 = (g2 - square) / (1 - square)
    return phi1, phi2, mx.sqrt(mx.maximum(1 - g1 * phi1 - g2 * phi2, 0))


def continued(state: Cascade, leads: int) -> mx.array:
    """Returns the fields that the processes give without noise, in Lagrangian coordinates, (N, leads, H, W).

    Every band fades to its mean at its own pace. The process is linear, so a forecast is the sum of the last two
    spectra with weights: a single inverse transform for each lead time.
    """
    (H, W), levels = state.size, state.phi1.shape[-1]
    # x_{k,t} = a_t x_{k,0} + b_t x_{k,-1}
    one, none = mx.ones_like(state.phi1), mx.zeros_like(state.phi1)
    last, before = (one, none), (none, one)
    a, b = [], []
    for _ in range(leads):
        new = tuple(state.phi1 * x + state.phi2 * y for x, y in zip(last, before, strict=True))
        before, last = last, (new[0], new[1])
        a.append(last[0])
        b.append(last[1])
    ratio = state.deviations[:, 0] / state.deviations[:, 1]
    weights = mx.array(bands(H, W, levels)).reshape(levels, -1)
    now, past = (state.spectra[:, i].reshape(-1, 1, H, W // 2 + 1) for i in range(2))
    A, B = mx.stack(a, axis=1) @ weights, (mx.stack(b, axis=1) * ratio[:, None]) @ weights
    shape = (*A.shape[:2], H, W // 2 + 1)
    spectra = A.reshape(shape) * now + B.reshape(shape) * past
    return mx.fft.irfft2(with_mean(spectra, now), s=(H, W))


def with_mean(spectra: mx.array, of: mx.array) -> mx.array:
    """Returns spectra with the mean of other ones: a field's mean does not change with time."""
    first = np.zeros(spectra.shape[-2:], np.bool_)
    first[0, 0] = True
    return mx.where(mx.array(first), of, spectra)
