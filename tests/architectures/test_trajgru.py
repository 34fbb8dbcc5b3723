"""The TrajGRU: its cell and its layer."""

import re

import convlstm  # noqa: F401  before mlx.core, so that the tests run with a fast BLAS
from convlstm.architectures.trajgru import TrajGRU, TrajGRUCell
from tests.support.gru import assert_equals_torch
from tests.support.reference import close, normal, randomise

import mlx.core as mx
import pytest

pytestmark = pytest.mark.usefixtures("kernels_for_winograd")
algorithms = pytest.mark.parametrize("algorithm", ["native", "winograd"])
SMALL = {"links": 3, "flow_channels": 4, "flow_kernel_size": 3}


@algorithms
@pytest.mark.parametrize(
    ("grid", "arguments"),
    [
        ((6, 7), SMALL),
        ((9, 4), {"kernel_size": 5, "state_activation": "tanh", "links": 2}),
        ((5, 6), {**SMALL, "bias": False, "flow_kernel_size": (1, 3)}),
    ],
)
def test_layer_equals_pytorch(algorithm, grid, arguments, rng):
    layer = randomise(TrajGRU(2, 3, **arguments, algorithm=algorithm), rng)
    assert_equals_torch(layer, normal(rng, (2, 3, *grid, 2)), normal(rng, (2, *grid, 3)), rng)


@pytest.mark.parametrize(("grid", "channels"), [((6, 7), 3), ((4, 9), 17)])
def test_layer_without_input_equals_pytorch(grid, channels, rng):
    layer = randomise(TrajGRU(0, channels, **SMALL), rng)
    assert_equals_torch(layer, None, normal(rng, (2, *grid, channels)), rng, length=3)


def test_a_constant_flow_moves_the_state(rng):
    cell = TrajGRUCell(0, 1, links=1)
    cell.bf = mx.array([0.0, 1.0])
    cell.Wh = mx.array([0.0, 0, 1]).reshape(3, 1, 1, 1)
    cell.bh = mx.array([-30.0, 30, 0])  # all of the candidate, none of the state
    h = mx.abs(normal(rng, (1, 3, 4, 1)))
    close(cell(None, h)[:, :, 1:], h[:, :, :-1], 1e-6)
    assert cell.flow((), h, cell.convolutions()).tolist() == mx.broadcast_to(cell.bf, (1, 3, 4, 2)).tolist()


def test_it_starts_without_flows(rng):
    cell = TrajGRUCell(2, 3, links=2)
    x, h = normal(rng, (1, 5, 6, 2)), normal(rng, (1, 5, 6, 3))
    assert not cell.flow(cell.project(x), h, cell.convolutions()).any()
    # But it learns them.
    gradients = mx.grad(lambda W: cell.update({"Wf": W})(x, h).sum())(cell.Wf)
    assert mx.abs(gradients).max().item() > 1e-4


def test_arguments_make_the_parameters():
    def shapes(cell):
        return {name: a.shape for name, a in cell.parameters().items()}

    assert shapes(TrajGRUCell(2, 4)) == {
        "Wx": (12, 3, 3, 2),
        "bx": (12,),
        "Wh": (12, 1, 1, 52),
        "bh": (12,),
        "Wfx": (32, 5, 5, 2),
        "bfx": (32,),
        "Wfh": (32, 5, 5, 4),
        "bfh": (32,),
        "Wf": (26, 5, 5, 32),
        "bf": (26,),
    }
    assert shapes(TrajGRUCell(0, 4, links=5, flow_channels=6, flow_kernel_size=(1, 3), bias=False)) == {
        "Wh": (12, 1, 1, 20),
        "Wfh": (6, 1, 3, 4),
        "Wf": (10, 1, 3, 6),
    }
    assert TrajGRUCell(2, 4, (5, 1)).Wx.shape == (12, 5, 1, 2)
    assert shapes(TrajGRU(2, 4).cell) == shapes(TrajGRUCell(2, 4))
    assert "links=5, flow_channels=32, flow_kernel_size=(5, 5), bias=True" in repr(TrajGRU(1, 2, links=5))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"links": 0}, "'links' must be a whole number of at least 1 but got 0."),
        ({"links": 2.0}, "'links' must be a whole number of at least 1 but got 2.0."),
        ({"flow_channels": 0}, "'flow_channels' must be a whole number of at least 1 but got 0."),
        ({"flow_kernel_size": 4}, "'flow_kernel_size' must be odd but got 4"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=re.escape(f"[TrajGRUCell] {message}")):
        TrajGRUCell(1, 1, **arguments)
