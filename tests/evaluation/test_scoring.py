"""Forecasters scored side by side."""

from convlstm.architectures.input_frames import as_unit
from convlstm.evaluation.scoring import evaluate
from convlstm.metrics import FrameMetrics
from tests.support.sequences import BASELINES, batched, halves, persistence, sequences, zeros

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest


def test_as_unit_scales_bytes_and_keeps_floats():
    frames = np.array([[0, 51, 255]], np.uint8)
    for x in (frames, mx.array(frames)):
        assert as_unit(x).dtype == mx.float32
        np.testing.assert_allclose(np.array(as_unit(x)), [[0, 0.2, 1]], rtol=1e-6)
    for x in (np.array([0.5, 7.0]), mx.array([0.5, 7.0], mx.bfloat16)):
        assert as_unit(x).dtype == mx.float32
        assert as_unit(x).tolist() == [0.5, 7.0]
    with pytest.raises(TypeError, match=r"must hold uint8 or floats but got mlx\.core\.int32"):
        as_unit(np.zeros(3, np.int32))


def test_baselines():
    inputs, _ = sequences(n=2)
    forecast = np.array(persistence(mx.array(inputs), 5))
    assert forecast.shape == (2, 5, 8, 9, 1)
    for t in range(5):
        np.testing.assert_array_equal(forecast[:, t], inputs[:, -1])
    assert zeros(mx.array(inputs), 5).shape == (2, 5, 8, 9, 1)
    assert not zeros(mx.array(inputs), 5).any()


@pytest.mark.parametrize("size", [6, 4, 1])
def test_scores_equal_those_of_the_metrics_for_any_batches(size):
    inputs, targets = sequences()
    result = evaluate(BASELINES, batched(inputs, targets, size))
    assert (result.sequences, result.horizon) == (6, 4)
    for name, forecaster in BASELINES.items():
        metrics = FrameMetrics()
        metrics.update(np.array(forecaster(mx.array(inputs), 4)), targets)
        for metric, score in metrics.compute().items():
            assert result.scores[name][metric]["overall"] == pytest.approx(score["overall"])
            assert result.scores[name][metric]["per_lead"] == pytest.approx(score["per_lead"])
        assert result.speed[name] > 0
        assert result.coverage[name] == 1


def test_every_batch_is_asked_for_once():
    inputs, targets = sequences()
    batches = iter(batched(inputs, targets, 2))
    assert evaluate(BASELINES, batches).sequences == 6
    assert next(batches, None) is None


def test_bytes_score_like_the_floats_they_stand_for():
    rng = np.random.default_rng(0)
    inputs, targets = (rng.integers(0, 256, (2, t, 8, 8, 1), dtype=np.uint8) for t in (3, 4))
    as_bytes = evaluate(BASELINES, batched(inputs, targets, 2))
    as_floats = evaluate(BASELINES, batched(inputs / np.float32(255), targets / np.float32(255), 2))
    for name in BASELINES:
        expected = as_floats.scores[name]["mse_per_frame"]["overall"]
        assert as_bytes.scores[name]["mse_per_frame"]["overall"] == pytest.approx(expected, rel=1e-5)


def test_mask_reaches_the_scores_and_the_examples():
    inputs, targets = sequences()
    mask = np.random.default_rng(1).random(targets.shape) < 0.8
    result = evaluate({"zeros": zeros}, batched(inputs, targets, 4, mask=mask), keep=1)
    assert result.coverage["zeros"] == pytest.approx(mask.mean())
    assert result.scores["zeros"]["mse_per_pixel"]["overall"] == pytest.approx((targets[mask] ** 2).mean(), rel=1e-5)
    np.testing.assert_array_equal(np.isnan(result.examples[0].targets), ~mask[0])


@pytest.mark.parametrize(("keep", "indices"), [(0, []), (3, [0, 1, 2]), ([5, 2], [2, 5]), (99, list(range(6)))])
def test_examples_are_kept(keep, indices):
    inputs, targets = sequences()
    result = evaluate({"halves": halves, "zeros": zeros}, batched(inputs, targets, 4), keep=keep)
    assert [example.index for example in result.examples] == indices
    for example in result.examples:
        np.testing.assert_array_equal(example.inputs, inputs[example.index])
        np.testing.assert_array_equal(example.targets, targets[example.index])
        assert list(example.forecasts) == ["halves", "zeros"]
        np.testing.assert_array_equal(example.forecasts["halves"][-1], inputs[example.index, -1] * 0.5)


def test_ssim_can_be_left_out():
    inputs, targets = sequences()
    assert "ssim" not in evaluate(BASELINES, batched(inputs, targets, 4), ssim=False).scores["zeros"]
    assert "ssim" in evaluate(BASELINES, batched(inputs, targets, 4)).scores["zeros"]


class Dropper(nn.Module):
    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def __call__(self, inputs, horizon):
        return self.dropout(persistence(inputs, horizon))


@pytest.mark.parametrize("training", [True, False])
def test_module_is_in_evaluation_mode_and_comes_back(training):
    inputs, targets = sequences()
    model = Dropper()
    model.train(training)
    result = evaluate({"model": model, "persistence": persistence}, batched(inputs, targets, 4))
    assert result.scores["model"] == result.scores["persistence"]
    assert model.training is model.dropout.training is training


def test_half_precision_forecasts_are_scored():
    inputs, targets = sequences()
    half = evaluate({"half": lambda x, t: persistence(x, t).astype(mx.bfloat16)}, batched(inputs, targets, 4))
    full = evaluate({"full": persistence}, batched(inputs, targets, 4))
    assert half.scores["half"]["psnr"]["overall"] == pytest.approx(full.scores["full"]["psnr"]["overall"], rel=1e-2)


def test_errors():
    inputs, targets = sequences()
    with pytest.raises(ValueError, match="at least one forecaster"):
        evaluate({}, batched(inputs, targets, 4))
    with pytest.raises(ValueError, match="held no sequence"):
        evaluate(BASELINES, [])
    with pytest.raises(ValueError, match=r"forecast of 'short' must .* \(4, 4, 8, 9, 1\), but got \(4, 3, 8, 9, 1\)"):
        evaluate({"short": lambda x, t: persistence(x, t - 1)}, batched(inputs, targets, 4))


def test_progress_goes_to_the_terminal_only(capsys, monkeypatch):
    inputs, targets = sequences()
    evaluate(BASELINES, batched(inputs, targets, 4), progress="testing", total=6)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    evaluate(BASELINES, batched(inputs, targets, 4), progress="testing", total=6)
    shown = capsys.readouterr().err
    assert "testing" in shown
    assert "6/6" in shown
    assert "seq/s" in shown
    evaluate(BASELINES, batched(inputs, targets, 4))
    assert capsys.readouterr().err == ""


def test_skill():
    inputs, targets = sequences()
    result = evaluate({**BASELINES, "halves": halves}, batched(inputs, targets, 4))
    mse = {name: scores["mse_per_pixel"]["overall"] for name, scores in result.scores.items()}
    assert result.skill("halves", "persistence") == pytest.approx(1 - mse["halves"] / mse["persistence"])
    assert result.skill("zeros", "zeros") == 0
    assert result.skill("halves", "unknown") is None
    calm = evaluate(BASELINES, batched(inputs, np.zeros_like(targets), 4))
    assert calm.skill("persistence", "zeros") is None
