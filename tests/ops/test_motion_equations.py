"""The sums from which the motion is found: the kernel against the plain form."""

import convlstm  # noqa: F401  before mlx.core, so that the tests run with a fast BLAS
from convlstm.ops.motion_equations import Pair, motion_equations
from tests.support.reference import close, normal

import mlx.core as mx
import pytest

PAIRS = [Pair(1, 1, 0.8), Pair(2, 1, 1.0), Pair(2, 2, 0.5)]


@pytest.mark.parametrize("circular", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (1, 70), (2, 2), (33, 1), (35, 70), (16, 64)])
def test_the_kernel_gives_the_sums_of_the_plain_form(circular, size, kernels, rng):
    frames, u = normal(rng, (2, 3, *size)), normal(rng, (2, 2, *size), 2)
    ours, plain = (motion_equations(frames, u, PAIRS, circular, algorithm) for algorithm in ("auto", "native"))
    for actual, expected in zip(ours, plain, strict=True):
        assert actual.shape == (2, *size)
        close(actual, expected, 1e-4)


@pytest.mark.parametrize("algorithm", ["auto", "native"])
def test_a_plane_that_moves_has_the_sums_of_its_slopes(algorithm):
    rows, columns = mx.arange(6.0)[:, None], mx.arange(8.0)
    # I_t(x) = 2 y + 3 x - 5 t, and the motion 0 is wrong by 5 a frame.
    frames = mx.stack([2 * rows + 3 * columns - 5 * t for t in range(3)])[None]
    a, b, c, first, second = motion_equations(frames, mx.zeros((2, 1, 6, 8)), [Pair(2, 2, 0.5)], algorithm=algorithm)
    # g = 2 (2, 3), r = -10
    for actual, expected in ((a, 8), (b, 12), (c, 18), (first, 20), (second, 30)):
        close(actual, mx.full((1, 6, 8), expected), 1e-4)


@pytest.mark.parametrize("algorithm", ["auto", "native"])
def test_what_comes_from_beyond_the_frame_counts_not(algorithm, rng):
    frames, u = normal(rng, (1, 2, 5, 7)), mx.stack([mx.zeros((1, 5, 7)), mx.full((1, 5, 7), 2.5)])
    for sums in motion_equations(frames, u, [Pair(1, 1, 1.0)], algorithm=algorithm):
        assert not sums[..., :3].any()
        assert sums[..., 3:].any()
