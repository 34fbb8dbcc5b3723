"""Statistics of rain fields: spectra, correlations and shifts."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np


def decibels(rain):
    """Returns rain rates in decibels, -15 for dry pixels."""
    return np.where(rain >= 0.1, 10 * np.log10(np.maximum(rain, 0.1)), -15.0)


def gaussian_ranks(rain):
    """Returns the ranks of each sample's rates, (N, T, H, W): its Gaussian field, wherever it is wet."""
    return rain.reshape(len(rain), -1).argsort(axis=1).argsort(axis=1).reshape(rain.shape) / rain[0].size


def windowed(frames):
    """Returns the spectrum (..., H, W) of frames that are not periodic."""
    window = np.hanning(frames.shape[-2])[:, None] * np.hanning(frames.shape[-1])
    return np.fft.fft2((frames - frames.mean(axis=(-2, -1), keepdims=True)) * window)


def wavenumbers(height, width, pixel_km):
    """Returns the wavenumber of each wave of a frame in cycles per km, (H, W)."""
    return np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)) / pixel_km


def slope(frames, pixel_km, longest, shortest):
    """Returns the exponent of the power spectrum of frames (N, H, W) between two wavelengths in km."""
    power = (np.abs(windowed(frames)) ** 2).mean(axis=0)
    k = wavenumbers(*frames.shape[1:], pixel_km)
    edges = np.geomspace(1 / longest, 1 / shortest, 7)
    rings = [(k >= low) & (k < high) for low, high in pairwise(edges)]
    return np.polyfit([np.log(k[ring].mean()) for ring in rings], [np.log(power[ring].mean()) for ring in rings], 1)[0]


def band_correlation(a, b, pixel_km, longest, shortest):
    """Returns the correlation of frames a and b (N, H, W) in a band of wavelengths in km."""
    a, b = windowed(a), windowed(b)
    k = wavenumbers(*a.shape[1:], pixel_km)
    band = (k >= 1 / longest) & (k < 1 / shortest)
    a, b = a[:, band], b[:, band]
    return (a * b.conj()).real.sum() / math.sqrt((np.abs(a) ** 2).sum() * (np.abs(b) ** 2).sum())


def correlation(a, b):
    """Returns the correlation of two arrays over all of their values."""
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


def shift(a, b):
    """Returns the shift (dy, dx) in whole pixels that brings a closest to b."""
    peak = np.fft.ifft2(windowed(a).conj() * windowed(b)).real.argmax()
    return [
        (p + side // 2) % side - side // 2 for p, side in zip(np.unravel_index(peak, a.shape), a.shape, strict=True)
    ]


def overlap(a, b, dy, dx):
    """Returns the parts of a, shifted by (dy, dx), and of b that overlap."""
    height, width = a.shape
    rows, columns = slice(max(0, dy), height + min(0, dy)), slice(max(0, dx), width + min(0, dx))
    return a[rows.start - dy : rows.stop - dy, columns.start - dx : columns.stop - dx], b[rows, columns]
