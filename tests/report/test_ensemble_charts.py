"""Pictures of ensembles."""

import re

from convlstm import report
from convlstm.metrics import EnsembleMetrics

import numpy as np
import pytest


@pytest.fixture
def metrics(rng):
    """The metrics of an overconfident ensemble of four members, over three lead times."""
    level = rng.normal(1, 1, (2, 3, 16, 16, 1))
    found = EnsembleMetrics(4, [1.0, 2.0])
    found.update(level + 0.3 * rng.normal(size=(4, *level.shape)), level + rng.normal(size=level.shape))
    return found


def line(axes, name):
    return next(line for line in axes.get_lines() if line.get_label() == name)


def test_reliability(metrics):
    figure = report.reliability_diagram(None, {"mine": metrics.reliability()}, title="two")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Event: 1 mm/h or more", "Event: 2 mm/h or more"]
    axes, table = figure.axes[1], metrics.reliability()["@2mmh"]
    np.testing.assert_allclose(line(axes, "mine").get_xydata().T, [table["probability"], table["observed"]])
    share = (table["observed"] * table["count"]).sum() / table["count"].sum()
    assert line(axes, "overall frequency").get_ydata()[0] == pytest.approx(share)
    bars = axes.child_axes[0].patches
    assert [bar.get_height() for bar in bars] == table["count"].tolist()
    assert axes.get_legend() is None
    assert figure.get_suptitle() == "two"


def test_reliability_leaves_out_rare_probabilities(metrics):
    table = {key: values.copy() for key, values in metrics.reliability()["@2mmh"].items()}
    table["count"][2] = 9
    axes = report.reliability_diagram(None, {"a": {"@2": table}, "b": metrics.reliability() | {"@2": table}}).axes[0]
    assert len(line(axes, "a").get_xdata()) == 4
    assert axes.get_title(loc="left") == "Event: 2 or more"
    assert [text.get_text() for text in axes.get_legend().get_texts()][1:3] == ["a", "b"]


def test_ranks(metrics):
    counts = metrics.rank_histogram()
    figure = report.rank_histogram(None, {"a": counts, "b": np.zeros(5)}, ranked_from="0.5 mm/h")
    axes = figure.axes[0]
    np.testing.assert_allclose([bar.get_height() for bar in axes.patches], counts / counts.sum())
    assert line(axes, "best").get_ydata()[0] == 0.2
    assert axes.get_ylabel() == "share of the pixels with 0.5 mm/h or more"
    assert report.rank_histogram(None, {"a": counts}).axes[0].get_ylabel() == "share of the pixels"
    assert [text.get_text() for text in figure.axes[1].texts] == ["no value"]
    many = report.rank_histogram(None, {"a": np.ones(31)}).axes[0].get_xticks()
    assert (many[0], many[-1], len(many)) == (0, 30, 6)


def test_spread_beside_the_error(metrics):
    scores = metrics.compute()
    figure = report.spread_skill(None, {"mine": scores}, frame_interval=5)
    axes, ratio = figure.axes
    errors = np.array(scores["rmse_of_mean_mmh"]["per_lead"])
    np.testing.assert_allclose(line(axes, "error").get_xydata().T, [[5, 10, 15], errors])
    spread = np.sqrt(5 / 4) * np.array(scores["spread_mmh"]["per_lead"])
    np.testing.assert_allclose(line(axes, "spread").get_ydata(), spread)
    assert [text.get_text() for text in axes.texts] == ["spread", "error"]
    assert axes.get_ylabel() == "RMSE of the mean; dashed: spread (mm/h)"
    np.testing.assert_allclose(line(ratio, "mine").get_ydata(), spread / errors)
    two = report.spread_skill(None, {"a": scores, "b": scores}).axes[0]
    assert {text.get_text() for text in two.texts} == {"a, spread", "a, error", "b, spread", "b, error"}
    assert two.get_xlabel() == "lead time (frames)"


def test_files(metrics, tmp_path):
    report.reliability_diagram(tmp_path / "a.png", {"a": metrics.reliability()}, title="a")
    report.rank_histogram(tmp_path / "b.png", {"a": metrics.rank_histogram()}, ranked_from="1", title="a")
    report.spread_skill(tmp_path / "c.png", {"a": metrics.compute()}, title="a", frame_interval=5)
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in tmp_path.iterdir())


def test_an_ensemble_without_a_known_pixel(tmp_path):
    metrics = EnsembleMetrics(2, [1])
    metrics.update(np.zeros((2, 1, 2, 3, 3, 1)), np.full((1, 2, 3, 3, 1), np.nan))
    for figure in (
        report.reliability_diagram(None, {"a": metrics.reliability()}),
        report.spread_skill(None, {"a": metrics.compute()}),
    ):
        assert "no value" in [text.get_text() for axes in figure.axes for text in axes.texts]
        figure.savefig(tmp_path / "a.png")


def test_wrong_arguments(metrics):
    for owner in ("reliability_diagram", "rank_histogram", "spread_skill"):
        with pytest.raises(ValueError, match=re.escape(f"[{owner}] there must be at least one ensemble but got none.")):
            getattr(report, owner)(None, {})
    with pytest.raises(ValueError, match="there is no threshold that all ensembles have"):
        report.reliability_diagram(None, {"a": metrics.reliability(), "b": {}})
    with pytest.raises(ValueError, match="'frame_interval' must be positive or None but got 0"):
        report.spread_skill(None, {"a": metrics.compute()}, frame_interval=0)
