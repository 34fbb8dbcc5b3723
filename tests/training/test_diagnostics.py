"""Diagnostics: steps that are not finite are skipped, counted and reproduced; how far a step moves the weights."""

import json
import math
import signal
import subprocess
import sys

from convlstm.checkpoints import read_state
from convlstm.losses import Balanced, BinaryCrossEntropy, MeanAbsoluteError, WeightedSum
from convlstm.models import EncoderForecaster
from convlstm.training import diagnostics
from convlstm.training.diagnostics import NonFiniteLossError
from convlstm.training.loop import Trainer
from convlstm.training.step import make_step, to_device
from tests.support.short_runs import MSE, Frames, at_step, column, fit, last, rows, strip, weights
from tests.support.tiny import PROJECT, Fade, environment

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest
from mlx.utils import tree_flatten


def bits(tree):
    return {name: np.array(array).tobytes() for name, array in tree_flatten(tree)}


def kinked(forecast, target, mask=None):
    """Returns a finite loss whose gradient is not finite if the forecast is negative."""
    return MSE(forecast, target) + mx.sqrt(mx.maximum(forecast, 0)).mean()


def poisoned(batch, value):
    return batch | {"targets": batch["targets"] + np.float32(value)}


# The step

OPTIMIZERS = {
    "adam, schedule": lambda learning_rate: optim.Adam(lambda step: learning_rate / (step + 1)),
    "momentum": lambda learning_rate: optim.SGD(learning_rate, momentum=0.9),
    "rmsprop": optim.RMSprop,
}


@pytest.mark.parametrize(
    ("optimizer", "parts"), [*((o, 1) for o in OPTIMIZERS.values()), (optim.Adam, 2)], ids=[*OPTIMIZERS, "adam, parts"]
)
def test_a_step_that_is_not_finite_leaves_every_bit_as_it_was(optimizer, parts):
    batch = Frames().batch("train", 0, 2)

    def run(disturbed):
        mx.random.seed(0)
        model, descent = Fade(dropout=0.2), optimizer(learning_rate=0.1)
        descent.init(model.trainable_parameters())
        step, results = make_step(model, descent, MSE, 1.0, parts=parts), []
        for n in range(4):
            if disturbed and n == 2:
                for value in (np.inf, np.nan):
                    before = bits([model.parameters(), descent.state])
                    loss, norm = step(to_device(poisoned(batch, value)), mx.random.key(9))
                    assert not math.isfinite(loss.item())
                    assert bits([model.parameters(), descent.state]) == before
            results.append(step(to_device(batch), mx.random.key(n))[0].item())
        return results, bits([model.parameters(), descent.state])

    assert run(disturbed=True) == run(disturbed=False)


def test_a_gradient_that_is_not_finite_is_enough():
    model, optimizer = Fade(-1.0, -0.1), optim.Adam(0.1)
    optimizer.init(model.trainable_parameters())
    before = bits([model.parameters(), optimizer.state])
    value, norm = make_step(model, optimizer, kinked)(to_device(Frames().batch("train", 0, 2)), mx.random.key(0))
    assert math.isfinite(value.item())
    assert not math.isfinite(norm.item())
    assert bits([model.parameters(), optimizer.state]) == before


def test_statistics_of_a_model_do_not_see_a_skipped_step():
    class Watching(Fade):
        def __init__(self):
            super().__init__()
            self.seen = [mx.zeros(1), {"most": mx.zeros(1)}]
            self.freeze(keys="seen")

        def __call__(self, inputs, horizon, *, key=None):
            self.seen[0] = self.seen[0] + 1
            self.seen[1]["most"] = mx.maximum(self.seen[1]["most"], mx.stop_gradient(inputs).max())
            return super().__call__(inputs, horizon)

    model, optimizer = Watching(), optim.SGD(0.1)
    optimizer.init(model.trainable_parameters())
    step, batch = make_step(model, optimizer, MSE), Frames().batch("train", 0, 2)
    step(to_device(batch), mx.random.key(0))
    before = bits(model.parameters())
    step(to_device(poisoned(batch, np.inf)), mx.random.key(0))
    assert bits(model.parameters()) == before
    step(to_device(batch), mx.random.key(0))
    assert model.seen[0].item() == 2


# How far a step moves the weights


def test_update_ratio_by_hand():
    before = {"a": mx.array([3.0, 0.0]), "b": mx.array([[4.0]])}
    after = {"a": mx.array([3.0, 0.3]), "b": mx.array([[4.4]])}
    assert diagnostics.update_ratio(before, after) == pytest.approx(0.5 / 5)
    assert diagnostics.update_ratio(before, before) == 0
    assert math.isnan(diagnostics.update_ratio({"a": mx.zeros(2)}, {"a": mx.zeros(2)}))


