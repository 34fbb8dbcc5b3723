"""Paths along a motion that is the smoother, the longer the lead time."""

from convlstm.architectures.extrapolation import paths
from convlstm.architectures.lead_motion import origins
from convlstm.architectures.motion import motion, motions
from tests.support.rain_cells import moving
from tests.support.reference import close, normal

import mlx.core as mx
import numpy as np
import pytest

STEPS = mx.array([1, 3])


def flows(rng):
    return [normal(rng, (2, 12, 16, 2)) for _ in range(3)]


def along(flow):
    """Returns the rows and columns after one and three frames, (2, 2, 12, 16) each."""
    first, _, third = paths(flow, 3)
    return [np.concatenate([first[i], third[i]], axis=1) for i in (0, 1)]


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_whole_level_is_one_of_the_motions(level, rng):
    given = flows(rng)
    found = origins(given, STEPS, 4, mx.full((2, 2), float(level)))
    for one, expected in zip(found, along(given[level]), strict=True):
        close(one, expected, 1e-6)


def test_between_levels_is_between_motions_and_outside_the_last_one(rng):
    given = flows(rng)
    found = origins(given, STEPS, 3, mx.array([[0.25, 1.5], [-4.0, 7.0]]))
    own = [along(flow) for flow in given]
    for i in (0, 1):
        close(found[i][0, 0], 0.75 * own[0][i][0, 0] + 0.25 * own[1][i][0, 0], 1e-6)
        close(found[i][0, 1], 0.5 * own[1][i][0, 1] + 0.5 * own[2][i][0, 1], 1e-6)
        close(found[i][1, 0], own[0][i][1, 0], 1e-6)
        close(found[i][1, 1], own[2][i][1, 1], 1e-6)


def test_the_level_has_a_gradient(rng):
    given, weights = flows(rng), normal(rng, (2, 2, 12, 16))

    def value(level):
        y, x = origins(given, STEPS, 3, level)
        return (weights * (y - 2 * x)).sum()

    level = mx.array([[0.3, 1.6], [0.8, 1.2]])
    slope = mx.grad(value)(level)
    for place in ((0, 0), (0, 1), (1, 0), (1, 1)):
        change = np.zeros((2, 2), np.float32)
        change[place] = 0.05
        between = (value(level + mx.array(change)) - value(level - mx.array(change))) / 0.1
        assert slope[place].item() == pytest.approx(between.item(), rel=1e-2)


def test_motions_are_those_of_coarser_and_coarser_grids():
    x = moving(1.3, -0.7, number=400, width=(1, 2))
    found = motions(x, 2)
    close(found[0], motion(x), 0)
    # As with half as many points, but for where the pyramid begins.
    close(found[1], motion(x, points=48), 0)
    assert mx.abs(found[0] - found[1]).max() > 1e-3


def test_a_small_frame_has_its_coarsest_motion_in_place_of_coarser_ones(rng):
    found = motions(normal(rng, (1, 4, 40, 40, 1)), 4)
    assert len(found) == 4
    close(found[1], found[2], 0)
    close(found[1], found[3], 0)
    assert mx.abs(found[0] - found[1]).max() > 1e-3


def test_one_frame_shows_no_motion(rng):
    for flow in motions(normal(rng, (1, 1, 40, 40, 1)), 3):
        close(flow, np.zeros((1, 40, 40, 2)), 0)
