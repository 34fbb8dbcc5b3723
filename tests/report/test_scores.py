"""Pictures of the scores of rain forecasts."""

from convlstm import report
from convlstm.metrics import RainMetrics
from convlstm.report import curves, rain_scores, rain_spectra
from convlstm.report.style import even_steps

import numpy as np
import pytest
from PIL import Image

NAMES = ("model", "extrapolation", "persistence")
THRESHOLDS = (0.5, 2, 30)


def rain(horizon=4, units="mm/h", thresholds=THRESHOLDS, names=NAMES, missing=False, **settings):
    """The metrics of forecasters that are the worse the later they come, and the truth."""
    rng = np.random.default_rng(0)
    truth = np.exp(rng.normal(0, 1.5, (2, horizon, 32, 32, 1)))
    if missing:
        truth[:, :, 10:20, 5:9] = np.nan
    metrics = {}
    for k, name in enumerate(names):
        metrics[name] = RainMetrics(thresholds, units=units, scales=(1, 2, 8), pools=(4,), **settings)
        metrics[name].update(truth * np.exp(rng.normal(0, 0.3 * (k + 1), truth.shape)), truth)
    return metrics, truth


def scores(**how):
    return {name: metric.compute() for name, metric in rain(**how)[0].items()}


def texts(axes):
    return [text.get_text() for text in axes.texts]


@pytest.mark.parametrize(
    ("kind", "axis", "note"),
    [
        ("csi", "critical success index", "higher is better"),
        ("pod", "probability of detection", "higher is better"),
        ("far", "false alarm ratio", "lower is better"),
        ("hss", "Heidke skill score", "higher is better"),
        ("bias", "pixels forecast / pixels observed", "1 is best"),
    ],
)
def test_score_curves_of_every_kind(kind, axis, note):
    result = scores()
    figure = rain_scores.draw_scores(result, kind, frame_interval=5)
    assert [axes.get_title("left") for axes in figure.axes] == [
        f"{kind.upper() if kind != 'bias' else kind} at {t:g} mm/h" for t in THRESHOLDS
    ]
    for axes, threshold in zip(figure.axes, THRESHOLDS, strict=True):
        assert axes.get_title("right") == note
        assert axes.get_ylabel() == axis
        assert axes.get_xlabel() == "lead time (min)"
        assert axes.get_ylim()[0] == 0 or kind == "hss"
        lines = {line.get_label(): line for line in axes.lines}
        assert (kind == "bias") == ("best" in lines)
        for name in NAMES:
            np.testing.assert_array_equal(lines[name].get_xdata(), [5, 10, 15, 20])
            np.testing.assert_array_equal(lines[name].get_ydata(), result[name][f"{kind}@{threshold:g}mmh"]["per_lead"])
        assert sorted(texts(axes)) == sorted(NAMES)


def test_score_curves_of_pools_and_raw_values(tmp_path):
    figure = rain_scores.draw_scores(scores(), pool=4, title="An event")
    assert [axes.get_ylabel() for axes in figure.axes] == ["critical success index, 4 x 4 px"] * 3
    assert figure.axes[0].get_xlabel() == "lead time (frames)"
    assert figure.get_suptitle() == "An event"

    raw = scores(units="raw", thresholds=(74, 16, 133))
    assert [axes.get_title("left") for axes in rain_scores.draw_scores(raw).axes] == [
        "CSI at 16",
        "CSI at 74",
        "CSI at 133",
    ]
    report.score_curves(tmp_path / "csi.png", raw, "csi")
    with Image.open(tmp_path / "csi.png") as image:
        assert image.width == 1398
        assert np.asarray(image.convert("L")).std() > 5


