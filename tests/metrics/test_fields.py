"""Scores of fields in their own units, beside NumPy's own statistics."""

from convlstm.metrics import FieldMetrics, score

import numpy as np
import pytest

FIELDS = [("sst", "degC"), ("u10", "m s-1")]


def batch(seed=0, shape=(3, 4, 6, 5, 2)):
    rng = np.random.default_rng(seed)
    truth = rng.normal(10, 4, shape).astype(np.float32)
    return truth + rng.normal(0.5, 1, shape).astype(np.float32), truth


def test_errors_and_correlation_by_lead_time():
    forecast, truth = batch()
    truth[:, :, :2, :, 0] = np.nan  # land in the first field
    metrics = FieldMetrics(FIELDS)
    for n in range(3):  # one sequence at a time
        metrics.update(forecast[n : n + 1], truth[n : n + 1])
    scores = metrics.compute()
    for channel, (name, units) in enumerate(FIELDS):
        error = (forecast - truth)[..., channel].astype(np.float64)
        expected = {
            "field_rmse": np.sqrt(np.nanmean(error**2, axis=(0, 2, 3))),
            "field_mae": np.nanmean(np.abs(error), axis=(0, 2, 3)),
            "field_bias": np.nanmean(error, axis=(0, 2, 3)),
        }
        known = ~np.isnan(truth[0, 0, ..., channel])
        expected["correlation"] = [
            np.mean([np.corrcoef(forecast[n, t, known, channel], truth[n, t, known, channel])[0, 1] for n in range(3)])
            for t in range(4)
        ]
        for kind, values in expected.items():
            found = scores[f"{kind}[{name} {units}]"]
            assert found["per_lead"] == pytest.approx(list(values), rel=1e-6)
            assert found["mean_over_leads"] == pytest.approx(np.mean(values), rel=1e-6)
        overall = scores[f"field_rmse[{name} {units}]"]["overall"]
        assert overall == pytest.approx(np.sqrt(np.nanmean(error**2)), rel=1e-6)


def test_a_mask_hides_the_truth():
    forecast, truth = batch()
    mask = np.ones(truth.shape, bool)
    mask[..., 3:, :, :] = False
    hidden, part = FieldMetrics(FIELDS), FieldMetrics(FIELDS)
    hidden.update(forecast, truth, mask)
    part.update(forecast[:, :, :3], truth[:, :, :3])
    for name, values in part.compute().items():
        assert hidden.compute()[name]["per_lead"] == pytest.approx(values["per_lead"])


def test_a_perfect_forecast_and_a_constant_one():
    _, truth = batch()
    perfect, constant = FieldMetrics(FIELDS), FieldMetrics(FIELDS)
    perfect.update(truth, truth)
    constant.update(np.full_like(truth, 10), truth)
    assert perfect.compute()["correlation[sst degC]"]["overall"] == pytest.approx(1)
    assert perfect.compute()["field_rmse[sst degC]"]["overall"] == 0
    assert np.isnan(constant.compute()["correlation[sst degC]"]["overall"])


def test_names_carry_the_field_and_its_units():
    entry = score("field_rmse[u10 m s-1]")
    assert (entry.title, entry.axis, entry.unit) == ("RMSE of u10", "root mean square error (m s-1)", "m s-1")
    assert entry.higher_is_better is False
    for wrong in ("field_rmse", "field_rmse[sst]", "csi[sst degC]", "field_rmse_mmh", "correlation@2mmh"):
        with pytest.raises(ValueError, match="there is no score"):
            score(wrong)


def test_refuses():
    forecast, truth = batch()
    metrics = FieldMetrics(FIELDS)
    with pytest.raises(ValueError, match="there is nothing to compute"):
        metrics.compute()
    with pytest.raises(ValueError, match="must have 2 channels, one for each field"):
        metrics.update(forecast[..., :1], truth[..., :1])
    with pytest.raises(ValueError, match="must have the same shape"):
        metrics.update(forecast[:, :2], truth)
    metrics.update(forecast, truth)
    with pytest.raises(ValueError, match="same number of lead times"):
        metrics.update(forecast[:, :2], truth[:, :2])
    with pytest.raises(ValueError, match="'fields' must name at least one field"):
        FieldMetrics([])


def test_events_at_thresholds():
    forecast, truth = (values[..., :1] for values in batch())
    truth[0, 0, 0, 0] = np.nan
    metrics = FieldMetrics([("sst", "degC")], [-5, 10])
    metrics.update(forecast, truth)
    scores = metrics.compute()
    known = ~np.isnan(truth)
    for threshold in (-5, 10):
        f, t = (known & (values >= threshold) for values in (forecast, truth))
        expected = (f & t).sum((0, 2, 3, 4)) / (f | t).sum((0, 2, 3, 4))
        name = f"field_csi[sst>={threshold} degC]"
        assert scores[name]["per_lead"] == pytest.approx(expected.tolist())
        assert score(name).title == f"CSI of sst>={threshold} degC"
    with pytest.raises(ValueError, match="'thresholds' need a single field but got 2"):
        FieldMetrics(FIELDS, [1])
