import math

from convlstm.datasets import MovingMNIST
from convlstm.datasets.digits import Digits
from convlstm.datasets.moving_mnist import bounce
from tests.support.moving_digits import DOT, SQUARES, equal, frames, small

import numpy as np
import pytest


def test_bounce_in_closed_form():
    # Eighths are exact: up to the edge, down to the other one.
    assert bounce(0.5, 0.125, 14, 8) == [5, 6, 7, 8, 7, 6, 5, 4, 3, 2, 1, 0, 1, 2]
    # 0.75, then stopped at 1 instead of reflected from there, and the same at 0.
    assert bounce(0.375, 0.375, 8, 8) == [6, 8, 5, 2, 0, 3, 6, 8]
    assert bounce(0.25, -0.375, 3, 8) == [0, 3, 6]
    # Positions are truncated, not rounded.
    assert bounce(0.5, 0.0, 2, 7) == [3, 3]
    assert bounce(0.5, 0.25, 3, 0) == [0, 0, 0]


def dots(data, index, split="train"):
    """Returns the row and the column of the one lit pixel of each frame, (T, 2)."""
    lit = np.argwhere(frames(data, split, index))
    assert lit[:, 0].tolist() == list(range(data.input_frames + data.target_frames))
    return lit[:, 1:]


@pytest.mark.parametrize("index", range(10))
def test_a_dot_moves_straight_between_the_edges(index):
    side = 10001
    data = MovingMNIST(digits=DOT, frame_size=(side, 11), digit_size=1, num_digits=1, root="absent", step=0.1)
    rows = dots(data, index)[:, 0]
    moves = np.diff(rows)
    inside = (rows > 0) & (rows < side - 1)
    speed = np.abs(moves[inside[1:] & inside[:-1]])
    assert speed.max() - speed.min() <= 1
    assert speed.max() <= 1000
    # The direction changes only at an edge.
    for t in range(1, len(moves)):
        assert (np.sign(moves[t]) == np.sign(moves[t - 1])) == inside[t]


def test_a_step_has_its_length_in_every_direction():
    data = MovingMNIST(digits=DOT, frame_size=501, digit_size=1, num_digits=1, root="absent", step=0.1)
    angles = []
    for index in range(60):
        way = dots(data, index)
        inside = ((way > 0) & (way < 500)).all(axis=1)
        moves = np.diff(way, axis=0)[inside[1:] & inside[:-1]]
        np.testing.assert_allclose(np.hypot(*moves.T), 50, atol=1.5)
        angles.append(math.atan2(*np.diff(way, axis=0)[0]))
    assert np.histogram(angles, bins=4, range=(-math.pi, math.pi))[0].min() >= 6


def test_the_centre_of_mass_moves_evenly():
    data = MovingMNIST(digits="builtin", num_digits=1, frame_size=200, step=0.02, root="absent")
    tried = 0
    for index in range(20):
        sequence = frames(data, index=index).astype(np.float64)
        rows, columns = sequence.sum(axis=2) @ np.arange(200), sequence.sum(axis=1) @ np.arange(200)
        centre = np.stack([rows, columns], axis=1) / sequence.sum(axis=(1, 2))[:, None]
        line = centre[:1] + np.arange(20)[:, None] * (centre[-1:] - centre[:1]) / 19
        if np.hypot(*(centre[-1] - centre[0])) > 0.019 * 172 * 19:  # reached no edge
            tried += 1
            assert np.abs(centre - line).max() < 1.1
    assert tried >= 3


def test_a_range_of_steps_gives_each_digit_its_own_speed():
    data = MovingMNIST(digits=DOT, frame_size=301, digit_size=1, num_digits=1, root="absent", step=[0.04, 0.12])
    speeds = np.array([np.hypot(*np.diff(dots(data, index), axis=0).T).max() for index in range(60)])
    assert 10.5 < speeds.min() < 15
    assert 33 < speeds.max() < 37.5


def test_step_zero_stands_still():
    sequence = frames(small(step=0))
    np.testing.assert_array_equal(sequence, np.broadcast_to(sequence[0], sequence.shape))


def test_digits_are_combined_by_maximum():
    data = small(num_digits=3, digit_size=20, dtype="uint8")
    for index in range(5):
        sequence = frames(data, index=index)
        brightest = sequence.max()
        # The brightest digit lies on top, whole, in every frame.
        assert ((sequence == brightest).sum(axis=(1, 2)) == 400).all()