def test_score_curves_of_what_was_not_computed():
    with pytest.raises(
        ValueError, match=r"the score 'psnr' was not computed. There are: bias, csi, csi with pool=4, far"
    ):
        rain_scores.draw_scores(scores(), "psnr")
    with pytest.raises(ValueError, match=r"the score 'csi' with pool=16 was not computed"):
        rain_scores.draw_scores(scores(), pool=16)
    with pytest.raises(ValueError, match=r"the score 'csi' was not computed. There are: none"):
        rain_scores.draw_scores({})
    with pytest.raises(ValueError, match=r"\[score_curves\] 'frame_interval' must be positive or None but got -5"):
        rain_scores.draw_scores(scores(), frame_interval=-5)
    some = scores()
    del some["model"]["csi@2mmh"]
    assert [axes.get_title("left") for axes in rain_scores.draw_scores(some).axes] == [
        "CSI at 0.5 mm/h",
        "CSI at 30 mm/h",
    ]


def test_a_threshold_that_is_never_reached_has_no_value(tmp_path):
    result = scores(thresholds=(2, 1e9))
    some, none = rain_scores.draw_scores(result).axes
    assert "no value" not in texts(some)
    assert texts(none) == ["no value"]
    assert "no value" in texts(rain_scores.draw_scales(result).axes[1])
    report.score_curves(tmp_path / "csi.png", result)
    report.fss_by_scale(tmp_path / "fss.png", result)


def test_names_stay_inside_the_axes():
    result = scores(names=tuple("abcdef"))
    for name in result:
        result[name]["csi@2mmh"]["per_lead"][-1] = 0.0
    axes = rain_scores.draw_scores(result).axes[1]
    heights = sorted(text.xy[1] for text in axes.texts)
    assert heights[0] > 0
    assert np.diff(heights).min() > 0.06, "names do not touch"


def test_lead_curves_know_the_other_scores_of_rain():
    result = scores()
    metrics = ["mae_mmh", "mean_error_mmh", "b_mse", "csi_mean", "csi_mean_pool4", "spectral_ratio@16px"]
    figure = curves.draw_leads(result, metrics)
    said = [(axes.get_title("left"), axes.get_ylabel(), axes.get_title("right")) for axes in figure.axes]
    assert said == [
        ("MAE", "mean absolute error (mm/h)", "lower is better"),
        ("mean error", "forecast - truth (mm/h)", "0 is best"),
        ("B-MSE", "weighted squares per frame, (mm/h)²", "lower is better"),
        ("CSI-M", "CSI, mean over the thresholds", "higher is better"),
        ("CSI-M", "CSI, mean over the thresholds, 4 x 4 px", "higher is better"),
        ("sharpness below 16 px", "power of short waves, forecast / truth", "1 is best"),
    ]


@pytest.mark.parametrize("missing", [False, True])
def test_observed_share(missing):
    metrics, truth = rain(missing=missing)
    result = {name: metric.compute() for name, metric in metrics.items()}
    for threshold in THRESHOLDS:
        share = np.mean(truth[~np.isnan(truth)] >= threshold)
        assert rain_scores.observed_share(result, f"@{threshold:g}mmh") == pytest.approx(share, rel=1e-9)
    assert rain_scores.observed_share(result, "@7mmh") is None

    perfect, dry = (RainMetrics((2,), spectrum=False) for _ in range(2))
    perfect.update(truth, truth)
    dry.update(0 * truth, truth)
    assert rain_scores.observed_share({"perfect": perfect.compute(), "dry": dry.compute()}, "@2mmh") is None
    other = RainMetrics((2,), spectrum=False)
    other.update(truth, 2 * truth)
    assert rain_scores.observed_share({"other": other.compute(), **result}, "@2mmh") is None, (
        "they contradict each other"
    )


def test_fss_by_scale(tmp_path):
    metrics, truth = rain()
    result = {name: metric.compute() for name, metric in metrics.items()}
    figure = rain_scores.draw_scales(result, pixel_km=2.5, title="An event")
    assert [axes.get_title("left") for axes in figure.axes] == [f"FSS at {t:g} mm/h" for t in THRESHOLDS]
    for axes, threshold in zip(figure.axes, THRESHOLDS, strict=True):
        assert axes.get_xscale() == "log"
        assert axes.get_xlabel() == "scale (km)"
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
    assert rain_scores.draw_scales(result).axes[0].get_xlabel() == "scale (px)"

    for score in result.values():
        del score["pod@2mmh"]
    assert "useful skill" not in texts(rain_scores.draw_scales(result).axes[1]), "nobody knows how much it rained"
    report.fss_by_scale(tmp_path / "fss.png", result, pixel_km=1)
    with Image.open(tmp_path / "fss.png") as image:
        assert image.width == 1398
    with pytest.raises(ValueError, match=r"\[fss_by_scale\] the score 'fss' was not computed"):
        rain_scores.draw_scales({"model": {"csi@2mmh": result["model"]["csi@2mmh"]}})
    with pytest.raises(ValueError, match=r"\[fss_by_scale\] 'pixel_km' must be positive or None but got 0"):
        rain_scores.draw_scales(result, pixel_km=0)


