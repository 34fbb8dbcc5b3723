"""White noise in Fourier space, made from a counter: the same key gives the same numbers on every machine."""

from __future__ import annotations

import functools
import math
from statistics import NormalDist

import mlx.core as mx
import numpy as np

_TURNS = ((13, 15, 26, 6), (17, 29, 16, 24))


@functools.cache
def quantiles() -> np.ndarray:
    """Returns 65,536 quantiles of the normal distribution of variance 1/2, float32."""
    upper = np.array([NormalDist().inv_cdf((n + 0.5) / 65536) for n in range(32768, 65536)])
    values = np.concatenate([-upper[::-1], upper])
    return (values / np.sqrt(2 * (values**2).mean())).astype(np.float32)


def threefry(keys: mx.array, a: mx.array, b: mx.array) -> tuple[mx.array, mx.array]:
    """Returns the words of the counters (a, b), uint32, under keys (m, 2), as (m, ...) each.

    The generator is Threefry-2x32 with 20 rounds.

    Source: Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, 2011.
    """
    first, second = (keys[:, n].reshape(-1, *([1] * a.ndim)) for n in range(2))
    schedule = (first, second, first ^ second ^ mx.array(0x1BD11BDA, mx.uint32))
    a, b = a + schedule[0], b + schedule[1]
    for group in range(5):
        for turn in _TURNS[group % 2]:
            a = a + b
            b = ((b << turn) | (b >> (32 - turn))) ^ a
        a, b = a + schedule[(group + 1) % 3], b + schedule[(group + 2) % 3] + mx.array(group + 1, mx.uint32)
    return a, b


def white_noise(keys: mx.array, number: int, H: int, W: int) -> mx.array:
    """Returns spectra of white noise, (m, H, W // 2 + 1), complex64, as `mx.fft.rfft2` orders them.

    Real and imaginary parts are normal, and the mean square of a number is 1. The inverse transform is real noise of
    variance 1 / (H W).

    Args:
        keys: (m, 2), uint32: a key for each.
        number: Which of the spectra that a key gives, from 0 on.
        H, W: Size of the fields.
    """
    C = W // 2 + 1
    counters = mx.arange((H * C + 1) // 2).astype(mx.uint32)
    a, b = threefry(keys, counters, mx.full(counters.shape, number, mx.uint32))
    words = mx.stack([a, b], axis=-1).reshape(len(keys), -1)[:, : H * C].reshape(-1, H, C)
    table = mx.array(quantiles())
    noise = table[words & 0xFFFF] + mx.array(1j) * table[words >> 16]
    # In the columns that are their own mirror image, a row and the one opposite are conjugates of each other.
    opposite = mx.array(-np.arange(H) % H)
    mirrored = (noise + mx.conj(noise[:, opposite])) * math.sqrt(0.5)
    own = np.zeros(C, np.bool_)
    own[0] = True
    own[-1] |= W % 2 == 0
    return mx.where(mx.array(own), mirrored, noise)
