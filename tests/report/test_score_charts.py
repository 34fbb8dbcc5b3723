"""Scores by lead time, and the curves of a training run."""

from convlstm import report
from convlstm.metrics import FrameMetrics
from convlstm.report.style import even_steps
from tests.support.frame_sequences import frames
from tests.support.scored_rain import NAMES, THRESHOLDS, scores, texts

import numpy as np
import pytest
from PIL import Image


def frame_scores(horizon=6, names=("model", "persistence", "zeros"), ssim=True):
    _, targets, forecasts = frames(horizon=horizon, names=names, lead=(2,))
    result = {}
    for name, forecast in forecasts.items():
        metrics = FrameMetrics(ssim=ssim)
        metrics.update(forecast, targets)
        result[name] = metrics.compute()
    return result


@pytest.mark.parametrize("horizon", [1, 6, 25])
def test_lead_curves(horizon, tmp_path):
    result = frame_scores(horizon)
    figure = report.lead_curves(None, result, title="By lead time")
    assert [axes.get_title("left") for axes in figure.axes] == ["MSE per frame", "SSIM", "PSNR"]
    assert [axes.get_title("right") for axes in figure.axes] == ["lower is better"] + ["higher is better"] * 2
    assert [axes.get_ylabel() for axes in figure.axes][2] == "dB"
    for axes, metric in zip(figure.axes, ("mse_per_frame", "ssim", "psnr"), strict=True):
        assert axes.get_xlabel() == "lead time (frames)"
        for line, name in zip(axes.lines, result, strict=True):
            assert line.get_label() == name
            np.testing.assert_array_equal(line.get_xdata(), np.arange(1, horizon + 1))
            np.testing.assert_array_equal(line.get_ydata(), result[name][metric]["per_lead"])
        assert sorted(text.get_text() for text in axes.texts) == sorted(result)
        heights = sorted(text.xy[1] for text in axes.texts)
        assert np.diff(heights).min() > 0.06, "names do not touch"
    report.lead_curves(tmp_path / "curves.png", result)
    with Image.open(tmp_path / "curves.png") as image:
        assert image.width == 1398
        assert 300 < image.height < 500


def test_lead_curves_of_computed_scores_in_minutes():
    figure = report.lead_curves(None, frame_scores(ssim=False), ("ssim", "psnr"), frame_interval=5)
    assert len(figure.axes) == 1
    assert figure.axes[0].get_xlabel() == "lead time (min)"
    assert figure.axes[0].lines[0].get_xdata().tolist() == [5, 10, 15, 20, 25, 30]
    with pytest.raises(ValueError, match=r"none of the scores \['ssim'\] was computed"):
        report.lead_curves(None, frame_scores(ssim=False), ["ssim"])


def test_a_score_that_is_not_a_number_leaves_a_gap(tmp_path):
    result = frame_scores(2)
    result["model"]["psnr"]["per_lead"] = [float("nan"), float("nan")]
    figure = report.lead_curves(None, result)
    assert sorted(text.get_text() for text in figure.axes[2].texts) == ["persistence", "zeros"]
    report.lead_curves(tmp_path / "curves.png", result)


def rows(**blank):
    for k in range(100):
        yield {
            "step": str(10 * k),
            "train_loss": str(1 / (k + 1)),
            "val_loss": str(abs(k - 60) + 1) if k % 20 == 0 else "",
            "val_psnr": str(20 - abs(k - 80)) if k % 20 == 0 else "",
            "learning_rate": "0.1",
        } | blank


def test_training_curve(tmp_path):
    figure = report.training_curve(None, rows(), title="A run")
    assert [axes.get_title("left") for axes in figure.axes] == ["Loss", "PSNR"]
    loss, psnr = figure.axes
    assert loss.get_yscale() == "log"
    assert psnr.get_yscale() == "linear"
    assert [line.get_label() for line in loss.lines] == ["every step logged", "training", "validation", "best"]
    assert len(loss.lines[0].get_xdata()) == 100
    assert len(loss.lines[2].get_xdata()) == 5
    assert "best 1.000\nat step 600" in [text.get_text() for text in loss.texts]
    assert "best 20.00\nat step 800" in [text.get_text() for text in psnr.texts]
    report.training_curve(tmp_path / "run.png", rows())
    with Image.open(tmp_path / "run.png") as image:
        assert 900 < image.width <= 1400
        assert np.asarray(image.convert("L")).std() > 5