def test_rows_have_the_diagnostics_of_their_step(tmp_path):
    starts = [fit(tmp_path / str(n), max_steps=n, validate_every=100)[0] for n in (3, 4)]
    fit(tmp_path / "run", max_steps=4, log_every=2, validate_every=3)
    old, new = (np.array([model.weight.item(), model.bias.item()]) for model in starts)
    row = rows(tmp_path / "run")[-1]
    assert float(row["update_ratio"]) == pytest.approx(np.linalg.norm(new - old) / np.linalg.norm(old), rel=1e-4)
    assert 0 < float(row["peak_memory_mb"]) <= mx.get_peak_memory() / 1e6
    assert row["skipped"] == "0"
    assert [row["update_ratio"] != "" for row in rows(tmp_path / "run")] == [True, False, True], "validation at step 3"


# In training


def test_a_skipped_step_is_printed_and_counted(tmp_path, capsys):
    _, progress = fit(tmp_path, Frames(poisoned=[3, 4, 7]), log_every=2, validate_every=100)
    assert (progress.step, progress.skipped, progress.skipped_in_a_row) == (12, 3, 0)
    assert column(tmp_path, "skipped") == ["0", "2", "2", "3", "3", "3"]
    second = rows(tmp_path)[1]
    assert second["train_loss"] == second["gradient_norm"] == second["update_ratio"] == "", "both were skipped"
    out = capsys.readouterr().out
    assert "step 4 skipped: the loss became inf (2 in a row, 2 in all; weights and optimizer stay as they" in out
    assert "step 7 skipped: the loss became inf (1 in a row, 3 in all" in out

    state = mx.load(str(last(tmp_path) / "optimizer.safetensors"))
    assert state["step"].item() == 9
    assert read_state(last(tmp_path))["step"] == 12


def test_the_mean_loss_leaves_out_skipped_steps(tmp_path):
    fit(tmp_path / "each", Frames(poisoned=[2]), max_steps=3)
    fit(tmp_path / "mean", Frames(poisoned=[2]), max_steps=3, log_every=3)
    losses = np.array(column(tmp_path / "each", "train_loss"), float)
    assert len(losses) == 2
    (mean,) = column(tmp_path / "mean", "train_loss")
    assert float(mean) == pytest.approx(losses.mean(), rel=1e-12)


def test_skipped_steps_leave_the_average_alone(tmp_path):
    _, progress = fit(tmp_path, Frames(poisoned=[2, 3]), max_steps=4, ema=0.9)
    assert progress.averaged == 2


@pytest.mark.parametrize("stop", [2, 3, 4, 6])
def test_a_run_with_skipped_steps_resumes_exactly(stop, tmp_path):
    settings = {"max_steps": 8, "ema": 0.9, "accumulate": 2, "log_every": 3, "max_skipped": 2}

    def frames(**more):
        return Frames(poisoned=[3, 4, 7], **more)

    fit(tmp_path / "whole", frames(), **settings)
    stopping = frames(disturb=at_step(stop, lambda: signal.raise_signal(signal.SIGTERM)))
    _, progress = fit(tmp_path / "cut", stopping, **settings)
    assert progress.step == stop
    assert progress.skipped_in_a_row == {2: 0, 3: 1, 4: 2, 6: 0}[stop]
    fit(tmp_path / "cut", frames(), resume=last(tmp_path / "cut"), **settings)
    assert strip(tmp_path / "cut") == strip(tmp_path / "whole")
    for name in ("model", "optimizer", "ema"):
        one, other = ((last(tmp_path / run) / f"{name}.safetensors").read_bytes() for run in ("whole", "cut"))
        assert one == other


def test_too_many_skipped_steps_in_a_row_end_training_also_across_a_resume(tmp_path):
    bad = [5, 6, 7, 8]
    _, progress = fit(tmp_path / "a", Frames(poisoned=bad), max_skipped=4)
    assert progress.status == "finished"
    with pytest.raises(
        NonFiniteLossError, match=r"the loss became inf at step 8, .* after 3 steps in a row were skipped"
    ):
        fit(tmp_path / "b", Frames(poisoned=bad), max_skipped=3, validate_every=100)
    fit(tmp_path / "c", Frames(poisoned=bad), max_steps=6, max_skipped=3)
    with pytest.raises(NonFiniteLossError, match=r"at step 8, .* after 3 steps"):
        fit(tmp_path / "c", Frames(poisoned=bad), max_skipped=3, resume=last(tmp_path / "c"))


# Computed again


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
    assert diagnostics.description(kinked) is None
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
