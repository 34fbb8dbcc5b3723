"""Rain by scale: fractions skill score and power spectra."""

from convlstm import report
from convlstm.metrics import RainMetrics
from convlstm.report.fss_and_spectra import observed_share
from tests.support.scored_rain import NAMES, THRESHOLDS, rain, texts

import numpy as np
import pytest
from PIL import Image


@pytest.mark.parametrize("missing", [False, True])
def test_observed_share(missing):
    metrics, truth = rain(missing=missing)
    result = {name: metric.compute() for name, metric in metrics.items()}
    for threshold in THRESHOLDS:
        share = np.mean(truth[~np.isnan(truth)] >= threshold)
        assert observed_share(result, f"@{threshold:g}mmh") == pytest.approx(share, rel=1e-9)
    assert observed_share(result, "@7mmh") is None

    perfect, dry = (RainMetrics((2,), spectrum=False) for _ in range(2))
    perfect.update(truth, truth)
    dry.update(0 * truth, truth)
    assert observed_share({"perfect": perfect.compute(), "dry": dry.compute()}, "@2mmh") is None
    other = RainMetrics((2,), spectrum=False)
    other.update(truth, 2 * truth)
    assert observed_share({"other": other.compute(), **result}, "@2mmh") is None, "they contradict each other"


def test_fss_by_scale(tmp_path):
    metrics, truth = rain()
    result = {name: metric.compute() for name, metric in metrics.items()}
    figure = report.fss_by_scale(None, result, pixel_km=2.5, title="An event")
    assert [axes.get_title("left") for axes in figure.axes] == [f"FSS at {t:g} mm/h" for t in THRESHOLDS]
    for axes, threshold in zip(figure.axes, THRESHOLDS, strict=True):
        assert axes.get_xscale() == "log"
        assert axes.get_xlabel() == "side of the window (km)"
        assert axes.get_ylabel() == "fractions skill score, all lead times"
        assert [text.get_text() for text in axes.get_xticklabels()] == ["2.5", "5", "20"]
        lines = {line.get_label(): line for line in axes.lines}
        for name in NAMES:
            expected = [result[name][f"fss@{threshold:g}mmh_{scale}px"]["overall"] for scale in (1, 2, 8)]
            np.testing.assert_array_equal(lines[name].get_ydata(), expected)
            np.testing.assert_array_equal(lines[name].get_xdata(), [2.5, 5, 20])
        useful = 0.5 + np.mean(truth >= threshold) / 2
        assert lines["useful skill"].get_ydata() == pytest.approx([useful, useful])
        assert sorted(texts(axes)) == sorted([*NAMES, "useful skill"])
    assert report.fss_by_scale(None, result).axes[0].get_xlabel() == "side of the window (px)"

    for score in result.values():
        del score["pod@2mmh"]
    assert "useful skill" not in texts(report.fss_by_scale(None, result).axes[1]), "nobody knows how much it rained"
    report.fss_by_scale(tmp_path / "fss.png", result, pixel_km=1)
    with Image.open(tmp_path / "fss.png") as image:
        assert image.width == 1398
    with pytest.raises(ValueError, match=r"\[fss_by_scale\] the score 'fss' was not computed"):
        report.fss_by_scale(None, {"model": {"csi@2mmh": result["model"]["csi@2mmh"]}})
    with pytest.raises(ValueError, match=r"\[fss_by_scale\] 'pixel_km' must be positive or None but got 0"):
        report.fss_by_scale(None, result, pixel_km=0)


@pytest.mark.parametrize("pixel_km", [None, 2.0])
def test_spectra(pixel_km, tmp_path):
    result = {name: metric.spectrum() for name, metric in rain(horizon=5, pixel_km=pixel_km)[0].items()}
    figure = report.spectra(None, result, frame_interval=5, title="An event")
    assert [axes.get_title("left") for axes in figure.axes] == [
        "+5 min",
        "+15 min",
        "+25 min",
    ]
    for axes, lead in zip(figure.axes, (0, 2, 4), strict=True):
        assert axes.get_xscale() == axes.get_yscale() == "log"
        assert axes.get_xlabel() == ("wavelength (px)" if pixel_km is None else "wavelength (km)")
        assert axes.get_xlim() == (32 * (pixel_km or 1), 32 / 15 * (pixel_km or 1)), "long waves are on the left"
        lines = {line.get_label(): line.get_ydata() for line in axes.lines}
        np.testing.assert_array_equal(lines["truth"], result["model"]["target"][lead])
        for name in NAMES:
            np.testing.assert_array_equal(lines[name], result[name]["forecast"][lead])
        assert sorted(texts(axes)) == sorted([*NAMES, "truth"])
    report.spectra(tmp_path / "spectra.png", result, max_panels=2)
    with Image.open(tmp_path / "spectra.png") as image:
        assert image.width == 932
    assert [axes.get_title("left") for axes in report.spectra(None, result, max_panels=2).axes] == [
        "+1 frame",
        "+5 frames",
    ]
    figure = report.spectra(None, result, units="dBZ", max_panels=1)
    assert [axes.get_title("left") for axes in figure.axes] == ["+1 frame"]
    assert figure.axes[0].get_ylabel() == "power (dBZ²)"


def test_spectra_of_blurred_and_of_dry_forecasts(tmp_path):
    metrics, truth = rain(horizon=2, names=("model",))
    blurred, dry = (RainMetrics(THRESHOLDS) for _ in range(2))
    blurred.update(np.full_like(truth, truth.mean()) + 1e-9 * truth, truth)
    dry.update(0 * truth, truth)
    result = {"model": metrics["model"], "blurred": blurred, "dry": dry}
    result = {name: metric.spectrum() for name, metric in result.items()}
    axes = report.spectra(None, result).axes[0]
    bottom = result["model"]["target"][0].min() / 100
    assert axes.get_ylim()[0] == pytest.approx(bottom), "the axis does not go down to nothing"
    assert "blurred" in texts(axes)
    report.spectra(tmp_path / "spectra.png", result)


def test_wrong_spectra():
    metrics, _ = rain(missing=True)
    with pytest.raises(ValueError, match=r"\[spectra\] no lead time has a spectrum: no frame had all of its pixels"):
        report.spectra(None, {name: metric.spectrum() for name, metric in metrics.items()})
    with pytest.raises(ValueError, match=r"\[spectra\] 'spectra' must name at least one forecaster but is empty"):
        report.spectra(None, {})
    result = {name: metric.spectrum() for name, metric in rain()[0].items()}
    result["model"]["forecast"] = result["model"]["forecast"][:2]
    with pytest.raises(ValueError, match=r"the spectra of 'model' must have the shape of the truth's, \(4, 15\), but"):
        report.spectra(None, result)
    with pytest.raises(ValueError, match=r"'units' must be one of mm/h, dBZ, raw but got 'mm'"):
        report.spectra(None, result, units="mm")
    with pytest.raises(ValueError, match=r"'max_panels' must be at least 1 but got 0"):
        report.spectra(None, result, max_panels=0)
    with pytest.raises(ValueError, match=r"'frame_interval' must be positive or None but got 0"):
        report.spectra(None, result, frame_interval=0)
