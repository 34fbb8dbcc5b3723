"""Ensembles of models and of forecasters: their members, what makes these differ, and what is told of them."""

import math
import re
import shutil
from zlib import crc32

from convlstm import checkpoints
from convlstm.architectures.baselines import Persistence
from convlstm.architectures.ensemble import Ensemble
from convlstm.architectures.motion import motion
from convlstm.architectures.perturbation import Perturbation, shifted, smoothed
from convlstm.checkpoints import CheckpointError
from convlstm.checkpoints.members import Weights, weights_of
from convlstm.datasets.transforms import LogRain
from convlstm.evaluation.scoring import evaluate
from convlstm.evaluation.tables import table
from convlstm.forecasting.ensemble import EnsembleForecaster
from convlstm.forecasting.forecaster import Forecaster
from convlstm.metrics import EnsembleMetrics
from tests.support.forecast_runs import RAIN, write_run
from tests.support.rain_cells import moving
from tests.support.tiny import Fade

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest

STILL = {"motion": 0.0, "field": 0.0}


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
        own = mx.array(perturbation(inputs, number))
        np.testing.assert_array_equal(members[number], model(own, 1))
    default = Ensemble([Persistence()], perturbed=2)(mx.array(inputs), 1)
    np.testing.assert_array_equal(default[1], mx.array(Perturbation()(inputs, 1))[:, -1:])


def test_training_mode_reaches_the_models():
    models = [Fade(), Fade()]
    assert not Ensemble(models).eval().training
    assert not models[1].training


def test_a_batch_is_perturbed_as_its_sequences_are_one_by_one(rng):
    inputs, perturbation = inputs_of(rng), Perturbation()
    whole = perturbation(inputs, 0)
    for n in range(len(inputs)):
        np.testing.assert_array_equal(perturbation(inputs[n : n + 1], 0)[0], whole[n])
    relative = (whole / inputs)[:, -1]
    assert np.abs(relative[0] - relative[1]).max() > 0.01
    np.testing.assert_array_equal(perturbation(inputs, 0), whole)


@pytest.mark.parametrize("change", [{"seed": 1}, {"motion": 0.5}, {"field": 0.3}, {"length": 2.0}])
def test_every_argument_changes_the_inputs(rng, change):
    inputs = inputs_of(rng)
    assert np.abs(Perturbation(**change)(inputs, 0) - Perturbation()(inputs, 0)).max() > 1e-3
    assert np.abs(Perturbation()(inputs, 1) - Perturbation()(inputs, 0)).max() > 1e-3
    np.testing.assert_array_equal(Perturbation(**STILL)(inputs, 0), inputs)


def test_motion_is_perturbed_by_the_error_that_was_drawn():
    """Of the last frame nothing changes; of the motion that the frames show, what the definition says."""
    frames = np.clip(np.array(moving(0.0, 3.0, frames=4)), 0, 1).astype(np.float32)
    still = np.array(motion(mx.array(frames)))[:, 24:-24, 24:-24].mean(axis=(0, 1, 2))
    errors = []
    for member in range(6):
        perturbed = Perturbation(motion=0.5, field=0.0)(frames, member)
        np.testing.assert_array_equal(perturbed[:, -1], frames[:, -1])
        found = np.array(motion(mx.array(perturbed)))[:, 24:-24, 24:-24].mean(axis=(0, 1, 2))
        errors.append(found - still)
    assert 0.2 < np.std(errors) < 1.0
    expected = np.random.default_rng([0, 5, crc32(frames[0].tobytes())]).normal(size=2) * 0.5
    np.testing.assert_allclose(errors[5], expected, atol=0.15)


def test_values_are_perturbed_smoothly_with_the_deviation_that_is_asked_for(rng):
    inputs = np.full((40, 2, 24, 24, 1), 0.5, np.float32)
    inputs += rng.uniform(0, 1e-3, (40, 1, 1, 1, 1)).astype(np.float32)
    inputs[:, :, :4] = 0
    error = Perturbation(motion=0.0, field=0.1, length=3.0)(inputs, 0)[:, :, 4:] / inputs[:, :, 4:] - 1
    assert np.std(error) == pytest.approx(0.1, rel=0.1)
    np.testing.assert_allclose(error[:, 0], error[:, 1], atol=1e-6)
    steps = [np.corrcoef(error[:, 0, :, step:, 0].ravel(), error[:, 0, :, :-step, 0].ravel())[0, 1] for step in (1, 12)]
    assert steps[0] > 0.9
    assert abs(steps[1]) < 0.3
    strong = Perturbation(motion=0.0, field=5.0)(inputs, 0)
    assert strong.min() == 0
    assert strong.max() == 1
    assert not strong[:, :, :4].any()


def test_smoothed_noise_keeps_its_variance(rng):
    noise = rng.normal(size=(300, 16, 24))
    assert np.std([smoothed(field, 2.0) for field in noise]) == pytest.approx(1, rel=0.03)
    np.testing.assert_allclose(smoothed(noise[0], 0.0), noise[0], atol=1e-12)


