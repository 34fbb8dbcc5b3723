import json
import math
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from convlstm.datasets.synthetic_radar import SyntheticRadar, _read
from tests.support.rain_spectra import (
    band_correlation,
    correlation,
    decibels,
    gaussian_ranks,
    overlap,
    shift,
    slope,
    windowed,
)

import numpy as np
import pytest

STILL = {"wind": 0, "eddies": 0}


def samples(count, *size, seed=0, **options):
    radar = SyntheticRadar(*size, **options)
    return np.stack([radar.sample(np.random.default_rng([seed, number])) for number in range(count)])


@cache
def defaults():
    return samples(32, (128, 128), 20)


def test_frozen_still_rain_does_not_change():
    rain = samples(1, (32, 48), 6, lifetime=math.inf, **STILL)[0]
    assert rain.std() > 0
    for frame in rain[1:]:
        np.testing.assert_array_equal(frame, rain[0])


@pytest.mark.parametrize(("speed", "step", "pixel"), [(10, 5, 2), (20, 5, 2), (10, 10, 2), (10, 5, 1)])
def test_frozen_rain_moves_with_the_wind(speed, step, pixel):
    frames = 4
    rain = samples(4, 64, frames, lifetime=math.inf, wind=speed, eddies=0, step_minutes=step, pixel_km=pixel)
    way = speed * step * 60 * (frames - 1) / (1000 * pixel)
    for first, *_, last in decibels(rain):
        dy, dx = shift(first, last)
        assert math.hypot(dy, dx) == pytest.approx(way, abs=1)
        # The shift is wrong by up to half a pixel, which thresholds and small scales amplify.
        assert correlation(*overlap(first, last, dy, dx)) > 0.9


def test_motion_does_not_blur():
    for wind, eddies in ((0, 0), (13, 0), (13, 8)):
        field = gaussian_ranks(samples(12, 64, 8, lifetime=math.inf, wet_share=1, wind=wind, eddies=eddies))
        # 3.3, or a little less, since rain areas are long and cells round.
        assert slope(field[:, -1], 2, 24, 5) == pytest.approx(-3.1, abs=0.25)


def test_reading_follows_a_wave_across_the_edges(rng):
    rows, columns = rng.uniform(-60, 60, (2, 40, 50)).astype(np.float32)
    k = 2 * np.pi / np.array([32, 20])
    wave = np.sin(k[0] * np.arange(32))[:, None] + np.cos(k[1] * np.arange(20))
    smoothed = 0.75 + 0.25 * np.cos(k)
    read = np.empty((40, 50), np.float32)
    _read(wave, rows, columns, read)
    np.testing.assert_allclose(
        read, smoothed[0] * np.sin(k[0] * rows) + smoothed[1] * np.cos(k[1] * columns), atol=3e-3
    )


def test_rain_enters_from_beyond_the_frame():
    entered, returned = [], []
    for first, *_, last in samples(8, 64, 6, lifetime=math.inf, wind=20, eddies=0, wet_share=0.6):
        dy, dx = shift(first, last)
        new = np.ones(first.shape, bool)
        new[max(0, dy) : 64 + min(0, dy), max(0, dx) : 64 + min(0, dx)] = False
        entered.append((last[new] > 0).mean())
        returned.append(correlation(np.roll(first, (dy, dx), (0, 1))[new], last[new]))
    assert np.mean(entered) > 0.3
    assert np.median(returned) < 0.5, "rain that enters is rain that left on the other side"


def test_eddies_move_parts_apart():
    still, stirred = (
        decibels(samples(6, 96, 8, lifetime=math.inf, wind=0, eddies=eddies))[:, [0, -1]] for eddies in (0, 8)
    )
    assert all(shift(first[:48, :48], last[:48, :48]) == [0, 0] for first, last in still)
    corners = [(slice(y, y + 48), slice(x, x + 48)) for y in (0, 48) for x in (0, 48)]
    shifts = np.array([[shift(first[corner], last[corner]) for corner in corners] for first, last in stirred])
    assert np.median(np.ptp(shifts, axis=1).max(axis=-1)) >= 3


