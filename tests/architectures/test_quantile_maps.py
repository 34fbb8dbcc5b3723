"""The network that corrects the quantiles of an ensemble."""

from convlstm.architectures.quantile_maps import QuantileMaps
from tests.support.reference import close, normal

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map


def arguments(rng, size=(20, 12), n=2, K=3):
    H, W = size
    shapes = (n, H, W, K), (n, H, W, 1), (n, H // 4, W // 4, 5), (n, 6)
    return [normal(rng, shape, 0.3) for shape in shapes]


def test_an_untrained_network_corrects_nothing(rng):
    close(QuantileMaps(3, 5, channels=6)(*arguments(rng)), np.zeros((2, 20, 12, 3)), 0)


@pytest.mark.parametrize("size", [(4, 4), (20, 12), (64, 36)])
def test_corrections_of_any_grid_of_patches_depend_on_every_input(size, rng):
    network, inputs = QuantileMaps(3, 5, channels=6), arguments(rng, size)
    network.update(tree_map(lambda a: normal(rng, a.shape, 0.3), network.parameters()))
    before = network(*inputs)
    assert before.shape == (2, *size, 3)
    for number in range(4):
        others = [x + 0.1 if n == number else x for n, x in enumerate(inputs)]
        assert mx.abs(network(*others) - before).max() > 1e-3, number
    for n in range(2):
        close(network(*(x[n : n + 1] for x in inputs)), before[n : n + 1], 1e-5)
    gradients = mx.grad(lambda p: (network.update(p), network(*inputs) ** 2)[1].sum())(network.parameters())
    assert all(mx.abs(g).max() > 0 for name, g in tree_flatten(gradients) if min(size) > 4 or "around" not in name)


def means(x, side):
    """Returns the means over windows of (1, H, W, C), with the border's values beyond it."""
    padded = np.pad(x, [(0, 0), *[(side // 2, side // 2)] * 2, (0, 0)], mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, (side, side), (1, 2)).mean(axis=(-2, -1))


@pytest.mark.parametrize("number", [0, 1])
def test_quantiles_can_be_drawn_to_the_means_around_them(number, rng):
    network = QuantileMaps(2, 5, channels=6)
    bias = np.zeros(4, np.float32)
    bias[2 * number : 2 * number + 2] = 1, 0.5
    network.shares.bias = mx.array(bias)
    quantiles, *others = arguments(rng, (20, 24), 1, 2)
    around = means(np.array(quantiles), 3)
    around = means(around, 9) if number else around
    close(network(quantiles, *others), (around - np.array(quantiles)) * [1, 0.5], 1e-5)
