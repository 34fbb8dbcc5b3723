"""The order of members in each pixel, by kernels and by MLX's own operations."""

from convlstm.ops.member_ranks import of_rank, ordered, ranks
from tests.support.reference import close, normal

import mlx.core as mx
import numpy as np
import pytest

SHAPES = [(2, 1), (3, 5), (8, 2, 3, 17, 31), (24, 1100)]


def with_ties(rng, shape):
    return mx.array(np.round(rng.normal(size=shape), 1).astype(np.float32))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("algorithm", ["auto", "native"])
def test_ranks_and_order_are_those_of_a_stable_sort(shape, algorithm, rng):
    members = with_ties(rng, shape)
    order = np.argsort(np.array(members), axis=0, kind="stable")
    rank = ranks(members, algorithm)
    assert (np.array(rank) == np.argsort(order, axis=0)).all()
    rising = ordered(members, rank, algorithm)
    close(rising, np.sort(np.array(members), axis=0), 0)
    close(of_rank(rising, rank, algorithm), members, 0)


@pytest.mark.parametrize("function", [ordered, of_rank])
def test_gradients_of_kernels_are_those_of_the_plain_form(function, rng):
    members, weight = with_ties(rng, (5, 3, 40)), normal(rng, (5, 3, 40))
    rank = ranks(members)

    def total(values, algorithm):
        return (function(values, rank, algorithm) ** 2 * weight).sum()

    for algorithm in ("auto", "native"):
        close(function(members, rank, algorithm), function(members, rank, "native"), 0)
    close(*(mx.grad(total)(members, algorithm) for algorithm in ("auto", "native")), 1e-6)
