"""The ConvGRU: its cell and its layer."""

import re

import convlstm  # noqa: F401  before mlx.core, so that the tests run with a fast BLAS
from convlstm.architectures.convgru import ConvGRU, ConvGRUCell
from convlstm.architectures.trajgru import TrajGRU, TrajGRUCell
from tests.support.gru import assert_equals_torch, value_and_gradients
from tests.support.reference import close, differ, normal, randomise, same

import mlx.core as mx
import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("kernels_for_winograd")
# Tests of the behaviour that ConvGRU and TrajGRU share run with both.
LAYERS = {"convgru": (ConvGRU, {}), "trajgru": (TrajGRU, {"links": 3, "flow_channels": 4, "flow_kernel_size": 3})}
layers = pytest.mark.parametrize("kind", LAYERS)
algorithms = pytest.mark.parametrize("algorithm", ["native", "winograd"])


def make_layer(rng, kind="convgru", in_channels=2, **arguments):
    """Returns a layer with random weights, inputs (3, 4, 6, 7, C) and a state."""
    Layer, options = LAYERS[kind]
    layer = randomise(Layer(in_channels, 3, **(options | arguments)), rng)
    grid = layer.cell.output_size(6, 7)
    return layer, normal(rng, (3, 4, 6, 7, in_channels)) if in_channels else None, normal(rng, (3, *grid, 3))


def test_cell_of_known_values():
    cell = ConvGRUCell(1, 1, 1)
    # In the order z, r, h: z = sigmoid(0), r = sigmoid(0), candidate = 2 x + h / 2.
    cell.Wx, cell.Wh = mx.array([0.0, 0, 2]).reshape(3, 1, 1, 1), mx.array([0.0, 0, 1]).reshape(3, 1, 1, 1)
    x, h = mx.array([[[[3.0], [-3.0]]]]), mx.array([[[[4.0], [4.0]]]])
    near = pytest.approx
    assert cell(x, h).flatten().tolist() == near([0.5 * (6 + 2) + 2, 0.5 * 0.2 * (-6 + 2) + 2])
    # The update gate keeps the state, the reset gate hides it, biases included.
    cell.bh = mx.array([50.0, 0, 0])
    assert cell(x, h).flatten().tolist() == near([4, 4])
    cell.bx, cell.bh = mx.array([-50.0, -50, 1]), mx.array([0.0, 0, 7])
    assert cell(x, h).flatten().tolist() == near([7, -1])


@algorithms
@pytest.mark.parametrize(
    ("grid", "arguments"),
    [
        ((6, 7), {}),
        ((9, 4), {"kernel_size": 5, "state_activation": "tanh"}),
        ((6, 7), {"kernel_size": (3, 5), "recurrent_kernel_size": 5}),
        ((6, 7), {"bias": False, "recurrent_kernel_size": 1}),
    ],
)
def test_layer_equals_pytorch(algorithm, grid, arguments, rng):
    layer = randomise(ConvGRU(2, 3, **arguments, algorithm=algorithm), rng)
    assert_equals_torch(layer, normal(rng, (2, 3, *grid, 2)), normal(rng, (2, *grid, 3)), rng)


@pytest.mark.parametrize(("grid", "channels"), [((6, 7), 3), ((4, 9), 17)])
def test_layer_without_input_equals_pytorch(grid, channels, rng):
    layer = randomise(ConvGRU(0, channels), rng)
    assert_equals_torch(layer, None, normal(rng, (2, *grid, channels)), rng, length=4)


@pytest.mark.parametrize(
    "geometry", [{"stride": 2, "padding": 1}, {"stride": (1, 2), "padding": (0, 2)}, {"dilation": 2, "padding": 1}]
)
def test_geometry_is_of_the_input_s_convolution(geometry, rng):
    layer = randomise(ConvGRU(2, 3, **geometry), rng)
    grid = layer.cell.output_size(8, 9)
    assert grid != (8, 9)
    assert_equals_torch(layer, normal(rng, (1, 3, 8, 9, 2)), normal(rng, (1, *grid, 3)), rng, **geometry)