def test_shifted_by_whole_and_by_parts_of_pixels(rng):
    frame = rng.uniform(size=(5, 6, 2))
    np.testing.assert_allclose(shifted(frame, np.array([1, -2]))[1:, :-2], frame[:-1, 2:])
    np.testing.assert_allclose(shifted(frame, np.array([1, -2]))[0, -2:], frame[[0, 0], -1])
    np.testing.assert_allclose(shifted(frame, np.array([0, 0.25]))[:, 1:], 0.75 * frame[:, 1:] + 0.25 * frame[:, :-1])
    np.testing.assert_array_equal(shifted(frame[:1], np.array([3.5, 0])), frame[:1])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"motion": -1.0}, "'motion' must be at least 0 but got -1.0"),
        ({"field": math.inf}, "'field' must be a finite number but got inf"),
        ({"length": "x"}, "'length' must be a finite number but got 'x'"),
        ({"seed": -1}, "'seed' must be a whole number of at least 0 but got -1"),
    ],
)
def test_wrong_perturbation(arguments, text):
    with pytest.raises(ValueError, match=re.escape(f"[Perturbation] {text}")):
        Perturbation(**arguments)


def test_too_few_members():
    with pytest.raises(
        ValueError, match=re.escape("[Ensemble] an ensemble must have at least 2 members but got 1 model ")
    ):
        Ensemble([Persistence()])
    with pytest.raises(ValueError, match="'perturbed' must be a whole number of at least 1 but got 0"):
        Ensemble([Persistence(), Persistence()], perturbed=0)
    with pytest.raises(ValueError, match=re.escape("[EnsembleForecaster] an ensemble must have at least 2 members")):
        EnsembleForecaster([Forecaster(Persistence())])


@pytest.fixture
def rain(rng):
    """Five frames in mm/h with a dry strip and a pixel that none of them has."""
    rain = rng.uniform(0.2, 20, (5, 16, 20)).astype(np.float32)
    rain[:, :3] = 0
    rain[:, 5, 6] = np.nan
    return rain


def test_forecaster_gives_mean_spread_and_probabilities(rain):
    forecasters = [Forecaster(Fade(weight, 0.0), LogRain(), horizon=3) for weight in (1.0, 0.8, 0.5)]
    ensemble = EnsembleForecaster(forecasters, thresholds=[2.0, 0.5])
    mean = ensemble(rain)
    members = np.stack([forecaster(rain) for forecaster in forecasters])
    np.testing.assert_array_equal(np.stack(list(ensemble.members(rain))), members)
    assert (ensemble.size, mean.shape, mean.dtype) == (3, (3, 16, 20), np.float32)
    np.testing.assert_allclose(mean, members.mean(axis=0), rtol=1e-5)
    spread, high, low = ensemble.layers.values()
    assert list(ensemble.layers) == ["spread", "probability_at_least_2_mmh", "probability_at_least_0p5_mmh"]
    np.testing.assert_allclose(spread.values, members.std(axis=0, ddof=1), atol=1e-5)
    for layer, threshold in ((high, 2.0), (low, 0.5)):
        share = np.where(np.isnan(members[0]), np.nan, (members >= threshold).mean(axis=0))
        np.testing.assert_allclose(layer.values, share, atol=1e-6)
        assert np.isnan(layer.values[:, 5, 6]).all()
        assert layer.attributes == {"threshold": threshold, "threshold_units": "mm h-1"}
    assert (spread.units, high.units) == ("mm h-1", "1")
    assert ensemble.missing.never[0, 5, 6, 0]


def test_perturbed_forecaster(rain):
    """Whole frames are perturbed, before they are cut into tiles: tiles of a pixel's forecast make no difference."""
    perturbation = Perturbation(seed=2, field=0.3)
    whole, tiled = (
        EnsembleForecaster([Forecaster(Fade(0.9, 0.0), LogRain(), **options)], perturbed=4, perturbation=perturbation)
        for options in ({}, {"tile": 8, "overlap": 2})
    )
    np.testing.assert_allclose(tiled(rain, 2), whole(rain, 2), rtol=1e-4)
    known = ~np.isnan(rain[0])
    assert whole.layers["spread"].values[:, known][:, 60:].min() > 0.01
    assert (whole.layers["spread"].values[:, :2] < 1e-6).all()
    np.testing.assert_array_equal(whole(rain, 2), whole(rain, 2))
    told = whole.provenance()["ensemble"]
    assert told == {"members": 4, "checkpoints": [None], "perturbation": perturbation.describe()}
    default = EnsembleForecaster([Forecaster(Fade(0.9, 0.0), LogRain())], perturbed=4)
    assert np.nanmax(np.abs(default(rain, 2) - whole(rain, 2))) > 0.01


def test_what_an_ensemble_goes_through_before(rain):
    """`perturb` of a call comes before the members' own perturbation."""
    ensemble = EnsembleForecaster(
        [Forecaster(Persistence(), LogRain())], perturbed=2, perturbation=Perturbation(**STILL)
    )
    changed = ensemble(rain, 1, perturb=np.zeros_like)
    assert np.nanmax(changed) == 0


