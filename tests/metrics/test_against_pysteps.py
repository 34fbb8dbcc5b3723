"""Our scores beside those of pysteps (`pip install pysteps`, which needs a C compiler); skipped where it is absent."""

import contextlib
import io
import warnings

from convlstm.metrics import RainMetrics
from convlstm.metrics.spectrum import radial_spectrum, taper

import numpy as np
import pytest

# It prints where its configuration is, and may warn of optional packages that are missing.
with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("pysteps", reason="pysteps is not installed: pip install pysteps")
    from pysteps.utils.spectral import rapsd
    from pysteps.verification.detcatscores import det_cat_fct
    from pysteps.verification.spatialscores import fss, fss_accum, fss_compute, fss_init

THRESHOLDS = (0.5, 2.0, 5.0)
SCALES = (1, 2, 3, 4, 16, 64, 200)
NAMES = {"csi": "CSI", "pod": "POD", "far": "FAR", "hss": "HSS", "bias": "BIAS"}


@pytest.fixture(params=["complete", "missing"])
def fields(request, rng):
    """Forecast and truth in mm/h, (N, T, H, W, 1), smooth enough to have skill; NaN in both where either is missing."""
    shape = (3, 2, 40, 56, 1)
    noise = rng.normal(size=(2, *shape))
    for _ in range(4):
        noise = noise + np.roll(noise, 1, axis=3) + np.roll(noise, 1, axis=4)
    target, other = 3 * np.maximum(noise / noise.std(), 0) ** 2
    forecast = np.where(rng.random(shape) < 0.7, target, other)
    if request.param == "missing":
        missing = rng.random(shape) < 0.2
        missing[0, 0, :20, :30] = missing[1, 1] = True
        forecast[missing] = target[missing] = np.nan
    return forecast, target


@pytest.fixture
def scores(fields):
    metrics = RainMetrics(THRESHOLDS, scales=SCALES)
    metrics.update(*fields)
    return metrics.compute()


def test_contingency_scores(fields, scores):
    """On the known pixels: pysteps counts a NaN as a pixel where nothing happened."""
    for lead in (0, 1):
        forecast, target = (x[:, lead] for x in fields)
        known = ~np.isnan(target)
        for threshold in THRESHOLDS:
            theirs = det_cat_fct(forecast[known], target[known], threshold, list(NAMES.values()))
            for ours, name in NAMES.items():
                assert scores[f"{ours}@{threshold:g}mmh"]["per_lead"][lead] == pytest.approx(theirs[name], abs=1e-12)
    known = ~np.isnan(fields[1])
    theirs = det_cat_fct(fields[0][known], fields[1][known], 2.0, "CSI")
    assert scores["csi@2mmh"]["overall"] == pytest.approx(theirs["CSI"], abs=1e-12)


def test_a_value_at_the_threshold_is_an_event_of_ours_only(rng):
    """pysteps wants more than the threshold; just below it, the two agree."""
    forecast, target = rng.integers(0, 6, (2, 1, 1, 30, 30, 1)).astype(np.float64)
    metrics = RainMetrics([2])
    metrics.update(forecast, target)
    csi = metrics.compute()["csi@2mmh"]["overall"]
    theirs = [det_cat_fct(forecast.ravel(), target.ravel(), threshold, "CSI")["CSI"] for threshold in (1.999, 2.0)]
    assert csi == pytest.approx(theirs[0], abs=1e-12)
    assert abs(csi - theirs[1]) > 0.01


def test_fractions_skill_score(fields, scores):
    """Summed over the frames of a lead time, as pysteps accumulates it, and of all lead times."""
    forecast, target = (x[..., 0] for x in fields)
    for threshold in THRESHOLDS:
        for scale in SCALES:
            score, total = scores[f"fss@{threshold:g}mmh_{scale}px"], fss_init(threshold, scale)
            for lead in (0, 1):
                theirs = fss_init(threshold, scale)
                for n in range(len(target)):
                    for sums in (theirs, total):
                        fss_accum(sums, forecast[n, lead], target[n, lead])
                assert score["per_lead"][lead] == pytest.approx(fss_compute(theirs), abs=1e-9), (threshold, scale)
            assert score["overall"] == pytest.approx(fss_compute(total), abs=1e-9)


def test_fractions_skill_score_of_one_frame(rng):
    forecast, target = rng.gamma(0.5, 4, (2, 31, 17))
    metrics = RainMetrics([1], scales=(5,))
    metrics.update(forecast[None, None, ..., None], target[None, None, ..., None])
    assert metrics.compute()["fss@1mmh_5px"]["overall"] == pytest.approx(fss(forecast, target, 1, 5), abs=1e-12)


def test_fractions_skill_score_if_only_one_field_is_missing(rng):
    """pysteps holds rain against a forecast where the truth is unknown; ours leaves the pixel out of both."""
    forecast, target = rng.gamma(0.5, 4, (2, 24, 24))
    target[:12] = np.nan
    metrics = RainMetrics([1], scales=(3,))
    metrics.update(forecast[None, None, ..., None], target[None, None, ..., None])
    ours = metrics.compute()["fss@1mmh_3px"]["overall"]
    assert fss(forecast, target, 1, 3) < ours - 0.1
    assert fss(np.where(np.isnan(target), np.nan, forecast), target, 1, 3) == pytest.approx(ours, abs=1e-12)


@pytest.mark.parametrize("side", [32, 45])
def test_power_spectrum(side, rng):
    field = rng.gamma(0.5, 4, (side, side))
    np.testing.assert_allclose(radial_spectrum(field[None])[0], rapsd(field, fft_method=np.fft), rtol=1e-10)


def test_spectrum_of_rain(rng):
    forecast, target = rng.gamma(0.5, 4, (2, 2, 3, 32, 32, 1))
    metrics = RainMetrics([1])
    metrics.update(forecast, target)
    spectrum = metrics.spectrum()
    for name, frames in (("forecast", forecast), ("target", target)):
        fields = np.log1p(frames[..., 0]) * taper(32, 32)
        for lead in range(3):
            theirs, frequency = zip(
                *(rapsd(field, fft_method=np.fft, return_freq=True) for field in fields[:, lead]), strict=True
            )
            np.testing.assert_allclose(spectrum[name][lead], np.mean(theirs, axis=0)[1:], rtol=1e-10)
            np.testing.assert_allclose(spectrum["wavelength_px"], 1 / frequency[0][1:])