def values(data, split, count):
    return {int(v) for index in range(count) for v in np.unique(frames(data, split, index)) if v > 0}


def test_the_splits_share_no_digit():
    data = small(dtype="uint8")
    assert values(data, "train", 400) == set(range(1, 91))
    assert values(data, "validation", 100) == set(range(91, 101))
    assert values(data, "test", 400) == set(range(201, 251))


def test_training_sequences_are_functions_of_seed_epoch_and_index():
    data = small()
    one = frames(data, index=3, seed=1, epoch=2)
    np.testing.assert_array_equal(one, frames(small(), index=3, seed=1, epoch=2))
    for other in ({"index": 4}, {"seed": 2}, {"epoch": 3}, {"seed": 2, "epoch": 1}):
        assert not np.array_equal(one, frames(data, **{"index": 3, "seed": 1, "epoch": 2, **other}))
    assert frames(data, index=0, epoch=10**9).shape == one.shape


@pytest.mark.parametrize("split", ["validation", "test"])
def test_validation_and_test_are_fixed(split):
    data = small()
    np.testing.assert_array_equal(frames(data, split, 3), frames(data, split, 3, seed=5, epoch=7))
    assert not np.array_equal(frames(data, split, 3), frames(data, split, 4))
    assert equal([next(data.stream(split, 40))], [next(data.stream(split, 40, seed=5, epoch=7))])


def test_the_fixed_sequences_are_the_same_on_every_machine():
    data = MovingMNIST(digits=DOT, frame_size=64, digit_size=1, num_digits=1, root="absent", input_frames=3)
    assert dots(data, 0, "test")[:5].tolist() == [[22, 56], [25, 61], [29, 63], [32, 57], [36, 52]]
    assert dots(data, 0, "validation")[:5].tolist() == [[37, 63], [42, 59], [47, 55], [52, 51], [57, 47]]


def test_the_order_of_the_digits_in_a_pool_does_not_leak_between_splits():
    data = small()
    assert not np.array_equal(frames(data, "train", 0) > 0, frames(data, "validation", 0) > 0)
    assert not np.array_equal(frames(data, "validation", 0) > 0, frames(data, "test", 0) > 0)


def test_a_batch_is_its_sequences():
    data = small(train_sequences=7)
    got = list(data.stream("train", 3, seed=1, epoch=2))
    assert len(got) == 2
    for number, batch in enumerate(got):
        for key in ("inputs", "targets"):
            indices = data.indices("train", 3, number, seed=1, epoch=2)
            assert indices == [3 * number + i for i in range(3)]
            wanted = [data.sample("train", index, seed=1, epoch=2)[key] for index in indices]
            np.testing.assert_array_equal(batch[key], wanted)


def test_the_stream_does_not_depend_on_threads_start_and_ranks():
    data = small(train_sequences=24)
    whole = list(data.stream("train", 4, seed=1, epoch=2))
    busy = small(train_sequences=24, prefetch=7, threads=4)
    assert equal(whole, list(busy.stream("train", 4, seed=1, epoch=2)))
    assert equal(whole[2:], list(data.stream("train", 4, seed=1, epoch=2, start=2)))
    halves = [list(data.stream("train", 4, seed=1, epoch=2, rank=rank, ranks=2)) for rank in (0, 1)]
    together = [{key: np.concatenate([a[key], b[key]]) for key in a} for a, b in zip(*halves, strict=True)]
    assert equal(whole, together)


def test_only_training_drops_the_partial_batch():
    data = small(train_sequences=7, validation_sequences=8, test_sequences=10)
    assert [data.size(split) for split in ("train", "validation", "test")] == [7, 8, 10]
    sizes = {split: [len(b["inputs"]) for b in data.stream(split, 3)] for split in ("train", "validation", "test")}
    assert sizes == {"train": [3, 3], "validation": [3, 3, 2], "test": [3, 3, 3, 1]}


@pytest.mark.parametrize(("frame_size", "shape"), [(32, (32, 32, 1)), ((24, 40), (24, 40, 1)), ([24, 40], (24, 40, 1))])
def test_shapes(frame_size, shape):
    data = small(frame_size=frame_size, input_frames=3, target_frames=5)
    assert (data.frame_shape, data.input_frames, data.target_frames) == (shape, 3, 5)
    batch = next(data.stream("train", 2))
    assert batch["inputs"].shape == (2, 3, *shape)
    assert batch["targets"].shape == (2, 5, *shape)