def test_layers_of_other_units_and_shapes(rain):
    frames = np.nan_to_num(rain / 20)
    ensemble = EnsembleForecaster([Forecaster(Fade(1.0)), Forecaster(Fade(0.1))])
    ensemble(frames, 1)
    assert list(ensemble.layers) == ["spread", "probability_at_least_0p5"]
    assert ensemble.layers["spread"].units == "1"
    single = ensemble.layers["spread"].values
    ensemble(frames[..., None], 1)
    np.testing.assert_array_equal(ensemble.layers["spread"].values, single)
    ensemble(np.repeat(frames[..., None], 3, axis=-1), 1)
    assert ensemble.layers == {}


def test_thresholds_are_those_of_the_data():
    record = {"data": RAIN | {"thresholds": [1, 5]}}
    forecaster = Forecaster(Persistence(), LogRain(), record=record)
    assert EnsembleForecaster([forecaster, forecaster]).thresholds == (1.0, 5.0)
    assert EnsembleForecaster([forecaster, forecaster], thresholds=[3]).thresholds == (3.0,)


def test_forecasters_that_do_not_fit_each_other():
    one, other = Forecaster(Persistence(), LogRain(), input_frames=3), Forecaster(Persistence(), LogRain())
    with pytest.raises(ValueError, match="'forecasters' must have the same 'input_frames' but got 3 and None"):
        EnsembleForecaster([one, other])


def test_pixels_and_steps_of_nearly_the_same_size_fit_each_other():
    def of(**data):
        return Forecaster(Persistence(), LogRain(), record={"data": {**RAIN, **data}})

    assert EnsembleForecaster([of(pixel_km=2.0), of(pixel_km=1.99935)]).pixel_km == 2.0
    with pytest.raises(ValueError, match=r"must have the same 'pixel_km' but got 2\.0 and 1\.0"):
        EnsembleForecaster([of(pixel_km=2.0), of(pixel_km=1.0)])
    with pytest.raises(ValueError, match=r"must have the same 'frame_interval' but got 5\.0 and 10\.0"):
        EnsembleForecaster([of(frame_interval=5.0), of(frame_interval=10.0)])
    with pytest.raises(ValueError, match=r"must have the same 'pixel_km' but got 2\.0 and None"):
        EnsembleForecaster([of(pixel_km=2.0), of(pixel_km=None)])


def keep(run, step, *, name="best", ema=None):
    """Another checkpoint of a run, of another step."""
    model = Persistence() if ema is None else Fade()
    config = {"model": {"_target_": "convlstm.architectures.baselines.Persistence"}, "data": {}}
    place = run / "checkpoints" / name
    checkpoints.save(place, model, optim.SGD(0.1), {"step": step}, config, ema=ema, keep=2)
    return place


def test_weights_of_checkpoints_named_and_found(tmp_path):
    run = write_run(tmp_path / "run")
    keep(run, 8)
    best = run / "checkpoints" / "best"
    other = write_run(tmp_path / "other")
    assert weights_of([best, other]) == [Weights(best), Weights(other / "checkpoints" / "best")]
    with pytest.raises(ValueError, match=f"'paths' must name different checkpoints but '{run}' and '{best}' are the same"):
        weights_of([run, best])
    keep(run, 8, name="last")
    keep(run, 9, name="last")
    last, before = run / "checkpoints" / "last", run / "checkpoints" / "best.previous"
    # The one before the last is the best one.
    assert weights_of([run], previous=True) == [Weights(best), Weights(before), Weights(last)]
    assert weights_of([last], previous=True) == [Weights(last), Weights(run / "checkpoints" / "last.previous")]


def test_damaged_checkpoints_are_no_members(tmp_path):
    run = write_run(tmp_path / "run")
    best = keep(run, 8)
    (run / "checkpoints" / "best.previous" / "state.json").write_text("{}")
    with pytest.warns(UserWarning, match=re.escape("best.previous' is no member")):
        assert weights_of([run], previous=True) == [Weights(best)]
    with pytest.raises(CheckpointError, match="does not exist"):
        weights_of([tmp_path / "none"])


def test_plain_weights_beside_averaged_ones(tmp_path):
    run = write_run(tmp_path / "run")
    best = keep(run, 8, ema={"weight": mx.array([1.0]), "bias": mx.array([0.0])})
    assert weights_of([run], plain=True) == [Weights(best), Weights(best, ema=False)]
    shutil.rmtree(best)
    with pytest.raises(ValueError, match=re.escape("'plain' must be False if no checkpoint has averaged weights")):
        weights_of([run / "checkpoints" / "best.previous"], plain=True)


def test_evaluation_of_an_ensemble_of_frames(rng):
    """In [0, 1], with one event, 0.5 and more; the mean is scored as any other forecast, missing pixels are not."""
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
    said = table(result)
    assert "Ensemble of 2 members, all lead times together" in said
    assert f"{scores['crps_intensity']['overall']:.4f}" in said
