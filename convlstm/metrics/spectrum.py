"""Radially averaged power spectra: the variance of a field at each wavelength."""

from __future__ import annotations

from functools import lru_cache

import numpy as np


@lru_cache(maxsize=8)
def rings(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ring that each wave belongs to, and the number of waves in each ring.

    Ring r holds the waves of wavelength L / r pixels, where L is the longer side. The last ring holds the shortest
    waves, of two pixels.

    Returns:
        ring: (H, W // 2 + 1), the ring of each wave of `numpy.fft.rfft2`; shorter waves have the number that follows
            the last ring's.
        count: (R,), the waves of the whole plane in each ring; R = L / 2, rounded up.
    """
    longest = max(height, width)
    y, x = np.arange(height), np.arange(width // 2 + 1)
    frequency = np.hypot((np.minimum(y, height - y) * longest / height)[:, None], x * longest / width)
    number = (longest + 1) // 2
    ring = np.minimum(frequency.round().astype(np.int64), number)
    return ring, np.bincount(ring.ravel(), _mirrored(height, width).ravel(), number + 1)[:number]


def _mirrored(height: int, width: int) -> np.ndarray:
    """Returns the number of waves of the whole plane that each wave of `rfft2` stands for: 2 with its mirror image."""
    times = np.full((height, width // 2 + 1), 2.0)
    times[:, 0] = 1
    if width % 2 == 0:
        times[:, -1] = 1
    return times


def taper(height: int, width: int) -> np.ndarray:
    """Returns Hann's window (H, W), which falls to zero just outside the frame."""
    return np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])


def radial_spectrum(fields: np.ndarray) -> np.ndarray:
    """Returns the mean power of the waves in each ring, as pysteps's `rapsd` does for a square field.

        power = |DFT(field)|^2 / (H W)

    If the sides differ, waves of the same wavelength share a ring; pysteps counts waves per side instead.

    Args:
        fields: (n, H, W), floats.

    Returns:
        (n, R), float64; ring r has the wavelength max(H, W) / r pixels.
    """
    n, height, width = fields.shape
    ring, count = rings(height, width)
    waves = np.fft.rfft2(fields)
    power = (waves.real**2 + waves.imag**2) * (_mirrored(height, width) / (height * width))
    # One call for all frames: frame i has the bins from i (R + 1) on.
    bins = ring + (len(count) + 1) * np.arange(n)[:, None, None]
    sums = np.bincount(bins.ravel(), power.ravel(), n * (len(count) + 1))
    return sums.reshape(n, len(count) + 1)[:, :-1] / count


def fine_power(power: np.ndarray, height: int, width: int, below: int) -> np.ndarray:
    """Returns the power (..., R) of all waves shorter than `below` pixels together."""
    _, waves = rings(height, width)
    fine = np.arange(len(waves)) * below > max(height, width)
    return (power[..., fine] * waves[fine]).sum(axis=-1)
