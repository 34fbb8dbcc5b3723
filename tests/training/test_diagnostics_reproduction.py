"""A step whose loss or gradient is not finite is reported, and computed again from its report."""

from __future__ import annotations

import json
import math
import subprocess
import sys

from convlstm.checkpoints import read_state
from convlstm.losses import Balanced, BinaryCrossEntropy, MeanAbsoluteError, WeightedSum
from convlstm.models import EncoderForecaster
from convlstm.training import diagnostics
from convlstm.training.diagnostics import NonFiniteLossError
from convlstm.training.loop import Trainer
from tests.support.short_runs import MSE, Frames, fit, weights
from tests.support.tiny import PROJECT, Fade, environment

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest


def noisy():
    mx.random.seed(3)
    return EncoderForecaster(hidden_channels=[4], kernel_size=3, patch_size=2, dropout=0.3)


SETTINGS = {"whole": {}, "parts": {"accumulate": 2}, "bfloat16": {"precision": "bfloat16"}}


@pytest.mark.filterwarnings("ignore:bfloat16 is slower")
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_the_step_that_ended_training_is_reproduced_to_the_bit(settings, tmp_path):
    def breaks(forecast, target, mask=None):
        # Finite, but for the gradient of what the weights have come to after a few steps.
        return MSE(forecast, target) + mx.sqrt(mx.maximum(0.3 - forecast, 0) * (target.mean() > 0)).mean() * 0

    loss = breaks if not settings else MSE
    data = Frames(size=8, poisoned=[] if not settings else [4])
    with pytest.raises(NonFiniteLossError) as error:
        fit(tmp_path, data, noisy(), loss=loss, validate_every=100, max_skipped=0, **settings)
    folder = next((tmp_path / "non_finite").iterdir())
    report = json.loads((folder / "report.json").read_text())
    assert str(error.value).endswith(f"Compute that step again:  python -m convlstm.training.diagnostics {folder}")
    value, norm = diagnostics.reproduce(folder, model=noisy(), loss=loss)
    assert not (math.isfinite(value) and math.isfinite(norm))
    np.testing.assert_array_equal([value, norm], [report["loss"], report["gradient_norm"]])
    assert math.isfinite(value) == (not settings)


def test_the_report_names_the_step_and_its_batch(tmp_path):
    class Telling(Frames):
        def indices(self, split, batch_size, number, *, seed, epoch):
            return [100 * epoch + 2 * number, seed]

    data = Telling(poisoned=[9, 10])
    with pytest.raises(NonFiniteLossError):
        fit(tmp_path, data, rate=lambda step: 0.05 / (step + 1), seed=5, max_skipped=1, validate_every=100)
    folder = tmp_path / "non_finite" / "step_10"
    report = json.loads((folder / "report.json").read_text())
    assert {name: report[name] for name in ("step", "epoch", "batch", "sequences", "seed", "parts", "precision")} == {
        "step": 10,
        "epoch": 1,
        "batch": 2,
        "sequences": [104, 5],
        "seed": 5,
        "parts": 1,
        "precision": "float32",
    }
    assert report["learning_rate"] == pytest.approx(0.05 / 8)
    assert report["minimised"] == {"_target_": "convlstm.losses.MeanSquaredError"}
    assert report["truth_share"] is None
    kept = np.load(folder / "batch.npz")
    np.testing.assert_array_equal(kept["inputs"], data.batch("train", 2, 2, seed=5, epoch=1)["inputs"])
    state = read_state(folder / "checkpoint")
    assert (state["step"], state["skipped"], state["skipped_in_a_row"]) == (9, 1, 1)


