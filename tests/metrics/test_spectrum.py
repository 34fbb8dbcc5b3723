"""Power spectra, and the score of rain that is computed from them."""

import math

from convlstm.metrics import RainMetrics
from convlstm.metrics.spectrum import radial_spectrum, rings, taper
from tests.support.rain_scores import assert_same, rain, scored

import numpy as np
import pytest


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 9), (8, 16), (15, 6), (1, 5)])
def test_rings_hold_every_wave_of_their_length_once(height, width):
    longest, expected = max(height, width), {}
    for y, x in np.ndindex(height, width):
        frequency = math.hypot(min(y, height - y) / height, min(x, width - x) / width)
        number = round(longest * frequency)
        expected[number] = expected.get(number, 0) + 1
    _, count = rings(height, width)
    assert count.tolist() == [expected[r] for r in range(math.ceil(longest / 2))]


@pytest.mark.parametrize("shape", [(24, 24), (15, 15), (12, 20)])
def test_power_is_the_mean_over_a_ring_of_the_whole_plane(shape, rng):
    field = rng.normal(size=shape)
    power = np.abs(np.fft.fft2(field)) ** 2 / field.size
    y, x = np.meshgrid(*(np.abs(np.fft.fftfreq(n)) for n in shape), indexing="ij")
    ring = (np.hypot(y, x) * max(shape)).round(9).round()
    expected = [power[ring == r].mean() for r in range(math.ceil(max(shape) / 2))]
    np.testing.assert_allclose(radial_spectrum(field[None])[0], expected, rtol=1e-10)


def test_a_wave_of_8_pixels_has_its_power_at_8_pixels():
    wave = 3 + np.cos(2 * np.pi * np.arange(64) / 8) * np.ones((64, 1))
    power = radial_spectrum(np.stack([wave, 2 * wave]))
    _, count = rings(64, 64)
    assert power[0, 8] * count[8] == pytest.approx(64**2 / 2)
    assert np.delete(power[0], [0, 8]) == pytest.approx(0, abs=1e-20)
    assert power[1] == pytest.approx(4 * power[0], abs=1e-20)


def test_spectrum_is_that_of_the_tapered_log():
    forecast, target, _ = rain(2, 3, 24, 24, 1)
    metrics = RainMetrics([1], pixel_km=2.0)
    metrics.update(forecast, target)
    spectrum = metrics.spectrum()
    assert spectrum["wavelength_px"].tolist() == [24 / r for r in range(1, 12)]
    assert spectrum["wavelength_km"].tolist() == [48 / r for r in range(1, 12)]
    assert spectrum["frames"].tolist() == [2, 2, 2]
    fields = np.log1p(forecast[..., 0].astype(np.float64)) * taper(24, 24)
    expected = np.stack([radial_spectrum(fields[:, lead]).mean(axis=0)[1:] for lead in range(3)])
    np.testing.assert_allclose(spectrum["forecast"], expected, rtol=1e-12)
    assert spectrum["target"].shape == (3, 11)
    raw = RainMetrics([1], units="raw")
    raw.update(np.log1p(forecast.astype(np.float64)), target)
    np.testing.assert_allclose(raw.spectrum()["forecast"], expected, rtol=1e-12)
    assert "wavelength_km" not in raw.spectrum()


def test_spectral_ratio_is_the_share_of_power_a_blur_leaves():
    """A wave of 8 pixels of half the amplitude has a quarter of the power; that of 32 pixels does not matter."""
    y, x = np.mgrid[:64, :64]
    coarse, fine = np.cos(2 * np.pi * y / 32), np.cos(2 * np.pi * (x + y) / 8)
    truth, blurred, other = 5 + coarse + fine, 5 + coarse + fine / 2, 5 + 3 * coarse + fine
    for forecast, expected in ((truth, 1), (blurred, 0.25), (other, 1)):
        score = scored(forecast[None, None, ..., None], truth[None, None, ..., None], units="raw")
        assert score["spectral_ratio@16px"]["overall"] == pytest.approx(expected, rel=1e-3)


def test_blur_is_measured_if_the_frame_does_not_repeat(rng):
    """A slope jumps at the frame's edges. Without the taper, that jump would hide that the forecast is smooth."""
    y, x = np.mgrid[:64, :64] / 8
    truth = y + x + rng.normal(0, 0.3, (64, 64))
    score = scored((y + x)[None, None, ..., None], truth[None, None, ..., None], units="raw")
    assert score["spectral_ratio@16px"]["overall"] < 0.01


def test_only_frames_without_a_missing_pixel_have_a_spectrum():
    forecast, target, known = rain(3, 2, 32, 32, 1)
    known[:] = True
    known[1, 0, 3, 4] = known[:, 1, 0, 0] = False
    metrics = RainMetrics([1])
    metrics.update(forecast, target, known)
    spectrum, ratio = metrics.spectrum(), metrics.compute()["spectral_ratio@16px"]
    assert spectrum["frames"].tolist() == [2, 0]
    assert np.isnan(spectrum["target"][1]).all()
    two = scored(forecast[::2, :1], target[::2, :1])["spectral_ratio@16px"]
    assert ratio["per_lead"] == pytest.approx([two["overall"], math.nan], nan_ok=True)
    assert ratio["overall"] == pytest.approx(two["overall"])


def test_spectrum_can_be_left_out():
    forecast, target, _ = rain(2, 2, 16, 16, 1)
    full, without = scored(forecast, target), scored(forecast, target, spectrum=False)
    assert_same(without, {name: score for name, score in full.items() if name != "spectral_ratio@16px"})
    metrics = RainMetrics([1], spectrum=False)
    metrics.update(forecast, target)
    metrics.update(forecast[:, :, :8], target[:, :, :8])
    assert metrics.coverage == 1