@layers
def test_layer_equals_its_cell_step_by_step(kind, rng):
    layer, x, h = make_layer(rng, kind)
    outputs, state = layer(x, h)
    steps = []
    for t in range(4):
        h = layer.cell(x[:, t], h)
        steps.append(h)
    same((outputs, state), (mx.stack(steps, axis=1), h))


@pytest.mark.parametrize("length", [10, 11, 23, 101])
def test_long_sequences_equal_their_parts(length, rng):
    layer = randomise(ConvGRU(2, 3, 1), rng)
    x, drawn = normal(rng, (2, length, 2, 3, 2)), normal(rng, (2, length, 2, 3, 3))

    def in_parts(x):
        outputs, h = [], None
        for t in range(length):
            y, h = layer(x[:, t : t + 1], h)
            outputs.append(y)
        return mx.concatenate(outputs, axis=1)

    close(layer(x)[0], in_parts(x), 1e-5)
    gradients = [mx.grad(lambda x, run=run: (drawn * run(x)).sum())(x) for run in (lambda x: layer(x)[0], in_parts)]
    close(*gradients, 1e-5)


@layers
def test_layer_without_input_equals_its_cell_step_by_step(kind, rng):
    layer, _, h = make_layer(rng, kind, in_channels=0)
    outputs, state = layer(None, h, length=5)
    steps = []
    for _ in range(5):
        h = layer.cell(None, h)
        steps.append(h)
    same((outputs, state), (mx.stack(steps, axis=1), h))


@layers
def test_no_state_is_a_state_of_zeros(kind, rng):
    layer, x, h = make_layer(rng, kind)
    same(layer(x), layer(x, mx.zeros_like(h)), 0)
    same(layer.cell(x[:, 0]), layer.cell(x[:, 0], mx.zeros_like(h)), 0)


@layers
def test_two_halves_equal_the_whole(kind, rng):
    layer, x, h = make_layer(rng, kind)
    early, middle = layer(x[:, :2], h)
    late, after = layer(x[:, 2:], middle)
    same(layer(x, h), (mx.concatenate([early, late], axis=1), after))


@layers
def test_batch_equals_its_samples(kind, rng):
    layer, x, h = make_layer(rng, kind)
    outputs, state = layer(x, h)
    for n in range(3):
        same(layer(x[n : n + 1], h[n : n + 1]), (outputs[n : n + 1], state[n : n + 1]))
        same(layer(x[n], h[n]), (outputs[n], state[n]))
        same(layer.cell(x[n, 0], h[n]), outputs[n, 0])


@layers
def test_no_batch_axis_without_input(kind, rng):
    layer, _, h = make_layer(rng, kind, in_channels=0)
    outputs, state = layer(None, h, length=2)
    same(layer(None, h[0], length=2), (outputs[0], state[0]))
    same(layer.cell(None, h[0]), outputs[0, 0])


@layers
@pytest.mark.parametrize("driven", [True, False])
def test_recompute_changes_nothing_but_memory(kind, driven, rng):
    layer, x, h = make_layer(rng, kind, in_channels=2 if driven else 0)
    drawn, length = normal(rng, (3, 4, 6, 7, 3)), None if driven else 4
    results, gradients = value_and_gradients(layer, x, h, drawn, length)
    layer.recompute = True
    again, same_gradients = value_and_gradients(layer, x, h, drawn, length)
    same(again, results, 1e-6)
    assert same_gradients.keys() == gradients.keys()
    for name in gradients:
        close(same_gradients[name], gradients[name], 1e-5)
    assert ConvGRU(1, 1, recompute=True).recompute
    assert not ConvGRU(1, 1).recompute


@layers
def test_recompute_takes_less_memory(kind, rng):
    def peak(recompute):
        Layer, options = LAYERS[kind]
        layer = randomise(Layer(2, 8, **options, recompute=recompute), rng)
        x, drawn, h = normal(rng, (1, 36, 24, 24, 2)), normal(rng, (1, 36, 24, 24, 8)), mx.zeros((1, 24, 24, 8))
        mx.eval(layer.parameters(), x, drawn, h)
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        mx.eval(value_and_gradients(layer, x, h, drawn))
        return mx.get_peak_memory() - before

    assert peak(True) < 0.7 * peak(False)


