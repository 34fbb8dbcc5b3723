"""The training step: by hand, clipped, masked and seeded."""

from __future__ import annotations

from convlstm.training.step import clipped, make_step, to_device
from tests.support.reference import normal
from tests.support.short_runs import MSE, Frames, column, fit, rows, weights
from tests.support.tiny import Fade

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest
from mlx.utils import tree_flatten


def test_the_first_step_by_hand(tmp_path):
    data = Frames()
    batch = data.batch("train", 0, 2)
    x, y = batch["inputs"][:, -1:].astype(np.float64), batch["targets"].astype(np.float64)
    error = 0.5 * x + 0.1 - y
    gradient = np.array([(2 * error * x).mean(), (2 * error).mean()])

    model, progress = fit(tmp_path, data, optimizer=optim.SGD(0.1), max_steps=1)
    (row,) = rows(tmp_path)
    assert float(row["train_loss"]) == pytest.approx((error**2).mean(), rel=1e-5)
    assert float(row["gradient_norm"]) == pytest.approx(np.linalg.norm(gradient), rel=1e-5)
    assert float(row["learning_rate"]) == pytest.approx(0.1)
    assert model.weight.item() == pytest.approx(0.5 - 0.1 * gradient[0], rel=1e-5)
    assert model.bias.item() == pytest.approx(0.1 - 0.1 * gradient[1], rel=1e-5)
    assert (progress.step, progress.status) == (1, "finished")


@pytest.mark.parametrize("share", [0.25, 4])
def test_max_grad_norm_scales_a_larger_gradient_down_and_leaves_a_smaller_one(share):
    batch, key = to_device(Frames().batch("train", 0, 2)), mx.random.key(0)

    def moved(max_grad_norm):
        model, optimizer = Fade(), optim.SGD(1.0)
        optimizer.init(model.trainable_parameters())
        _, norm = make_step(model, optimizer, MSE, max_grad_norm)(batch, key)
        return norm.item(), np.array([0.5 - model.weight.item(), 0.1 - model.bias.item()])

    norm, free = moved(None)
    assert norm == pytest.approx(np.linalg.norm(free), rel=1e-5)
    told, held = moved(share * norm)
    assert told == pytest.approx(norm), "the norm is that before clipping"
    np.testing.assert_allclose(held, free * min(share, 1), rtol=1e-4)


@pytest.mark.parametrize("largest", [0.5, 1e9, None])
def test_gradients_are_clipped_as_mlx_clips_them(largest, rng):
    gradients = {"a": normal(rng, (70, 90)), "b": [normal(rng, (3,)), normal(rng, ())]}
    ours, norm = clipped(gradients, largest)
    theirs, expected = optim.clip_grad_norm(gradients, np.inf if largest is None else largest)
    assert norm.item() == pytest.approx(expected.item(), rel=1e-6)
    for (_, actual), (_, reference) in zip(tree_flatten(ours), tree_flatten(theirs), strict=True):
        np.testing.assert_allclose(actual, reference, rtol=1e-6)


def test_bytes_and_floats_train_alike(tmp_path):
    for dtype in ("uint8", "float32"):
        fit(tmp_path / dtype, Frames(dtype=dtype))
    losses = [np.array(column(tmp_path / dtype, "train_loss"), float) for dtype in ("uint8", "float32")]
    assert len(losses[0]) == 12
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_a_mask_leaves_targets_out_of_the_loss():
    batch = Frames().batch("train", 0, 2)
    batch["mask"] = np.zeros(batch["targets"].shape, bool)
    batch["mask"][:, 0] = True
    cut = {"inputs": batch["inputs"], "targets": batch["targets"][:, :1]}

    def loss_of(batch):
        model, optimizer = Fade(), optim.SGD(1.0)
        optimizer.init(model.trainable_parameters())
        value, _ = make_step(model, optimizer, MSE)(to_device(batch), mx.random.key(0))
        return value.item(), weights(model)

    masked, alone = loss_of(batch), loss_of(cut)
    assert masked[0] == pytest.approx(alone[0], rel=1e-6)
    assert masked[1]["bias"] == pytest.approx(alone[1]["bias"], rel=1e-5)


def test_the_seed_decides_the_dropout_masks_and_the_data(tmp_path):
    runs = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        model, _ = fit(tmp_path / name, model=Fade(dropout=0.5), seed=seed)
        runs[name] = (weights(model), column(tmp_path / name, "train_loss"))
    assert runs["a"] == runs["b"]
    assert runs["a"] != runs["c"]
    assert runs["a"][1] != column_of_a_run_without_dropout(tmp_path / "d")


def column_of_a_run_without_dropout(folder):
    fit(folder)
    return column(folder, "train_loss")
