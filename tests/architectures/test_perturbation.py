"""Perturbed inputs: errors of the motion and of the values, drawn for each member and each sequence."""

import math
import re
from zlib import crc32

from convlstm.architectures.motion import motion
from convlstm.architectures.perturbation import Perturbation, shifted, smoothed
from tests.support.rain_cells import moving

import mlx.core as mx
import numpy as np
import pytest

STILL = {"motion": 0.0, "field": 0.0}


def inputs_of(rng, N=3):
    return rng.uniform(0.1, 0.9, (N, 4, 12, 15, 1)).astype(np.float32)


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


def test_the_motion_is_perturbed_by_the_drawn_error():
    """The last frame stays as it is, and the motion of the frames changes by the error."""
    frames = np.clip(np.array(moving(0.0, 3.0, frames=4)), 0, 1).astype(np.float32)
    still = np.array(motion(mx.array(frames)))[:, 24:-24, 24:-24].mean(axis=(0, 1, 2))
    errors = []
    for member in range(6):
        perturbed = Perturbation(motion=0.5, field=0.0)(frames, member)
        np.testing.assert_array_equal(perturbed[:, -1], frames[:, -1])
        moved = np.array(motion(mx.array(perturbed)))[:, 24:-24, 24:-24].mean(axis=(0, 1, 2))
        errors.append(moved - still)
    assert 0.2 < np.std(errors) < 1.0
    expected = np.random.default_rng([0, 5, crc32(frames[0].tobytes())]).normal(size=2) * 0.5
    np.testing.assert_allclose(errors[5], expected, atol=0.15)


def test_values_are_perturbed_smoothly_with_the_given_deviation(rng):
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