def test_the_printed_command_computes_the_step_again(tmp_path):
    """The configuration describes the model and the loss."""
    model = EncoderForecaster(hidden_channels=[2], kernel_size=3)
    config = {"model": {"_target_": "convlstm.models.EncoderForecaster", "hidden_channels": [2], "kernel_size": 3}}
    loss = Balanced([0.5], [1.0, 2.0])
    with pytest.raises(NonFiniteLossError) as error:
        Trainer(9, 2, max_skipped=0, validate_every=100).fit(
            model, optim.Adam(0.01), loss, Frames(poisoned=[2]), tmp_path, config
        )
    words = str(error.value).rpartition("python ")[2].split()
    done = subprocess.run(
        [sys.executable, *words], cwd=PROJECT, env=environment(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == ("loss inf, norm of the gradient nan\n", "")


def test_the_command_explains_a_wrong_argument(tmp_path):
    with pytest.raises(
        SystemExit, match=r"usage: python -m convlstm\.training\.diagnostics runs/NAME/non_finite/step_N"
    ):
        diagnostics.main([])
    with pytest.raises(SystemExit, match="'folder' must be the non_finite/step_N of a run"):
        diagnostics.main([str(tmp_path)])


def test_a_run_resumes_from_the_checkpoint_of_a_failed_step(tmp_path):
    settings = {"validate_every": 100, "max_skipped": 1}
    with pytest.raises(NonFiniteLossError):
        fit(tmp_path / "run", Frames(poisoned=[4, 5]), checkpoint_every=100, **settings)
    whole, _ = fit(tmp_path / "whole", Frames(poisoned=[4]), **settings)
    kept = tmp_path / "run" / "non_finite" / "step_5" / "checkpoint"
    model, _ = fit(tmp_path / "on", Frames(), resume=kept, **settings)
    assert weights(model) == weights(whole)


def test_a_step_with_scheduled_sampling_is_reproduced_with_its_share(tmp_path):
    class Fed(Fade):
        def training_loss(self, loss, inputs, targets, mask, key, *, truth_share=None):
            value = loss(self(inputs, targets.shape[1]), targets, mask)
            bad = mx.where(truth_share[0] < 0.45, mx.array(math.inf), mx.array(0.0))
            return value + bad, value + bad

    with pytest.raises(NonFiniteLossError, match="the loss became inf at step 7"):
        fit(tmp_path, model=Fed(), sampling=lambda step: (1 - 0.1 * step).reshape(1), max_skipped=0)
    folder = tmp_path / "non_finite" / "step_7"
    assert json.loads((folder / "report.json").read_text())["truth_share"] == pytest.approx([0.4])
    assert diagnostics.reproduce(folder, model=Fed())[0] == math.inf


@pytest.mark.parametrize(
    "loss",
    [
        MSE,
        BinaryCrossEntropy(1e-3),
        Balanced([0.2, 0.5], [1, 2, 5], absolute=0.5),
        WeightedSum([MSE, MeanAbsoluteError()], [1, 0.5]),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_a_loss_is_built_from_its_description(loss):
    described = json.loads(json.dumps(diagnostics.description(loss)))
    again = diagnostics.build(described)
    batch = Frames().batch("train", 0, 2)
    forecast = mx.array(batch["targets"]) * 0.8 + 0.1
    assert again(forecast, mx.array(batch["targets"])).item() == loss(forecast, mx.array(batch["targets"])).item()


def test_values_without_a_description():
    assert diagnostics.description(lambda forecast, target, mask=None: MSE(forecast, target)) is None
    assert diagnostics.description(math) is None


@pytest.fixture
def kept(tmp_path):
    with pytest.raises(NonFiniteLossError):
        fit(tmp_path, Frames(poisoned=[1]), max_skipped=0)
    return tmp_path / "non_finite" / "step_1"


def test_steps_that_cannot_be_reproduced(kept, tmp_path):
    with pytest.raises(
        ValueError, match=r"\[reproduce\] 'folder' must be the non_finite/step_N of a run but '.*step_2"
    ):
        diagnostics.reproduce(kept.with_name("step_2"))
    with pytest.raises(ValueError, match="outside the trusted packages"):
        diagnostics.reproduce(kept)
    assert diagnostics.reproduce(kept, trusted=["tests"])[0] == math.inf
    report = kept / "report.json"
    report.write_text(json.dumps(json.loads(report.read_text()) | {"minimised": None}))
    with pytest.raises(
        ValueError, match=r"\[reproduce\] 'loss' must be given, since the one that was minimised cannot"
    ):
        diagnostics.reproduce(kept, model=Fade())


def test_an_untrusted_loss_is_not_built(kept):
    report = kept / "report.json"
    for target in ("os.system", "convlstm.runs.metrics_log.MetricsLog", "tests.support.tiny.Data"):
        report.write_text(json.dumps(json.loads(report.read_text()) | {"minimised": {"_target_": target}}))
        with pytest.raises(ValueError, match="trusted packages"):
            diagnostics.reproduce(kept, model=Fade())


def test_a_full_disk_does_not_hide_why_training_ended(tmp_path, monkeypatch):
    def full(*arguments, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(
        NonFiniteLossError, match=r"the loss became inf at step 1.*\n.*were not written: .*No space left"
    ):
        fit(tmp_path, Frames(poisoned=[1]), max_skipped=0)