def test_wind_is_free_of_divergence():
    radar = SyntheticRadar(128, 10, wind=10, eddies=6)
    for seed in range(4):
        rows, columns = radar._paths(np.random.default_rng(seed))
        (ry, rx), (cy, cx) = (np.gradient(place[-1].astype(float)) for place in (rows, columns))
        area = ry * cx - rx * cy
        assert np.abs(area - 1).max() < 0.1
        assert np.abs(ry - 1).max() > 0.05, "the wind must deform areas"


def test_the_longest_paths_keep_pixels_in_order():
    """Beyond 10^6 pixels float32 cannot tell neighbours apart."""
    radar = SyntheticRadar(32, 30, wind=100, eddies=0, step_minutes=1440, pixel_km=0.01)
    rows, columns = radar._paths(np.random.default_rng(0))
    np.testing.assert_allclose(np.diff(rows, axis=1), 1, atol=1e-3)
    np.testing.assert_allclose(np.diff(columns, axis=2), 1, atol=1e-3)


def test_correlation_in_time_has_the_documented_form():
    lifetime, step = 1.2, 5
    ranks = gaussian_ranks(samples(12, 96, 7, lifetime=lifetime, step_minutes=step, wet_share=1, **STILL))
    for wavelength in (12, 24, 48):
        a = 2.15 * step / (lifetime * wavelength)
        for n in (1, 2, 4, 6):
            measured = band_correlation(ranks[:, 0], ranks[:, n], 2, wavelength * 1.15, wavelength / 1.15)
            assert measured == pytest.approx((1 + n * math.tanh(a)) * math.exp(-n * a), abs=0.12), (wavelength, n)


def test_small_scales_have_shorter_lives():
    rain = decibels(defaults())
    still = decibels(samples(8, 96, 7, **STILL))
    for now, later in ((0, 2), (0, 6)):
        bands = [band_correlation(still[:, now], still[:, later], 2, *band) for band in ((100, 50), (40, 20), (12, 6))]
        assert bands[0] > bands[1] + 0.05 > bands[2] + 0.1
    assert (
        correlation(rain[:, 0], rain[:, 1]) > correlation(rain[:, 0], rain[:, 5]) > correlation(rain[:, 0], rain[:, 19])
    )


def test_rain_without_wind_evolves_and_stays_stationary():
    rain = samples(96, 32, 16, **STILL)
    assert correlation(rain[:, 0], rain[:, -1]) < 0.8
    assert (rain[:, 0] != rain[:, -1]).any(axis=(1, 2)).all()
    wet = (rain > 0).mean(axis=(0, 2, 3))
    assert wet[:4].mean() == pytest.approx(wet[-4:].mean(), rel=0.2)


def test_shifting_by_the_flow_explains_more_than_persistence():
    kept, carried = [], []
    for first, *_, last in decibels(samples(8, 96, 5, wind=(10, 20))):
        kept.append(correlation(first, last))
        carried.append(correlation(*overlap(first, last, *shift(first, last))))
    assert np.mean(carried) > np.mean(kept) + 0.1


def test_rates_are_realistic():
    rain = defaults()
    assert rain.dtype == np.float32
    assert np.isfinite(rain).all()
    assert rain.min() == 0
    wet = rain[rain > 0]
    assert wet.min() >= 0.1 * (1 - 1e-6)
    assert 0.5 < np.median(wet) < 1.5
    assert 8 < np.quantile(wet, 0.99) < 35
    assert 40 < wet.max() <= 150
    # About lognormal: the logarithms have little skew.
    logs = np.log(wet)
    assert 0.9 < logs.std() < 1.5
    assert abs((((logs - logs.mean()) / logs.std()) ** 3).mean()) < 0.6


