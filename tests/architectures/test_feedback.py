"""Forecasters that read their own predictions: true frames fed instead, and the training loss."""

from __future__ import annotations

import re

from convlstm.architectures.convlstm_stack import ConvLSTMStack
from convlstm.architectures.input_frames import depth_to_space, space_to_depth
from convlstm.losses import MeanSquaredError
from tests.support.reference import close, normal
from tests.support.stack import FORMS, SMALL, forms, slow, small

import mlx.core as mx
import numpy as np
import pytest

MSE = MeanSquaredError()


@forms
def test_a_mask_of_ones_is_a_walk_over_the_true_frames(form, rng):
    model = small(rng, 2, **FORMS[form])
    x = normal(rng, (2, 6, 4, 6, 2))
    frames = model.unroll_frames(x[:, :3], 4, truth=x[:, 3:], mask=mx.ones((2, 3)))
    hidden = space_to_depth(x, 2)
    for layer in model.layers:
        hidden, _ = layer(hidden)
    close(frames, depth_to_space(hidden @ model.output.weight[:, 0, 0].T, 2), 2e-6)
    close(frames, model.unroll_frames(x, 1), 2e-6)


def test_a_mask_of_zeros_is_a_free_walk(rng):
    model, x = small(rng), normal(rng, (2, 3, 4, 6, 1))
    nowhere = model.unroll_frames(x, 4, truth=mx.full((2, 3, 4, 6, 1), mx.nan), mask=mx.zeros((2, 3)))
    assert mx.array_equal(nowhere, model.unroll_frames(x, 4))
    forced = model.unroll_frames(x, 4, truth=normal(rng, (2, 3, 4, 6, 1)), mask=mx.ones((2, 3)))
    assert mx.array_equal(forced[:, :3], nowhere[:, :3]), "the first frame after the inputs needs none of them"
    assert mx.abs(forced[:, 3:] - nowhere[:, 3:]).max(axis=(0, 2, 3, 4)).min().item() > 1e-3


def test_the_mask_says_which_sequence_and_step_is_fed(rng):
    model, x, truth = small(rng), normal(rng, (3, 2, 4, 6, 1)), normal(rng, (3, 4, 4, 6, 1))
    mask = mx.array([[1, 0, 0], [0, 2, 0], [0, 1, 1]])
    frames = model.unroll_frames(x, 4, truth=truth, mask=mask)
    for n, steps in enumerate(([0], [1], [1, 2])):
        # Step 2 is the first after the two inputs; the true frame for it is the first of the truth.
        fed = {2 + t: np.array(truth[n : n + 1, t], dtype=np.float64) for t in steps}
        close(frames[n : n + 1], slow(model, x[n : n + 1], 4, fed), 1e-5)
    assert mx.array_equal(frames, model.unroll_frames(x, 4, truth=truth, mask=mask == mx.array([1, 2, 1])[:, None]))


def test_truth_may_be_longer_than_the_mask(rng):
    model, x, truth = small(rng), normal(rng, (1, 2, 4, 6, 1)), normal(rng, (1, 5, 4, 6, 1))
    long = model.unroll_frames(x, 3, truth=truth, mask=mx.ones((1, 2)))
    assert mx.array_equal(long, model.unroll_frames(x, 3, truth=truth[:, :2], mask=mx.ones((1, 2))))
    assert model.unroll_frames(x, 1, truth=truth[:, :0], mask=mx.ones((1, 0))).shape == (1, 2, 4, 6, 1)


@pytest.mark.parametrize("mask_dtype", [None, mx.bool_, mx.float32])
def test_training_loss_by_hand(mask_dtype, rng):
    model = small(rng)
    x, y = normal(rng, (2, 4, 4, 6, 1)), normal(rng, (2, 3, 4, 6, 1))
    valid = np.array(y) > -0.3
    if mask_dtype is None:
        valid[:] = True
    mask = None if mask_dtype is None else mx.array(valid).astype(mask_dtype)
    target = y if mask is None else mx.where(mx.array(valid), y, mx.nan)
    total, share = model.training_loss(MSE, x, target, mask, mx.random.key(0))
    frames = slow(model, x, 3)
    squares = (frames - np.concatenate([x[:, 1:], y], axis=1)) ** 2
    counts = np.concatenate([np.ones((2, 3, 4, 6, 1), bool), valid], axis=1)
    assert total.item() == pytest.approx(squares[counts].mean(), rel=1e-5)
    assert share.item() == pytest.approx(squares[:, 3:][valid].mean(), rel=1e-5)
    assert share.item() == MSE(model(x, 3), target, mask).item()


