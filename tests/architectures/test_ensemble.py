"""Ensembles of models: their members and their mean."""

import re

from convlstm.architectures.baselines import Persistence
from convlstm.architectures.ensemble import Ensemble
from convlstm.architectures.perturbation import Perturbation
from tests.support.tiny import Fade

import mlx.core as mx
import numpy as np
import pytest


def inputs_of(rng, N=3):
    return rng.uniform(0.1, 0.9, (N, 4, 12, 15, 1)).astype(np.float32)


def test_members_are_the_forecasts_of_the_models(rng):
    models = [Fade(0.5), Fade(0.25), Persistence()]
    ensemble, inputs = Ensemble(models), mx.array(inputs_of(rng))
    members = ensemble(inputs, 2)
    assert (ensemble.size, members.shape) == (3, (3, 3, 2, 12, 15, 1))
    for model, member in zip(models, members, strict=True):
        np.testing.assert_array_equal(member, model(inputs, 2))
    np.testing.assert_allclose(ensemble.mean(inputs, 2), np.mean(np.array(members), axis=0), rtol=1e-6)


def test_perturbed_members_come_from_inputs_of_their_own(rng):
    inputs, perturbation = inputs_of(rng), Perturbation(seed=3)
    members = Ensemble([Persistence(), Fade(0.5)], perturbed=2, perturbation=perturbation)(mx.array(inputs), 1)
    assert members.shape[0] == 4
    for number, model in enumerate([Persistence(), Persistence(), Fade(0.5), Fade(0.5)]):
        perturbed = mx.array(perturbation(inputs, number))
        np.testing.assert_array_equal(members[number], model(perturbed, 1))
    default = Ensemble([Persistence()], perturbed=2)(mx.array(inputs), 1)
    np.testing.assert_array_equal(default[1], mx.array(Perturbation()(inputs, 1))[:, -1:])


def test_training_mode_reaches_the_models():
    models = [Fade(), Fade()]
    assert not Ensemble(models).eval().training
    assert not models[1].training


def test_too_few_members():
    text = "[Ensemble] an ensemble must have at least 2 members but got 1 model "
    with pytest.raises(ValueError, match=re.escape(text)):
        Ensemble([Persistence()])
    with pytest.raises(ValueError, match="'perturbed' must be a whole number of at least 1 but got 0"):
        Ensemble([Persistence(), Persistence()], perturbed=0)