def test_digits_reach_every_edge_of_a_frame_that_is_not_square():
    data = small(frame_size=(24, 40))
    lit = sum(frames(data, index=index).sum(axis=0) for index in range(40))
    assert lit.any(axis=0).all()
    assert lit.any(axis=1).all()


def test_inputs_and_targets_are_one_sequence():
    np.testing.assert_array_equal(
        frames(small(input_frames=4, target_frames=16)), frames(small(input_frames=12, target_frames=8))
    )


def test_dtype():
    floats, integers = frames(small()), frames(small(dtype="uint8"))
    assert floats.dtype == np.float32
    assert integers.dtype == np.uint8
    np.testing.assert_array_equal(floats, integers.astype(np.float32) / np.float32(255))
    assert frames(MovingMNIST(digits=DOT, root="absent")).max() == 1.0
    assert next(small(dtype="uint8").stream("train", 2))["targets"].dtype == np.uint8


def test_num_digits_and_digit_size():
    for count, size in ((1, 8), (1, 5), (3, 4)):
        data = small(num_digits=count, digit_size=size, frame_size=100)
        areas = [(frames(data, index=index)[0] > 0).sum() for index in range(30)]
        assert max(areas) == count * size**2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"digit_size": 40},
            r"\[MovingMNIST\] 'digit_size' must be at most the frame's .* side \(32\) but got 40",
        ),
        ({"digit_size": 0}, "'digit_size' must be a whole number of at least 1 but got 0"),
        ({"frame_size": 0}, "'frame_size' must be a whole number of at least 1 but got 0"),
        (
            {"frame_size": (32, 32, 1)},
            r"'frame_size' must be .* or \(height, width\) but got \(32, 32, 1\)",
        ),
        ({"frame_size": "64"}, r"'frame_size' must be a whole number or \(height, width\) but got '64'"),
        ({"num_digits": 0}, "'num_digits' must be a whole number of at least 1 but got 0"),
        ({"step": 1.5}, "'step' must be a number from 0 to 1, or a range .* but got 1.5"),
        ({"step": (0.2, 0.1)}, r"'step' must be .* but got \(0.2, 0.1\)"),
        ({"step": (0.1,)}, r"'step' must be .* but got \(0.1,\)"),
        ({"step": float("nan")}, "'step' must be .* but got nan"),
        ({"input_frames": 0}, "'input_frames' must be a whole number of at least 1 but got 0"),
        ({"target_frames": 0}, "'target_frames' must be a whole number of at least 1 but got 0"),
        ({"train_sequences": 0}, "'train_sequences' must be a whole number of at least 1 but got 0"),
        ({"validation_sequences": 0}, "'validation_sequences' must be a whole number of at least 1 but got 0"),
        ({"test_sequences": -1}, "'test_sequences' must be a whole number of at least 1 but got -1"),
        ({"dtype": "float16"}, "'dtype' must be 'float32' or 'uint8' but got 'float16'"),
        ({"prefetch": 0}, "'prefetch' must be a whole number of at least 1 but got 0"),
        ({"threads": 0}, "'threads' must be a whole number of at least 1 but got 0"),
        ({"digits": "svhn"}, "'digits' must be one of auto, mnist, builtin but got 'svhn'"),
        ({"digits": Digits(SQUARES.train[:1], SQUARES.test)}, "'digits' must be uint8 images .* train images are"),
        ({"digits": Digits(SQUARES.train, SQUARES.test / 255)}, "its test images are float64 of"),
    ],
)
def test_argument_errors(change, message):
    with pytest.raises(ValueError, match=message):
        small(**change)


@pytest.mark.parametrize("call", [lambda d: d.size("val"), lambda d: d.sample("val", 0), lambda d: d.stream("val", 2)])
def test_an_unknown_split_lists_the_splits(call):
    with pytest.raises(ValueError, match=r"'split' must be one of train, validation, test but got 'val'"):
        call(small())


@pytest.mark.parametrize(
    ("index", "change", "message"),
    [
        (5, {}, r"'index' must be below the size of 'train' \(5\) but got 5"),
        (-1, {}, "'index' must be a whole number of at least 0 but got -1"),
        (0, {"seed": -1}, "'seed' must be a whole number of at least 0 but got -1"),
        (0, {"epoch": -1}, "'epoch' must be a whole number of at least 0 but got -1"),
    ],
)
def test_sample_errors(index, change, message):
    with pytest.raises(ValueError, match=message):
        small(train_sequences=5).sample("train", index, **change)