def test_training_loss_takes_a_mask_of_whole_frames_and_a_single_target(rng):
    model = small(rng)
    x, y = normal(rng, (2, 3, 4, 6, 1)), normal(rng, (2, 2, 4, 6, 1))
    mask = mx.array([1, 0]).reshape(1, 2, 1, 1, 1)
    total, share = model.training_loss(MSE, x, y, mask, mx.random.key(0))
    expected = model.training_loss(MSE, x, y[:, :1], None, mx.random.key(0))
    close(mx.stack([total, share]), mx.stack(expected), 1e-6)
    for share in (mx.array([1.0]), mx.array([1.0, 1.0])):
        alone = model.training_loss(MSE, x, y[:, :1], None, mx.random.key(0), truth_share=share)
        close(mx.stack(alone), mx.stack(expected), 1e-6)
    one = model.training_loss(MSE, x[:, :1], y[:, :1], None, mx.random.key(0))
    assert one[0].item() == one[1].item()


@pytest.mark.parametrize("share", [[1.0], [1.0, 1.0]])
def test_a_truth_share_of_one_feeds_every_target(share, rng):
    model, share = small(rng), mx.array(share)
    x = normal(rng, (2, 5, 4, 6, 1))
    total, forecast = model.training_loss(MSE, x[:, :2], x[:, 2:], None, mx.random.key(0), truth_share=share)
    close(total, MSE(model.unroll_frames(x[:, :4], 1), x[:, 1:]), 1e-5)
    close(forecast, MSE(model.unroll_frames(x[:, :4], 1)[:, 1:], x[:, 2:]), 1e-5)
    free = model.training_loss(MSE, x[:, :2], x[:, 2:], None, mx.random.key(0))
    assert abs(total.item() - free[0].item()) > 1e-3


@pytest.mark.parametrize("share", [[0.0], [1.0, 0.0]])
def test_a_truth_share_of_zero_feeds_no_target(share, rng):
    model, x, y = small(rng), normal(rng, (2, 3, 4, 6, 1)), normal(rng, (2, 4, 4, 6, 1))
    given = model.training_loss(MSE, x, y, None, mx.random.key(0), truth_share=mx.array(share))
    close(mx.stack(given), mx.stack(model.training_loss(MSE, x, y, None, mx.random.key(0))), 1e-6)


def test_a_truth_share_of_zero_for_the_inputs_feeds_the_first_alone(rng):
    model, x, y = small(rng), normal(rng, (2, 3, 4, 6, 1)), normal(rng, (2, 2, 4, 6, 1))
    total, forecast = model.training_loss(MSE, x, y, None, mx.random.key(0), truth_share=mx.array([0.0, 0.0]))
    frames = slow(model, x[:, :1], 4)
    assert total.item() == pytest.approx(MSE(mx.array(frames), mx.concatenate([x[:, 1:], y], axis=1)).item(), rel=1e-5)
    assert forecast.item() == pytest.approx(MSE(mx.array(frames[:, 2:]), y).item(), rel=1e-5)


def test_a_mask_from_the_second_frame_on_says_which_inputs_are_fed(rng):
    model, x, truth = small(rng), normal(rng, (2, 3, 4, 6, 1)), normal(rng, (2, 2, 4, 6, 1))
    frames = model.unroll_frames(x, 3, truth=truth, mask=mx.array([[1, 0, 0, 1], [0, 1, 1, 0]]))
    for n, steps in enumerate(([1, 4], [2, 3])):
        true = np.concatenate([x, truth], axis=1, dtype=np.float64)
        close(frames[n : n + 1], slow(model, x[n : n + 1, :1], 5, {t: true[n : n + 1, t] for t in steps}), 1e-5)


@pytest.mark.parametrize("share", [[1.0], [1.0, 1.0]])
def test_predictions_take_the_place_of_unknown_values_of_a_fed_target(share, rng):
    """As in a forecast: there the model reads its own predictions, never a zero for what is unknown."""
    model, x, y = small(rng), normal(rng, (1, 2, 4, 6, 1)), normal(rng, (1, 3, 4, 6, 1))
    mask, key = y > 0, mx.random.key(0)
    losses = [
        model.training_loss(MSE, x, mx.where(mask, y, bad), mask, key, truth_share=mx.array(share))[0].item()
        for bad in (mx.nan, 0, 1e6)
    ]
    assert losses == losses[:1] * 3
    true = np.concatenate([x, y], axis=1, dtype=np.float64)
    for t in (2, 3):
        unknown = ~np.array(mask[:, t - 2])
        predicted = slow(model, x[:, :1], 4, {s: true[:, s] for s in range(1, t)})
        true[:, t][unknown] = predicted[:, t - 1][unknown]
    frames = slow(model, x[:, :1], 4, {s: true[:, s] for s in (1, 2, 3)})
    squares = (frames - np.concatenate([x[:, 1:], y], axis=1)) ** 2
    known = np.concatenate([np.ones((1, 1, 4, 6, 1), bool), mask], axis=1)
    assert losses[0] == pytest.approx(squares[known].mean(), rel=1e-5)


