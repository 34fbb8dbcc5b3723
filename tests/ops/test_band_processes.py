"""Processes of bands with noise: the equations in NumPy, and the kernel against MLX."""

import convlstm  # noqa: F401  before mlx.core, so that the tests run with a fast BLAS
from convlstm.architectures.cascade import bands
from convlstm.ops.band_processes import BandProcesses
from convlstm.ops.white_noise import white_noise

import mlx.core as mx
import numpy as np
import pytest

SIZES = pytest.mark.parametrize("size", [(24, 40), (33, 18), (17, 31), (64, 64)])


def setting(rng, size, levels=4, members=3):
    """Returns the arguments of `BandProcesses` for frames of random numbers."""
    H, W = size
    spectra = mx.array(np.fft.rfft2(rng.normal(3, 1, (2, H, W))).astype(np.complex64))
    arguments = {
        "deviations": mx.array(rng.uniform(0.5, 2, (2, levels)).astype(np.float32)),
        "coefficients": mx.array(rng.uniform([[0.5], [-0.3], [0.2]], [[0.9], [0.3], [0.8]], (3, levels)), mx.float32),
        "amplitudes": mx.array(abs(np.fft.rfft2(rng.normal(size=(H, W)))).astype(np.float32)),
        "keys": mx.random.split(mx.random.key(7), members),
    }
    return (bands(H, W, levels), W, *spectra), arguments


@SIZES
@pytest.mark.parametrize("algorithm", ["auto", "native"])
def test_a_step_is_that_of_the_equations(size, algorithm, rng):
    """As in pysteps: noise is split into bands, each of these gets the mean 0 and the variance 1."""
    (weights, W, now, before), arguments = setting(rng, size)
    processes = BandProcesses(weights, W, now, before, **arguments, algorithm=algorithm)
    deviations, (phi1, phi2, phi0), amplitudes, keys = (np.array(arguments[name]) for name in arguments)

    def split(spectrum):
        levels = np.fft.irfft2(weights * spectrum, s=size)
        return levels - levels.mean(axis=(1, 2), keepdims=True)

    across = (slice(None), None, None)
    x = [split(np.array(now)) / deviations[0][across]] * len(keys)
    y = [split(np.array(before)) / deviations[1][across]] * len(keys)
    for number in range(3):
        z = np.fft.irfft2(np.array(processes.step()), s=size)
        for m, noise in enumerate(np.array(white_noise(mx.array(keys), number, *size))):
            e = split(noise * amplitudes)
            e /= e.std(axis=(1, 2), keepdims=True)
            x[m], y[m] = phi1[across] * x[m] + phi2[across] * y[m] + phi0[across] * e, x[m]
            expected = (deviations[0][across] * x[m]).sum(axis=0) + np.fft.irfft2(now, s=size).mean()
            np.testing.assert_allclose(z[m], expected, atol=2e-4 * abs(expected).max())


def test_bands_of_long_waves_are_cut_off_without_a_difference(kernels, rng):
    (weights, W, now, before), arguments = setting(rng, (96, 80), levels=8)
    both = [BandProcesses(weights, W, now, before, **arguments, algorithm=a) for a in ("auto", "native")]
    assert both[0].x.size < 0.7 * 2 * both[1].x.size
    for _ in range(3):
        ours, plain = (process.step() for process in both)
        assert mx.abs(ours - plain).max() < 1e-4 * mx.abs(plain).max()
