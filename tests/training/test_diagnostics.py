"""Diagnostics: steps that are not finite are skipped, counted and reproduced; how far a step moves the weights."""

import math
import signal

from convlstm.checkpoints import read_state
from convlstm.training import diagnostics
from convlstm.training.diagnostics import NonFiniteLossError
from convlstm.training.step import make_step, to_device
from tests.support.short_runs import MSE, Frames, at_step, column, fit, last, rows, strip
from tests.support.tiny import Fade

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
    stopping = frames(disturb=at_step(stop + 1, lambda: signal.raise_signal(signal.SIGTERM)))
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
