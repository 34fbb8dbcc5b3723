"""The evaluation of an ensemble."""

from convlstm.architectures.baselines import Persistence
from convlstm.architectures.ensemble import Ensemble
from convlstm.evaluation.scoring import evaluate
from convlstm.evaluation.tables import table
from convlstm.metrics import EnsembleMetrics
from tests.support.sea import SST, Sea, batch, evaluation
from tests.support.tiny import Fade

import mlx.core as mx
import numpy as np
import pytest


def inputs_of(rng, N=3):
    return rng.uniform(0.1, 0.9, (N, 4, 12, 15, 1)).astype(np.float32)


def test_evaluation_of_an_ensemble_of_frames(rng):
    """The only event of values in [0, 1] is 0.5 or more. The mean is scored as any other forecast."""
    inputs, targets = inputs_of(rng), inputs_of(rng)[:, :2]
    mask = rng.random(targets.shape) < 0.8
    ensemble = Ensemble([Fade(0.5), Persistence()])
    result = evaluate(
        {"ensemble": ensemble, "mean": ensemble.mean},
        [{"inputs": inputs, "targets": targets, "mask": mask}],
        ssim=False,
    )
    metrics = EnsembleMetrics(2, [0.5], units="intensity")
    metrics.update(np.array(ensemble(mx.array(inputs), 2)), targets, mask)
    scores = metrics.compute()
    assert {name: result.scores["ensemble"][name] for name in scores} == scores
    assert result.ensembles[""]["ensemble"].settings == metrics.settings
    for name, score in result.scores["mean"].items():
        assert result.scores["ensemble"][name]["overall"] == pytest.approx(score["overall"], rel=1e-6)
    text = table(result)
    assert "Ensemble of 2 members, all lead times together" in text
    assert f"{scores['crps_intensity']['overall']:.4f}" in text


def test_ensembles_of_fields_are_scored_in_the_units_of_each():
    data = Sea()
    ensemble = Ensemble([Fade(0.9, 0.0), Fade(0.5, 0.0), Fade(0.2, 0.3)])
    result = evaluation(data, {"ensemble": ensemble})
    scores, given = result.scores["ensemble"], batch(data)
    members = data.physical(np.array(ensemble(mx.array(given["inputs"]), 3)))
    assert list(result.ensembles) == ["sst", "u10"]
    for n, (name, units) in enumerate((("sst", "degC"), ("u10", "m s-1"))):
        x, y = members[..., n].astype(np.float64), given["truth"][..., n].astype(np.float64)
        known = ~np.isnan(y)
        x, y = x[:, known], y[known]
        pairs = np.abs(x[:, None] - x[None]).mean(axis=(0, 1))
        expected = {
            "crps": np.mean(np.abs(x - y).mean(axis=0) - pairs / 2),
            "crps_fair": np.mean(np.abs(x - y).mean(axis=0) - pairs * 3 / 4),
            "spread": np.sqrt(x.var(axis=0, ddof=1).mean()),
            "rmse_of_mean": np.sqrt(((x.mean(axis=0) - y) ** 2).mean()),
        }
        for kind, value in expected.items():
            found = scores[f"field_{kind}[{name} {units}]"]["overall"]
            assert found == pytest.approx(value, rel=1e-5), kind
        ratio = np.sqrt(4 / 3) * expected["spread"] / expected["rmse_of_mean"]
        assert scores[f"field_spread_skill[{name} {units}]"]["overall"] == pytest.approx(ratio, rel=1e-5)
        assert scores[f"field_rmse[{name} {units}]"]["overall"] == pytest.approx(expected["rmse_of_mean"], rel=1e-5)
        # Land does not score, and every known pixel has a rank.
        assert result.ensembles[name]["ensemble"].rank_histogram().sum() == pytest.approx(known.sum())
    assert not [name for name in scores if name.startswith(("crps", "spread", "brier"))]
    text = table(result)
    for line in ("sst: Ensemble of 3 members, all lead times together", "u10: Ensemble of 3 members"):
        assert line in text
    assert f"{scores['field_crps[sst degC]']['overall']:.4f}" in text


def test_ensembles_of_changes_add_to_the_last_frame():
    data = Sea()
    given = batch(data)
    given["reference"] = np.full((3, 1, 12, 16, 2), 5.0, np.float32)
    given["truth"] = given["truth"] + 5
    ensemble = Ensemble([Fade(0.9, 0.0), Fade(0.5, 0.0)])
    with_changes = evaluate({"a": ensemble}, [given], fields=data, ssim=False).scores["a"]
    without = evaluate({"a": ensemble}, [batch(data)], fields=data, ssim=False).scores["a"]
    for name in ("field_crps[sst degC]", "field_spread[u10 m s-1]"):
        assert with_changes[name]["overall"] == pytest.approx(without[name]["overall"], rel=1e-5)


def test_the_probability_of_a_field_at_a_threshold_is_scored():
    data = Sea([SST])
    data.thresholds = [20]
    ensemble = Ensemble([Fade(0.9, 0.0), Fade(0.9, 0.3)])
    result = evaluation(data, {"ensemble": ensemble})
    given = batch(data)
    members = data.physical(np.array(ensemble(mx.array(given["inputs"]), 3)))
    known = ~np.isnan(given["truth"])
    squares = ((members >= 20).mean(axis=0) - (given["truth"] >= 20))[known] ** 2
    assert result.scores["ensemble"]["field_brier[sst>=20 degC]"]["overall"] == pytest.approx(squares.mean())
    reliability = result.ensembles["sst"]["ensemble"].reliability()
    assert list(reliability) == ["@20 degC"]
    assert reliability["@20 degC"]["count"].sum() == known.sum()
    assert "sst>=20" in table(result)