def test_spectrum_is_realistic():
    frames = decibels(defaults()[:, ::6]).reshape(-1, 128, 128)
    assert -3.0 < slope(frames, 2, 200, 40) < -1.9
    assert -3.1 < slope(frames, 2, 40, 8) < -2.3


def test_persistence_scores_are_realistic():
    """On real events (Netherlands, Finland, Queensland) they are 0.34 to 0.49, 0.10 to 0.31, and 0.03 to 0.23."""
    rain = defaults()
    for threshold, low, high in ((0.5, 0.3, 0.5), (2, 0.1, 0.31), (5, 0.03, 0.23)):
        seen, came = rain[:, :1] >= threshold, rain[:, 1:] >= threshold
        hits, union = ((seen & came).sum(axis=(0, 2, 3)), (seen | came).sum(axis=(0, 2, 3)))
        assert low < (hits / union).mean() < high


@pytest.mark.parametrize("share", [0.05, 0.3, 1.0])
def test_wet_share(share):
    rain = samples(3, 48, 5, wet_share=share)
    assert (rain > 0).mean(axis=(1, 2, 3)) == pytest.approx([share] * 3, abs=0.01)


def test_wet_share_varies_within_its_range():
    shares = (defaults() > 0).mean(axis=(1, 2, 3))
    assert shares.min() >= 0.045
    assert shares.max() <= 0.605
    assert np.ptp(shares) > 0.3


def test_convection_makes_showers_heavier_and_smaller():
    layers, showers = (samples(12, 128, 2, convection=convection) for convection in (0, 1))
    for quantile, factor in ((0.5, 2.5), (0.99, 6)):
        assert np.quantile(showers[showers > 0], quantile) > factor * np.quantile(layers[layers > 0], quantile)
    assert slope(decibels(showers[:, 0]), 2, 200, 40) > slope(decibels(layers[:, 0]), 2, 200, 40) + 0.2


def test_lifetime_lengthens():
    short, long = (decibels(samples(8, 64, 5, lifetime=lifetime, **STILL)) for lifetime in (0.6, 2.4))
    assert correlation(long[:, 0], long[:, -1]) > correlation(short[:, 0], short[:, -1]) + 0.1


def test_steps_and_pixels_are_measured_in_minutes_and_km():
    fine, slow, coarse = (
        decibels(samples(8, 64, 2, **STILL, **changed)) for changed in ({}, {"step_minutes": 30}, {"pixel_km": 8})
    )
    assert correlation(fine[:, 0], fine[:, 1]) > correlation(slow[:, 0], slow[:, 1]) + 0.1
    assert correlation(fine[..., 1:], fine[..., :-1]) > correlation(coarse[..., 1:], coarse[..., :-1]) + 0.05


def test_rain_areas_are_long():
    ratios = []
    for spectrum in windowed(decibels(samples(60, 96, 1, wet_share=0.4)[:, 0])):
        k = np.stack(np.meshgrid(np.fft.fftfreq(96), np.fft.fftfreq(96), indexing="ij")).reshape(2, -1)
        length = np.hypot(*k)
        large = (length > 1 / 64) & (length < 1 / 8)
        towards = k[:, large] / length[large]
        smaller, larger = np.linalg.eigvalsh((towards * np.abs(spectrum.ravel()[large]) ** 2) @ towards.T)
        ratios.append(larger / smaller)
    # Round areas would have 1.4, since a frame has few of them.
    assert np.median(ratios) > 1.6


def test_rows_and_columns_are_alike():
    rain = decibels(samples(24, 64, 3))
    down, right = correlation(rain[:, :, 2:], rain[:, :, :-2]), correlation(rain[..., 2:], rain[..., :-2])
    assert down == pytest.approx(right, abs=0.03)