@pytest.mark.parametrize("pixel_km", [None, 2.0])
def test_spectra(pixel_km, tmp_path):
    result = {name: metric.spectrum() for name, metric in rain(horizon=5, pixel_km=pixel_km)[0].items()}
    figure = rain_spectra.draw_spectra(result, frame_interval=5, title="An event")
    assert [axes.get_title("left") for axes in figure.axes] == ["+5 min", "+15 min", "+25 min"]
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
    assert [axes.get_title("left") for axes in rain_spectra.draw_spectra(result, max_panels=2).axes] == [
        "+1 frame",
        "+5 frames",
    ]
    figure = rain_spectra.draw_spectra(result, units="dBZ", max_panels=1)
    assert [axes.get_title("left") for axes in figure.axes] == ["+1 frame"]
    assert figure.axes[0].get_ylabel() == "power (dBZ²)"


def test_spectra_of_blurred_and_of_dry_forecasts(tmp_path):
    metrics, truth = rain(horizon=2, names=("model",))
    blurred, dry = (RainMetrics(THRESHOLDS) for _ in range(2))
    blurred.update(np.full_like(truth, truth.mean()) + 1e-9 * truth, truth)
    dry.update(0 * truth, truth)
    result = {"model": metrics["model"], "blurred": blurred, "dry": dry}
    result = {name: metric.spectrum() for name, metric in result.items()}
    axes = rain_spectra.draw_spectra(result).axes[0]
    bottom = result["model"]["target"][0].min() / 100
    assert axes.get_ylim()[0] == pytest.approx(bottom), "the axis does not go down to nothing"
    assert "blurred" in texts(axes)
    report.spectra(tmp_path / "spectra.png", result)


def test_spectra_that_are_not_there():
    metrics, _ = rain(missing=True)
    with pytest.raises(ValueError, match=r"\[spectra\] no lead time has a spectrum: no frame had all of its pixels"):
        rain_spectra.draw_spectra({name: metric.spectrum() for name, metric in metrics.items()})
    with pytest.raises(ValueError, match=r"\[spectra\] 'spectra' must name at least one forecaster but is empty"):
        rain_spectra.draw_spectra({})
    result = {name: metric.spectrum() for name, metric in rain()[0].items()}
    result["model"]["forecast"] = result["model"]["forecast"][:2]
    with pytest.raises(ValueError, match=r"the spectra of 'model' must have the shape of the truth's, \(4, 15\), but"):
        rain_spectra.draw_spectra(result)
    with pytest.raises(ValueError, match=r"'units' must be one of mm/h, dBZ, raw but got 'mm'"):
        rain_spectra.draw_spectra(result, units="mm")
    with pytest.raises(ValueError, match=r"'max_panels' must be at least 1 but got 0"):
        rain_spectra.draw_spectra(result, max_panels=0)
    with pytest.raises(ValueError, match=r"'frame_interval' must be positive or None but got 0"):
        rain_spectra.draw_spectra(result, frame_interval=0)


def test_even_steps():
    assert even_steps(20, 10) == [1, 3, 5, 7, 9, 11, 13, 15, 17, 19]
    assert even_steps(12, 6) == [1, 3, 5, 7, 9, 11]
    assert even_steps(4, 6) == [0, 1, 2, 3]
    assert even_steps(13, 6) == [0, 2, 5, 7, 10, 12], "no step divides it"
    assert even_steps(1, 6) == [0]