def test_training_curve_of_little(tmp_path):
    figure = report.training_curve(None, [{"step": 1, "train_loss": 0.5, "val_loss": None}])
    assert [line.get_label() for line in figure.axes[0].lines] == ["every step logged", "training"]
    report.training_curve(tmp_path / "run.png", [{"step": 1, "val_mse_per_frame": 3.0}, {"step": 2}])
    with pytest.raises(ValueError, match="neither a 'train_loss' nor a 'val_"):
        report.training_curve(None, rows(train_loss="", val_loss="nan", val_psnr=None))


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
    figure = report.score_curves(None, result, kind, frame_interval=5)
    assert [axes.get_title("left") for axes in figure.axes] == [
        f"{kind.upper() if kind != 'bias' else 'Bias'} at {t:g} mm/h" for t in THRESHOLDS
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
    figure = report.score_curves(None, scores(), pool=4, title="An event")
    assert [axes.get_ylabel() for axes in figure.axes] == ["critical success index, 4 x 4 px"] * 3
    assert figure.axes[0].get_xlabel() == "lead time (frames)"
    assert figure.get_suptitle() == "An event"

    raw = scores(units="raw", thresholds=(74, 16, 133))
    assert [axes.get_title("left") for axes in report.score_curves(None, raw).axes] == [
        "CSI at 16",
        "CSI at 74",
        "CSI at 133",
    ]
    report.score_curves(tmp_path / "csi.png", raw, "csi")
    with Image.open(tmp_path / "csi.png") as image:
        assert image.width == 1398
        assert np.asarray(image.convert("L")).std() > 5


def test_score_curves_of_scores_that_were_not_computed():
    with pytest.raises(
        ValueError, match=r"the score 'psnr' was not computed. There are: bias, csi, csi with pool=4, far"
    ):
        report.score_curves(None, scores(), "psnr")
    with pytest.raises(ValueError, match=r"the score 'csi' with pool=16 was not computed"):
        report.score_curves(None, scores(), pool=16)
    with pytest.raises(ValueError, match=r"the score 'csi' was not computed. There are: none"):
        report.score_curves(None, {})
    with pytest.raises(ValueError, match=r"\[score_curves\] 'frame_interval' must be positive or None but got -5"):
        report.score_curves(None, scores(), frame_interval=-5)
    some = scores()
    del some["model"]["csi@2mmh"]
    assert [axes.get_title("left") for axes in report.score_curves(None, some).axes] == [
        "CSI at 0.5 mm/h",
        "CSI at 30 mm/h",
    ]


def test_a_threshold_that_is_never_reached_has_no_value(tmp_path):
    result = scores(thresholds=(2, 1e9))
    some, none = report.score_curves(None, result).axes
    assert "no value" not in texts(some)
    assert texts(none) == ["no value"]
    assert "no value" in texts(report.fss_by_scale(None, result).axes[1])
    report.score_curves(tmp_path / "csi.png", result)
    report.fss_by_scale(tmp_path / "fss.png", result)


def test_names_stay_inside_the_axes():
    result = scores(names=tuple("abcdef"))
    for name in result:
        result[name]["csi@2mmh"]["per_lead"][-1] = 0.0
    axes = report.score_curves(None, result).axes[1]
    heights = sorted(text.xy[1] for text in axes.texts)
    assert heights[0] > 0
    assert np.diff(heights).min() > 0.06, "names do not touch"


def test_lead_curves_know_the_other_scores_of_rain():
    result = scores()
    metrics = ["mae_mmh", "mean_error_mmh", "b_mse", "csi_mean", "csi_mean_pool4", "spectral_ratio@16px"]
    figure = report.lead_curves(None, result, metrics)
    said = [(axes.get_title("left"), axes.get_ylabel(), axes.get_title("right")) for axes in figure.axes]
    assert said == [
        ("MAE", "mean absolute error (mm/h)", "lower is better"),
        ("Mean error", "forecast - truth (mm/h)", "0 is best"),
        ("B-MSE", "weighted squares per frame, (mm/h)²", "lower is better"),
        ("CSI-M", "CSI, mean over the thresholds", "higher is better"),
        ("CSI-M", "CSI, mean over the thresholds, 4 x 4 px", "higher is better"),
        ("Sharpness below 16 px", "power of short waves, forecast / truth", "1 is best"),
    ]


def test_even_steps():
    assert even_steps(20, 10) == [1, 3, 5, 7, 9, 11, 13, 15, 17, 19]
    assert even_steps(12, 6) == [1, 3, 5, 7, 9, 11]
    assert even_steps(4, 6) == [0, 1, 2, 3]
    assert even_steps(13, 6) == [0, 2, 5, 7, 10, 12], "no step divides it"
    assert even_steps(1, 6) == [0]
