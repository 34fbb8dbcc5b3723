"""The table of scores: every score that is computed has an entry, and every entry has a score."""

import re

from convlstm.metrics import EnsembleMetrics, FieldMetrics, FrameMetrics, RainMetrics, logged_score, score
from convlstm.metrics.table import FRAMES, HIGHER, LOWER, TABLE, spelled
from tests.support.rain_scores import rain

import numpy as np
import pytest

EQUAL = "best if equal to the error of the mean"


def computed(units, **options):
    """Returns the names of all scores of rain and of ensembles in some units."""
    forecast, target, _ = rain(1, 1, 16, 16, 1)
    metrics = RainMetrics([0.5, 10], units=units, scales=(4, 16), pools=(4,), **options)
    metrics.update(forecast, target)
    members = EnsembleMetrics(2, [0.5], units=units)
    members.update(np.stack([forecast, 2 * forecast]), target)
    return [*metrics.compute(), *members.compute()]


def test_every_score_has_an_entry_and_every_entry_a_score():
    frames = FrameMetrics()
    frames.update(np.zeros((1, 1, 8, 8, 1)), np.zeros((1, 1, 8, 8, 1)))
    fields = FieldMetrics([("sst", "degC")], [20])
    fields.update(np.zeros((1, 1, 8, 8, 1)), np.zeros((1, 1, 8, 8, 1)))
    names = [*computed("mm/h"), *computed("raw"), *computed("dBZ", balance=([1.0], [1, 2])), *frames.compute()]
    members = EnsembleMetrics(2, [20], units="degC", field="sst")
    members.update(np.zeros((2, 1, 1, 8, 8, 1)), np.zeros((1, 1, 8, 8, 1)))
    names += [*fields.compute(), *members.compute()]
    kinds = {score(name).kind for name in names}
    assert kinds == set(TABLE) - {"loss"}


@pytest.mark.parametrize("units", ["mm/h", "dBZ", "raw"])
def test_no_two_scores_have_the_same_words(units):
    entries = [score(name) for name in computed(units, balance=([1.0], [1, 2]))]
    assert len({entry.full_title for entry in entries}) == len(entries)
    assert len({(entry.title, entry.axis) for entry in entries}) == len(entries)


def test_names_carry_thresholds_and_units():
    assert {"csi@0.5mmh", "pod@10mmh", "fss@0.5mmh_16px", "csi@10mmh_pool4", "mae_mmh", "b_mse"} < {*computed("mm/h")}
    raw = computed("raw")
    assert {"csi@0.5", "hss@10", "fss@0.5_16px", "csi@0.5_pool4", "mae_raw", "rmse_raw", "crps_raw"} < {*raw}
    assert not any(name.startswith("b_") for name in raw), "HKO-7's bins are in mm/h"
    own = computed("dBZ", balance=([1.0], [1, 2]))
    assert {"csi@10dBZ", "b_mse_dBZ", "b_mae_dBZ", "mean_error_dBZ", "brier@0.5dBZ"} < {*own}


@pytest.mark.parametrize(
    ("name", "unit", "better"),
    [
        ("csi@0.5mmh", "1", True),
        ("csi@74_pool16", "1", True),
        ("csi_mean_pool4", "1", True),
        ("far@2mmh", "1", False),
        ("bias@2mmh", "1", None),
        ("fss@2mmh_16px", "1", True),
        ("spectral_ratio@16px", "1", None),
        ("mae_mmh", "mm/h", False),
        ("mean_error_raw", "raw", None),
        ("rmse_dBZ", "dBZ", False),
        ("b_mse", "weighted (mm/h)^2 per frame", False),
        ("b_mae", "weighted mm/h per frame", False),
        ("b_mse_raw", "weighted (raw)^2 per frame", False),
        ("crps_mmh", "mm/h", False),
        ("field_crps[sst degC]", "degC", False),
        ("field_spread[sst degC]", "degC", None),
        ("field_spread_skill[sst degC]", "1", None),
        ("field_brier[sst>=20 degC]", "1", False),
        ("crps_fair_dBZ", "dBZ", False),
        ("spread_raw", "raw", None),
        ("rmse_of_mean_intensity", "intensity", False),
        ("spread_skill", "1", None),
        ("brier@0.5mmh", "1", False),
        ("mse_per_frame", "intensity^2 per frame", False),
        ("psnr", "dB", True),
        ("ssim", "1", True),
        ("ssim_openstl", "1", True),
    ],
)
def test_units_and_directions(name, unit, better):
    assert score(name).unit == unit
    assert score(name).higher_is_better is better