@pytest.mark.parametrize("masked", [False, True], ids=["targets known", "masked"])
def test_predictions_of_unknown_inputs_have_no_loss(masked, rng):
    model, x, y = small(rng), normal(rng, (2, 4, 4, 6, 1)), normal(rng, (2, 3, 4, 6, 1))
    known, mask = x > 0.2, y > -0.3 if masked else None
    total, share = model.training_loss(MSE, x, y, mask, mx.random.key(0), input_mask=known)
    squares = (slow(model, x, 3) - np.concatenate([x[:, 1:], y], axis=1)) ** 2
    counts = np.concatenate([known[:, 1:], np.ones(y.shape, bool) if mask is None else mask], axis=1)
    assert total.item() == pytest.approx(squares[counts].mean(), rel=1e-5)
    assert share.item() == pytest.approx(squares[:, 3:][counts[:, 3:]].mean(), rel=1e-5)
    everything = mx.ones((2, 4, 1, 1, 1))
    open_inputs = [model.training_loss(MSE, x, y, mask, mx.random.key(0), input_mask=m)[0] for m in (None, everything)]
    assert open_inputs[0].item() == open_inputs[1].item()


@pytest.mark.parametrize("share", [[0.25], [0.75, 0.25]])
def test_the_truth_share_is_the_probability_of_each_sequence_and_step(share, rng):
    model = small(rng)
    x, y = mx.zeros((200, 4, 2, 2, 1)), mx.zeros((200, 6, 2, 2, 1))
    drawn = []

    def spy(inputs, horizon, truth, mask, key):
        drawn.append(mask)
        return mx.zeros((200, 9, 2, 2, 1)), None

    model._walk = spy
    for seed in (0, 0, 1):
        model.training_loss(MSE, x, y, None, mx.random.key(seed), truth_share=mx.array(share))
    expected = np.repeat(share, [3, 5][-len(share) :])
    assert drawn[0].shape == (200, len(expected))
    assert mx.array_equal(drawn[0], drawn[1])
    assert not mx.array_equal(drawn[0], drawn[2])
    # Three and a half standard errors of a mean over 200 sequences.
    assert np.abs(np.array(drawn[0], float).mean(axis=0) - expected).max() < 3.5 * (0.25 * 0.75 / 200) ** 0.5
    assert len(np.unique(np.array(drawn[0]), axis=0)) > 10
    model.training_loss(MSE, x, y, None, mx.random.key(0))
    assert drawn[-1] is None


@pytest.mark.parametrize("shape", [(), (3,), (1, 1)])
def test_a_truth_share_is_one_or_two_probabilities(shape, rng):
    message = (
        "[ConvLSTMStack] 'truth_share' must be the probabilities of feeding a true target, shape (1,), or a true input "
        f"and a true target, shape (2,), but got shape {shape}."
    )
    x = mx.zeros((1, 2, 4, 6, 1))
    with pytest.raises(ValueError, match=re.escape(message)):
        small(rng).training_loss(MSE, x, x, None, mx.random.key(0), truth_share=mx.zeros(shape))


@pytest.mark.parametrize("name", ["dropout", "recurrent_dropout"])
@pytest.mark.parametrize("key", [None, 0])
def test_dropout_is_the_same_for_all_time_steps(name, key, rng):
    """A walk that feeds true frames in its second half has the masks of the walk in one piece."""
    model = small(rng, **{name: 0.5})
    x = normal(rng, (2, 5, 4, 6, 1))
    key = None if key is None else mx.random.key(key)
    mx.random.seed(3)
    cut = model.unroll_frames(x[:, :2], 4, truth=x[:, 2:], mask=mx.ones((2, 3)), key=key)
    mx.random.seed(3)
    close(cut, model.unroll_frames(x, 1, key=key), 2e-6)


@pytest.mark.parametrize(
    ("truth", "mask", "message"),
    [
        ((2, 3, 4, 6, 1), None, "'truth' came without 'mask'. Give both, or neither."),
        (None, (2, 3), "'mask' came without 'truth'. Give both, or neither."),
        (
            (2, 2, 4, 6, 1),
            (2, 3),
            "'truth' must be at least 3 frames after the inputs, of shape (2, 3, 4, 6, 1), but got shape "
            "(2, 2, 4, 6, 1).",
        ),
        ((1, 3, 4, 6, 1), (2, 3), "'truth' must be at least 3 frames after the inputs"),
        ((2, 3, 4, 6, 2), (2, 3), "'truth' must be at least 3 frames after the inputs"),
        ((2, 3, 4, 6), (2, 3), "'truth' must be at least 3 frames after the inputs"),
        (
            (2, 4, 4, 6, 1),
            (2, 5),
            "'mask' must have a value for each sequence and step after the inputs, shape (2, 3), or after the first of "
            "them, shape (2, 4), but got shape (2, 5).",
        ),
        ((2, 3, 4, 6, 1), (3,), "'mask' must have a value for each sequence and step after the inputs"),
    ],
)
def test_bad_truth(truth, mask, message):
    arguments = {"truth": truth and mx.zeros(truth), "mask": mask and mx.ones(mask)}
    with pytest.raises(ValueError, match=re.escape(f"[ConvLSTMStack] {message}")):
        ConvLSTMStack(1, **SMALL).unroll_frames(mx.zeros((2, 2, 4, 6, 1)), 4, **arguments)
