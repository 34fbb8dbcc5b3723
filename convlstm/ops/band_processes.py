"""Autoregressive processes of bands of scales with noise, for many members at once.

`BandProcesses` has a kernel for CPUs, which a test compares with the plain form.
"""

from __future__ import annotations

from convlstm.ops.algorithm import takes_kernels
from convlstm.ops.cpu.library import library
from convlstm.ops.white_noise import quantiles, white_noise

import mlx.core as mx
import numpy as np

# Share of a band's largest weight below which it counts as 0.
_LEAST = 1e-6
# Smallest variance of a band of the noise.
_EMPTY = 1e-12


class BandProcesses:
    r"""The processes of the bands k of m members, each normalised to the variance 1,

        x_{k,t} = phi1_k x_{k,t-1} + phi2_k x_{k,t-2} + phi0_k e_{k,t},   z_t = sum_k deviation_k x_{k,t}.

    The noise e has the given amplitudes, and in each band and at each step the variance 1.

    Args:
        bands: The weights of the bands, (K, H, W // 2 + 1), float32.
        width: W.
        now, before: Spectra of the last frame and of the one before, (H, W // 2 + 1), complex64.
        deviations: Standard deviations of their bands, (2, K).
        coefficients: phi1, phi2 and phi0, (3, K).
        amplitudes: Amplitudes of the noise, (H, W // 2 + 1).
        keys: A key of the noise for each member, (m, 2), uint32.
        algorithm: 'native' is MLX's own operations; the others use the kernel of `convlstm.ops.cpu` if it fits.
            Default: 'auto'.
    """

    def __init__(
        self,
        bands: np.ndarray,
        width: int,
        now: mx.array,
        before: mx.array,
        *,
        deviations: mx.array,
        coefficients: mx.array,
        amplitudes: mx.array,
        keys: mx.array,
        algorithm: str = "auto",
    ):
        self.size, self.keys, self.amplitudes = (bands.shape[1], width), keys, amplitudes
        self.mean, self.number = now[0, 0].real, 0
        self.kernel = takes_kernels(algorithm, amplitudes)
        weights = mx.array(bands)
        x, y = (
            weights * spectrum / deviation.reshape(-1, 1, 1)
            for spectrum, deviation in zip((now, before), deviations, strict=True)
        )
        self.coefficients = mx.concatenate([coefficients, deviations[:1]])
        if self.kernel:
            self.reaches = [_reach(band) for band in bands]
            self.weights = self._packed(weights)
            x, y = (mx.stack([self._packed(part) for part in (a.real, a.imag)]) for a in (x, y))
        else:
            self.weights, self.powers = weights, mx.array(powers(bands, width))
        # At first all members share the frames.
        self.x, self.y = x[None], y[None]

    def step(self) -> mx.array:
        """Advances all processes by a step, and returns the spectra of z, (m, H, W // 2 + 1).

        The mean of z is always that of the last frame.
        """
        z = self._kernel_step() if self.kernel else self._plain_step()
        self.number += 1
        return z

    def _plain_step(self) -> mx.array:
        (H, W), m = self.size, len(self.keys)
        phi1, phi2, phi0, deviation = (a.reshape(-1, 1, 1) for a in self.coefficients)
        noise = white_noise(self.keys, self.number, H, W) * self.amplitudes
        variances = (noise.real**2 + noise.imag**2).reshape(m, -1) @ self.powers
        scale = phi0 * mx.rsqrt(mx.maximum(variances, _EMPTY))[..., None, None]
        self.x, self.y = phi1 * self.x + phi2 * self.y + scale * (self.weights * noise[:, None]), self.x
        z = (deviation * self.x).sum(axis=1)
        first = np.zeros(z.shape[1:], np.bool_)
        first[0, 0] = True
        return mx.where(mx.array(first), self.mean, z)

    def _kernel_step(self) -> mx.array:
        (H, W), m = self.size, len(self.keys)
        inputs = [self.x, self.y, self.amplitudes, self.weights, self.coefficients, self.mean.reshape(1)]
        inputs += [self.keys.view(mx.float32), mx.array(quantiles())]
        shapes = [(m, *self.x.shape[1:]), (m, H, W // 2 + 1, 2)]
        numbers = [m, H, W, len(self.reaches), self.number, len(self.x), len(self.y), *self.reaches]
        # The new x takes the memory of the old y, if that is as large.
        reused = {0: 1} if len(self.y) == m else None
        self.y = self.x
        self.x, z = library().call("convlstm_band_step", inputs, shapes, numbers, reused=reused)
        return z.view(mx.complex64)[..., 0]

    def _packed(self, arrays: mx.array) -> mx.array:
        """Returns the parts (K, H, C) that the bands keep, one after the other."""
        H, C = arrays.shape[1:]
        parts = []
        for array, reach in zip(arrays, self.reaches, strict=True):
            columns = array[:, : min(C, reach + 1)]
            rows = [columns] if 2 * reach + 1 >= H else [columns[: reach + 1], columns[H - reach :]]
            parts += [part.flatten() for part in rows]
        return mx.concatenate(parts)


def _reach(band: np.ndarray) -> int:
    """Returns the largest row or column number, both ways from 0, whose weight counts."""
    rows, columns = np.nonzero(band > _LEAST * band.max())
    return int(max(np.minimum(rows, band.shape[0] - rows).max(), columns.max()))


def powers(bands: np.ndarray, width: int) -> np.ndarray:
    """Returns the matrix (H (W // 2 + 1), K) that makes the power of a spectrum the variances of its bands."""
    K, H, C = bands.shape
    twice = np.full(C, 2.0)
    # The other half of the spectrum repeats all columns but the first, and the last if the width is even.
    twice[0] = 1
    if width % 2 == 0:
        twice[-1] = 1
    power = bands.astype(np.float64) ** 2 * twice / (H * width) ** 2
    power[:, 0, 0] = 0
    return power.reshape(K, -1).T.astype(np.float32)