def test_memory_grows_with_the_length_and_no_faster(rng):
    def peak(length):
        layer = randomise(ConvGRU(2, 8), rng)
        x, drawn, h = normal(rng, (1, length, 24, 24, 2)), normal(rng, (1, length, 24, 24, 8)), mx.zeros((1, 24, 24, 8))
        mx.eval(layer.parameters(), x, drawn, h)
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        mx.eval(value_and_gradients(layer, x, h, drawn))
        return mx.get_peak_memory() - before

    assert peak(24) < 3.5 * peak(8)


@layers
@pytest.mark.parametrize("name", ["dropout", "recurrent_dropout"])
def test_dropout_is_for_training_and_follows_its_key(name, kind, rng):
    layer, x, h = make_layer(rng, kind, **{name: 0.5})
    key = mx.random.key(0)
    first = layer(x, h, key=key)
    same(layer(x, h, key=key), first, 0)
    assert differ(layer(x, h, key=mx.random.key(1))[0], first[0])
    mx.random.seed(0)
    drawn = layer(x, h)[0]
    assert differ(layer(x, h)[0], drawn)
    layer.eval()
    same(layer(x, h, key=key), layer(x, h), 0)
    plain, *_ = make_layer(rng, kind)
    plain.cell.update(layer.cell.parameters())
    same(layer(x, h), plain(x, h), 0)
    assert differ(layer(x, h)[0], first[0])


def test_dropout_s_mask_is_one_for_all_steps(rng):
    layer, x, h = make_layer(rng, dropout=0.5)
    x = mx.ones_like(x)
    gradient = np.array(mx.grad(lambda x: layer(x, h, key=mx.random.key(0))[0].sum())(x))
    hidden = (gradient == 0).all(axis=(1,))
    assert 0.3 < hidden.mean() < 0.7
    assert (hidden == (gradient == 0).any(axis=1)).all()
    # The other values are larger, so that the mean stays the same.
    assert differ(layer(x, h, key=mx.random.key(0))[0], layer(x * (gradient != 0), h, key=None)[0])


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
@layers
def test_other_types(kind, dtype, rng):
    layer, x, h = make_layer(rng, kind)
    wide, _ = layer(x, h)
    layer.set_dtype(dtype)
    outputs, state = layer(x.astype(dtype), h.astype(dtype))
    assert outputs.dtype == state.dtype == dtype
    close(outputs.astype(mx.float32), wide, 5e-2)


def test_arguments_make_the_parameters():
    def shapes(cell):
        return {name: a.shape for name, a in cell.parameters().items()}

    assert shapes(ConvGRUCell(2, 4)) == {"Wx": (12, 3, 3, 2), "Wh": (12, 3, 3, 4), "bx": (12,), "bh": (12,)}
    assert shapes(ConvGRUCell(0, 4)) == {"Wh": (12, 3, 3, 4), "bh": (12,)}
    assert shapes(ConvGRUCell(2, 4, 5, bias=False)) == {"Wx": (12, 5, 5, 2), "Wh": (12, 5, 5, 4)}
    assert shapes(ConvGRUCell(2, 4, (1, 3), recurrent_kernel_size=(5, 1), bias=False)) == {
        "Wx": (12, 1, 3, 2),
        "Wh": (12, 5, 1, 4),
    }
    assert shapes(ConvGRU(2, 4).cell) == shapes(ConvGRUCell(2, 4))


def test_initial_kernels_keep_the_scale_of_their_inputs():
    cell = ConvGRUCell(16, 8, 5)
    for W, inputs in ((cell.Wx, 16 * 25), (cell.Wh, 8 * 25)):
        assert 0.9 < mx.abs(W).max().item() * inputs**0.5 <= 1
        assert abs(W.mean().item()) < 0.01 / inputs**0.5 * 10
    assert not cell.bx.any()
    assert not cell.bh.any()