@pytest.mark.parametrize(("size", "shape"), [(16, (16, 16)), ((40, 72), (40, 72)), ([8, 129], (8, 129))])
@pytest.mark.parametrize("frames", [1, 2, 5])
def test_shapes(size, shape, frames):
    rain = samples(1, size, frames)[0]
    assert rain.shape == (frames, *shape)
    assert np.isfinite(rain).all()
    assert rain.min() == 0 < rain.max()


@pytest.mark.parametrize(
    "options",
    [
        {"wet_share": 0.001, "convection": 1},
        {"step_minutes": 0.1, "pixel_km": 0.01},
        {"step_minutes": 1440, "pixel_km": 100},
        {"step_minutes": 1440, "wind": 100, "eddies": 100, "pixel_km": 0.01},
        {"lifetime": 0.01},
    ],
)
def test_extreme_settings_give_rain(options):
    rain = samples(4, 8, 3, **options)
    assert np.isfinite(rain).all()
    assert rain.min() >= 0
    assert 0 < rain.max() <= 150


def test_a_sample_is_a_function_of_the_generator(rng):
    seeds, radar = range(16), SyntheticRadar((128, 96), 4)
    expected = [radar.sample(np.random.default_rng(seed)) for seed in seeds]
    radar.sample(rng)
    with ThreadPoolExecutor(4) as pool:
        parallel = list(pool.map(lambda seed: radar.sample(np.random.default_rng(seed)), seeds))
    again = [SyntheticRadar((128, 96), 4).sample(np.random.default_rng(seed)) for seed in seeds]
    np.testing.assert_array_equal(parallel, expected)
    np.testing.assert_array_equal(again, expected)
    assert not np.array_equal(expected[0], expected[1])
    assert not np.array_equal(radar.sample(rng), radar.sample(rng)), "a generator goes on"


def test_describe_is_a_record_for_json():
    options = {
        "frame_size": [32, 16],
        "frames": 3,
        "step_minutes": 6.0,
        "pixel_km": 1.0,
        "wind": [1.0, 2.0],
        "eddies": [0.0, 4.0],
        "lifetime": 2.0,
        "wet_share": [0.1, 0.2],
        "convection": [0.5, 0.5],
    }
    record = json.loads(json.dumps(SyntheticRadar(**options).describe()))
    assert record == {"name": "synthetic_radar", **options}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frame_size": 7}, r"'frame_size' must be a whole number of at least 8 but got 7\."),
        (
            {"frame_size": (64, 64, 1)},
            r"'frame_size' must be a whole number or \(height, width\) but got \(64, 64, 1\)\.",
        ),
        ({"frame_size": 64.0}, r"'frame_size' must be a whole number or \(height, width\) but got 64\.0\."),
        ({"frames": 0}, r"'frames' must be a whole number of at least 1 but got 0\."),
        ({"step_minutes": 0}, r"'step_minutes' must be a number from 0\.1 to 1440 but got 0\."),
        ({"pixel_km": math.nan}, r"'pixel_km' must be a number from 0\.01 to 100 but got nan\."),
        ({"lifetime": -1.0}, r"'lifetime' must be a number from 0\.01 to inf but got -1\.0\."),
        ({"lifetime": "long"}, r"'lifetime' must be a number from 0\.01 to inf but got 'long'\."),
        ({"wind": -3}, r"'wind' must be a number from 0 to 100, or a range \(low, high\) of them, but got -3\."),
        ({"wind": (20, 10)}, r"'wind' must be .* but got \(20, 10\)\."),
        ({"eddies": (0, 1, 2)}, r"'eddies' must be a number from 0 to 100, or a range .* but got \(0, 1, 2\)\."),
        ({"wet_share": 0}, r"'wet_share' must be a number from 0\.001 to 1, or a range .* but got 0\."),
        ({"convection": True}, r"'convection' must be a number from 0 to 1, or a range .* but got True\."),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=r"\[SyntheticRadar\] " + message):
        SyntheticRadar(**options)
