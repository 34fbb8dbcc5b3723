"""Noise from a counter: the generator's published numbers, and the moments of the noise."""

import convlstm  # noqa: F401  before mlx.core, so that the tests run with a fast BLAS
from convlstm.ops.white_noise import quantiles, threefry, white_noise

import mlx.core as mx
import numpy as np
import pytest


@pytest.mark.parametrize(
    ("key", "counter", "words"),
    # The test vectors of the generator's authors (Random123, kat_vectors).
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_published_words(key, counter, words):
    key, (a, b) = mx.array([key], mx.uint32), (mx.array([c], mx.uint32) for c in counter)
    assert tuple(word.item() for word in threefry(key, a, b)) == words


def test_quantiles_are_those_of_a_normal_distribution_of_variance_a_half():
    values = quantiles()
    assert (np.diff(values) > 0).all()
    assert values.var() == pytest.approx(0.5, rel=1e-5)
    np.testing.assert_allclose(values[49151] * np.sqrt(2), 0.6745, atol=1e-3)


@pytest.mark.parametrize("size", [(32, 48), (33, 21), (16, 33), (15, 32)])
def test_the_inverse_transform_is_white_noise(size):
    H, W = size
    keys = mx.random.split(mx.random.key(3), 200)
    spectra = np.array(white_noise(keys, 5, H, W))
    fields = np.fft.irfft2(spectra, s=size) * np.sqrt(H * W)
    # The transform keeps the whole spectrum, so it has the symmetry of a real field.
    np.testing.assert_allclose(np.fft.rfft2(fields / np.sqrt(H * W)), spectra, atol=1e-4)
    assert fields.var() == pytest.approx(1, abs=0.02)
    assert (fields**4).mean() / fields.var() ** 2 == pytest.approx(3, abs=0.1)
    np.testing.assert_allclose((abs(spectra) ** 2).mean(axis=0), 1, atol=0.45)
    correlation = (fields[:, :, 1:] * fields[:, :, :-1]).mean(), (fields[:, 1:] * fields[:, :-1]).mean()
    np.testing.assert_allclose(correlation, 0, atol=0.02)


def test_keys_and_numbers_give_independent_noise():
    keys = mx.random.split(mx.random.key(0), 2)
    a, b = (np.array(white_noise(keys, number, 24, 24)) for number in (0, 1))
    np.testing.assert_array_equal(white_noise(keys[1:], 1, 24, 24)[0], b[1])
    for other in (a[1], b[0], b[1]):
        assert abs((a[0] * other.conj()).mean()) < 0.2