@pytest.mark.parametrize(
    ("name", "title", "axis", "note"),
    [
        ("crps_mmh", "CRPS", "continuous ranked probability score (mm/h)", "lower is better"),
        ("crps_fair_dBZ", "Fair CRPS", "CRPS of infinitely many members (dBZ)", "lower is better"),
        ("rmse_of_mean_raw", "RMSE of the mean", "root mean square error of the mean (raw value)", "lower is better"),
        ("spread_intensity", "Spread", "standard deviation of the members (intensity)", EQUAL),
        ("brier@2mmh", "Brier score at 2 mm/h", "squared error of the probability", "lower is better"),
        ("spread_skill", "Spread-skill ratio", "spread / error of the mean", "1 is best"),
        ("fss@0.5dBZ_16px", "FSS at 0.5 dBZ", "fractions skill score, 16 x 16 px", "higher is better"),
        ("mean_error_mmh", "Mean error", "forecast - truth (mm/h)", "0 is best"),
    ],
)
def test_words(name, title, axis, note):
    entry = score(name)
    assert (entry.title, entry.axis, entry.note) == (title, axis, note)


def test_parts_of_names():
    entry = score("fss@0.5dBZ_16px")
    assert (entry.kind, entry.threshold, entry.at, entry.scale, entry.pool) == ("fss", 0.5, "@0.5dBZ", 16, None)
    assert entry.full_title == "FSS at 0.5 dBZ, windows of 16 x 16 px"
    assert score("csi@1e+09mmh").threshold == 1e9
    assert score("csi@-5dBZ_pool4").full_title == "CSI at -5 dBZ, maxima of 4 x 4 px"
    for name in ("csi_mean", "spectral_ratio@16px"):
        assert (score(name).threshold, score(name).at) == (None, "")
    assert score("spectral_ratio@16px").title == "Sharpness below 16 px"


def test_the_best_of_several_values():
    values = [0.2, 0.9, 1.5]
    assert score("csi@2mmh").choose(values) == 1.5
    assert score("far@2mmh").choose(values) == 0.2
    assert score("bias@2mmh").choose(values) == 0.9
    assert score("spread_mmh").choose is None


@pytest.mark.parametrize("name", ["mae", "csi", "csi2", "", "ssim@2mmh", "csi@2px", "spread_skill_mmh", "b_mse@2"])
def test_unknown_names(name):
    with pytest.raises(ValueError, match=re.escape(f"[metrics] there is no score {name!r}. The kinds are: loss, mse_")):
        score(name)


def test_columns_of_a_log():
    assert logged_score("val_psnr") == score("psnr")
    assert logged_score("train_loss") == logged_score("val_loss") == score("loss")
    other = logged_score("val_something")
    assert (other.title, other.best) == ("something", LOWER)
    assert [kind for kind in FRAMES if FRAMES[kind].logged] == ["mse_per_frame", "mae_per_frame", "psnr"]
    assert score("psnr").best == HIGHER


def test_thresholds_and_sizes_in_words():
    assert [spelled(text) for text in ("2mmh", "<16px", "0.5dBZ", "L=1", "persistence", "4px", "+5")] == [
        "2 mm/h", "<16 px", "0.5 dBZ", "L=1", "persistence", "4 px", "+5",
    ]  # fmt: skip