def test_repr():
    assert "2, 4, kernel_size=(3, 3), stride=(1, 2), padding='valid', dilation=(1, 1), bias=True" in repr(
        ConvGRUCell(2, 4, stride=(1, 2), padding="valid")
    )
    assert "state_activation='tanh'" in repr(ConvGRU(2, 4, state_activation="tanh"))


@pytest.mark.parametrize("Cell", [ConvGRUCell, TrajGRUCell])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_channels": -1}, "'in_channels' must be a whole number of at least 0 but got -1."),
        ({"in_channels": 1.0}, "'in_channels' must be a whole number of at least 0 but got 1.0."),
        ({"out_channels": 0}, "'out_channels' must be a whole number of at least 1 but got 0."),
        ({"kernel_size": 4}, "'kernel_size' must be odd but got 4"),
        ({"state_activation": ["tanh"]}, "'state_activation' must be one of leaky_relu, tanh but got ['tanh']."),
        ({"state_activation": "relu"}, "'state_activation' must be one of leaky_relu, tanh but got 'relu'."),
        ({"algorithm": "fft"}, "'algorithm' must be one of auto, native, winograd but got 'fft'."),
    ],
)
def test_bad_arguments(Cell, arguments, message):
    with pytest.raises(ValueError, match=re.escape(f"[{Cell.__name__}] {message}")):
        Cell(**({"in_channels": 1, "out_channels": 1} | arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"recurrent_kernel_size": 2}, "'recurrent_kernel_size' must be odd but got 2"),
        ({"stride": 0}, "'stride' must be an int or a pair of ints, at least 1, but got 0."),
        (
            {"padding": "full"},
            "'padding' must be 'same', 'valid', 'circular', an int or a pair of ints but got 'full'.",
        ),
        ({"dilation": "x"}, "'dilation' must be an int or a pair of ints, at least 1, but got 'x'."),
    ],
)
def test_bad_arguments_of_convgru_alone(arguments, message):
    with pytest.raises(ValueError, match=re.escape(f"[ConvGRUCell] {message}")):
        ConvGRUCell(1, 1, **arguments)


@layers
@pytest.mark.parametrize("name", ["dropout", "recurrent_dropout"])
def test_bad_dropout(kind, name):
    Layer, _ = LAYERS[kind]
    message = f"[{Layer.__name__}] '{name}' must be at least 0 and below 1 but got 1."
    with pytest.raises(ValueError, match=re.escape(message)):
        Layer(1, 1, **{name: 1})


@layers
def test_bad_inputs(kind, rng):
    layer, x, h = make_layer(rng, kind)
    alone, *_ = make_layer(rng, kind, in_channels=0)
    one, many = type(layer.cell).__name__, type(layer).__name__
    for call, message in (
        (lambda: layer(x[..., :1]), f"[{one}] expected an input of shape NHWC or HWC with C=2 channels but got shape"),
        (
            lambda: layer.cell(x),
            f"[{one}] expected an input of shape NHWC or HWC with C=2 channels but got shape (3, 4",
        ),
        (lambda: layer(x[0, 0]), f"[{many}] expected an input of shape NLHWC or LHWC but got shape (6, 7, 2)."),
        (lambda: layer(x, h[:2]), f"[{one}] 'state' must be of shape (3, 6, 7, 3) but got shape (2, 6, 7, 3)."),
        (lambda: layer.cell(x[:, 0], h[:, :2]), f"[{one}] 'state' must be of shape (3, 6, 7, 3) but got shape (3, 2,"),
        (lambda: layer(None, h, length=2), f"[{one}] expected an input with 2 channels but got None."),
        (lambda: alone(x, h), f"[{one}] with in_channels=0, 'x' must be None and a state must be given."),
        (
            lambda: alone(None, None, length=1),
            f"[{one}] with in_channels=0, 'x' must be None and a state must be given.",
        ),
        (lambda: alone(None, h), f"[{many}] a layer without input needs the 'length' to unroll."),
        (lambda: alone(None, h, length=0), f"[{many}] needs at least 1 time step but got 0."),
        (lambda: layer(x[:, :0]), f"[{many}] needs at least 1 time step but got 0."),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            call()
