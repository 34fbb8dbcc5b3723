"""The evaluation of an ensemble."""

from convlstm.architectures.baselines import Persistence
from convlstm.architectures.ensemble import Ensemble
from convlstm.evaluation.scoring import evaluate
from convlstm.evaluation.tables import table
from convlstm.metrics import EnsembleMetrics
from tests.support.sea import Sea, batch, evaluation
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
    assert result.ensembles["ensemble"].settings == metrics.settings
    for name, score in result.scores["mean"].items():
        assert result.scores["ensemble"][name]["overall"] == pytest.approx(score["overall"], rel=1e-6)
    text = table(result)
    assert "Ensemble of 2 members, all lead times together" in text
    assert f"{scores['crps_intensity']['overall']:.4f}" in text


def test_an_ensemble_of_fields_is_scored_on_the_models_scale():
    data = Sea()
    ensemble = Ensemble([Fade(0.9, 0.0), Fade(0.5, 0.0)])
    result = evaluation(data, {"ensemble": ensemble})
    scores = result.scores["ensemble"]
    assert "Ensemble of 2 members, on the model's scale, all lead times together" in table(result)
    given = batch(data)
    metrics = EnsembleMetrics(2, [0.5], units="intensity")
    members = np.array(ensemble(mx.array(given["inputs"]), 3))
    metrics.update(members, given["targets"], given["mask"])
    assert scores["crps_intensity"] == metrics.compute()["crps_intensity"]
    error = data.physical(members.mean(axis=0)) - given["truth"]
    assert scores["field_rmse[u10 m s-1]"]["overall"] == pytest.approx(np.sqrt(np.mean(error[..., 1] ** 2)), rel=1e-5)
