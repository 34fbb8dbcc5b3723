"""The ConvLSTM layer: its cell step by step, its options, and Keras's layer."""

from convlstm.layers import ConvLSTM, ConvLSTMCell
from tests.support import reference
from tests.support.reference import close, differ, doubles, normal, randomise, same

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

pytestmark = pytest.mark.usefixtures("kernels_for_winograd")
# Layers whose recurrence is computed in different ways.
WAYS = {
    "native": {"algorithm": "native"},
    "winograd": {"algorithm": "winograd"},
    "strided": {"stride": 2, "padding": "valid"},
    "places": {"grid_size": (6, 7)},
}
ways = pytest.mark.parametrize("way", WAYS)


def make_layer(rng, way="native", in_channels=2, **arguments):
    """Returns a layer with random weights, inputs (3, 4, 6, 7, C) and a state."""
    layer = randomise(ConvLSTM(in_channels, 3, 3, **WAYS[way], **arguments), rng)
    grid = layer.cell.output_size(6, 7)
    x = normal(rng, (3, 4, 6, 7, in_channels)) if in_channels else None
    return layer, x, (normal(rng, (3, *grid, 3)), normal(rng, (3, *grid, 3)))


@ways
@pytest.mark.parametrize("reverse", [False, True])
def test_layer_equals_the_equations_step_by_step(way, reverse, rng):
    layer, x, (h, c) = make_layer(rng, way, reverse=reverse)
    geometry = {"stride": layer.cell.stride, "padding": layer.cell.padding}
    outputs, state = layer(x, (h, c))
    expected = reference.layer(*doubles((x, h, c)), doubles(layer.cell.parameters()), reverse=reverse, **geometry)
    for actual, value in zip((outputs, *state), expected, strict=True):
        np.testing.assert_allclose(actual, value, rtol=0, atol=1e-5)


@ways
def test_layer_without_input_equals_repeated_cell_steps(way, rng):
    layer, _, (h, c) = make_layer(rng, way, in_channels=0)
    outputs, state = layer(None, (h, c), length=5)
    steps = []
    for _ in range(5):
        h, c = layer.cell(None, (h, c))
        steps.append(h)
    same((outputs, state), (mx.stack(steps, axis=1), (h, c)), 1e-5)


@ways
def test_batch_equals_its_samples(way, rng):
    layer, x, (h, c) = make_layer(rng, way)
    outputs, state = layer(x, (h, c))
    for n in range(3):
        same(
            layer(x[n : n + 1], (h[n : n + 1], c[n : n + 1])), (outputs[n : n + 1], tuple(s[n : n + 1] for s in state))
        )
        same(layer(x[n], (h[n], c[n])), (outputs[n], tuple(s[n] for s in state)))


@pytest.mark.parametrize("arguments", [{}, {"merge": None}, {"return_sequences": False}])
def test_no_batch_axis_is_a_batch_of_one(arguments, rng):
    layer, x, (h, c) = make_layer(rng, bidirectional=True, **arguments)
    state = ((h[0], c[0]), (h[1], c[1]))
    batched, batched_state = layer(x[:1], tuple((a[None], b[None]) for a, b in state))
    outputs, after = layer(x[0], state)
    same(outputs, batched[0] if isinstance(batched, mx.array) else tuple(a[0] for a in batched))
    same(after, tuple((a[0], b[0]) for a, b in batched_state))
    assert [a.ndim for _, a in tree_flatten(layer(x[0]))] == [a.ndim for _, a in tree_flatten((outputs, after))]


@ways
def test_no_batch_axis_without_input(way, rng):
    layer, _, (h, c) = make_layer(rng, way, in_channels=0)
    outputs, state = layer(None, (h, c), length=2)
    same(layer(None, (h[0], c[0]), length=2), (outputs[0], (state[0][0], state[1][0])))


@ways
@pytest.mark.parametrize("bidirectional", [False, True])
def test_no_state_is_a_state_of_zeros(way, bidirectional, rng):
    layer, x, (h, c) = make_layer(rng, way, bidirectional=bidirectional)
    zeros = (mx.zeros_like(h), mx.zeros_like(c))
    same(layer(x), layer(x, (zeros, zeros) if bidirectional else zeros), 0)


@ways
@pytest.mark.parametrize("reverse", [False, True])
def test_two_halves_equal_the_whole(way, reverse, rng):
    layer, x, state = make_layer(rng, way, reverse=reverse)
    first, second = (x[:, 2:], x[:, :2]) if reverse else (x[:, :2], x[:, 2:])
    early, middle = layer(first, state)
    late, after = layer(second, middle)
    joined = mx.concatenate([late, early] if reverse else [early, late], axis=1)
    same(layer(x, state), (joined, after))


@ways
def test_reverse_equals_the_reversed_sequence(way, rng):
    layer, x, state = make_layer(rng, way)
    backwards = ConvLSTM(2, 3, 3, reverse=True, **WAYS[way])
    backwards.update(layer.parameters())
    outputs, after = layer(x[:, ::-1], state)
    same(backwards(x, state), (outputs[:, ::-1], after))


@ways
@pytest.mark.parametrize("return_sequences", [True, False])
@pytest.mark.parametrize("reverse", [False, True])
def test_bidirectional_equals_two_layers(way, reverse, return_sequences, rng):
    layer, x, state = make_layer(rng, way, bidirectional=True, reverse=reverse, return_sequences=return_sequences)
    other_state = (state[1], state[0])
    ahead, back = (
        ConvLSTM(2, 3, 3, reverse=walk, return_sequences=return_sequences, **WAYS[way])
        for walk in (reverse, not reverse)
    )
    ahead.cell.update(layer.cell.parameters())
    back.cell.update(layer.other_cell.parameters())
    (a, after), (b, other_after) = ahead(x, state), back(x, other_state)
    merged = {"concat": np.concatenate([a, b], axis=-1), "sum": a + b, "mul": a * b, "ave": (a + b) / 2, None: (a, b)}
    for merge, expected in merged.items():
        layer.merge = merge
        same(layer(x, (state, other_state)), (expected, (after, other_after)))


@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "ave", None])
def test_merge_is_an_argument(merge):
    layer = ConvLSTM(1, 2, 3, bidirectional=True, merge=merge)
    outputs, _ = layer(mx.zeros((1, 2, 4, 4, 1)))
    shapes = [a.shape for _, a in tree_flatten(outputs)]
    assert shapes == [(1, 2, 4, 4, 4 if merge == "concat" else 2)] * (2 if merge is None else 1)
    assert layer.merge == merge


@ways
@pytest.mark.parametrize("reverse", [False, True])
def test_final_state_is_the_last_output_walked(way, reverse, rng):
    layer, x, state = make_layer(rng, way, reverse=reverse)
    outputs, after = layer(x, state)
    assert mx.array_equal(after[0], outputs[:, 0 if reverse else -1])
    layer.return_sequences = False
    same(layer(x, state), (after[0], after), 0)


def test_return_sequences_is_an_argument():
    x = mx.zeros((2, 3, 4, 4, 1))
    assert ConvLSTM(1, 2, 3)(x)[0].shape == (2, 3, 4, 4, 2)
    assert ConvLSTM(1, 2, 3, return_sequences=False)(x)[0].shape == (2, 4, 4, 2)


@pytest.mark.parametrize("way", ["native", "winograd", "strided"])
def test_dropout_hides_the_same_share_of_the_input_at_all_times(way, rng):
    share = 0.3
    layer = randomise(ConvLSTM(2, 3, 3, dropout=share, **WAYS[way]), rng)
    x, key = normal(rng, (2, 3, 20, 20, 2)), mx.random.key(7)
    gradient = mx.grad(lambda x: (layer(x, key=key)[0] ** 2).sum())(x)
    kept = np.array(gradient) != 0
    # 'valid' with stride 2 does not see the last row and column.
    assert abs(1 - kept[:, :, :19, :19].mean() - share) < 0.04
    assert (kept == kept[:, :1]).all()
    assert (kept[0] != kept[1]).any()
    mask = mx.array(kept.astype(np.float32)) / (1 - share)
    outputs = layer(x, key=key)
    layer.eval()
    same(outputs, layer(x * mask), 1e-5)


def test_recurrent_dropout_hides_the_same_share_of_the_hidden_state_at_all_times(rng):
    share = 0.4
    layer = randomise(ConvLSTM(1, 4, 3, recurrent_dropout=share), rng)
    x, key = normal(rng, (2, 3, 20, 20, 1)), mx.random.key(7)
    h, c = normal(rng, (2, 20, 20, 4)), normal(rng, (2, 20, 20, 4))
    gradient = mx.grad(lambda h: (layer(x, (h, c), key=key)[0] ** 2).sum())(h)
    kept = np.array(gradient) != 0
    assert abs(1 - kept.mean() - share) < 0.04
    mask = mx.array(kept.astype(np.float32)) / (1 - share)
    outputs, state = layer(x, (h, c), key=key)
    for t in range(3):
        h, c = layer.cell(x[:, t], (h * mask, c))
        close(outputs[:, t], h, 1e-5)
    same(state, (h, c), 1e-5)


@pytest.mark.parametrize("name", ["dropout", "recurrent_dropout"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_dropout_is_for_training_and_follows_its_key(name, bidirectional, rng):
    layer, x, _ = make_layer(rng, bidirectional=bidirectional, **{name: 0.5})
    first = layer(x, key=mx.random.key(0))[0]
    assert mx.array_equal(first, layer(x, key=mx.random.key(0))[0])
    assert differ(first, layer(x, key=mx.random.key(1))[0])
    mx.random.seed(3)
    drawn = layer(x)[0]
    assert differ(drawn, layer(x)[0])
    mx.random.seed(3)
    assert mx.array_equal(drawn, layer(x)[0])
    layer.eval()
    plain = ConvLSTM(2, 3, 3, algorithm="native", bidirectional=bidirectional)
    plain.update(layer.parameters())
    assert mx.array_equal(layer(x, key=mx.random.key(0))[0], plain(x)[0])
    assert mx.array_equal(layer(x)[0], plain(x)[0])


def test_the_two_directions_and_the_two_dropouts_have_their_own_masks(rng):
    layer, x, _ = make_layer(rng, bidirectional=True, merge=None, dropout=0.5)
    layer.other_cell.update(layer.cell.parameters())
    x = mx.repeat(x[:, :1], 4, axis=1)
    ahead, back = layer(x, key=mx.random.key(0))[0]
    assert differ(ahead, back[:, ::-1])
    layer.eval()
    ahead, back = layer(x)[0]
    close(ahead, back[:, ::-1], 1e-6)


@pytest.mark.parametrize(
    ("arguments", "shapes"),
    [
        ({"recurrent_kernel_size": 5}, {"Wh": (12, 5, 5, 3)}),
        ({"bias": False}, {"bias": None}),
        ({"peepholes": False}, {"Wci": None, "Wcf": None, "Wco": None}),
        ({"grid_size": (6, 7)}, {"Wci": (6, 7, 3), "Wcf": (6, 7, 3), "Wco": (6, 7, 3)}),
    ],
)
def test_arguments_of_the_cell_reach_it(arguments, shapes, rng):
    usual = {"Wx": (12, 3, 3, 2), "Wh": (12, 3, 3, 3), "bias": (12,), "Wci": (3,), "Wcf": (3,), "Wco": (3,)}
    layer = randomise(ConvLSTM(2, 3, 3, bidirectional=True, **arguments), rng)
    expected = {name: shape for name, shape in {**usual, **shapes}.items() if shape}
    for cell in (layer.cell, layer.other_cell):
        assert {name: a.shape for name, a in cell.parameters().items()} == expected
    x = normal(rng, (1, 3, 6, 7, 2))
    a, b = layer(x)[0][..., :3], layer(x)[0][..., 3:]
    zeros = np.zeros((1, 6, 7, 3))
    for outputs, cell, reverse in ((a, layer.cell, False), (b, layer.other_cell, True)):
        weights = doubles(cell.parameters())
        close(outputs, reference.layer(np.array(x, np.float64), zeros, zeros, weights, reverse=reverse)[0], 1e-5)


def test_forget_bias_reaches_both_cells():
    layer = ConvLSTM(1, 2, 3, bidirectional=True, forget_bias=-3.0)
    assert [cell.bias[2:4].tolist() for cell in (layer.cell, layer.other_cell)] == [[-3.0, -3.0]] * 2


def test_directions_start_with_different_weights():
    layer = ConvLSTM(1, 2, 3, bidirectional=True)
    assert differ(layer.cell.Wx, layer.other_cell.Wx)
    assert "other_cell" not in ConvLSTM(1, 2, 3)


@pytest.mark.parametrize("frame", [(8, 8), (9, 8), (7, 11), (5, 6)])
@pytest.mark.parametrize("kernel_size", [3, 5, (3, 5)])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_layer_equals_keras(padding, stride, dilation, kernel_size, frame, rng):
    kernel = reference.pair(kernel_size)
    expected_grid = tuple(
        reference.keras_output_length(length, k, padding, stride, dilation)
        for length, k in zip(frame, kernel, strict=True)
    )
    layer = ConvLSTM(2, 3, kernel_size, stride=stride, padding=padding, dilation=dilation, peepholes=False)
    x = normal(rng, (2, 3, *frame, 2))
    if min(expected_grid) < 1:
        with pytest.raises(ValueError, match="is too small for kernel_size"):
            layer(x)
        return
    randomise(layer, rng)
    weights = doubles(layer.cell.parameters())
    expected = reference.keras_conv_lstm_2d(
        np.array(x, np.float64),
        weights["Wx"].transpose(1, 2, 3, 0),
        weights["Wh"].transpose(1, 2, 3, 0),
        weights["bias"],
        strides=(stride, stride),
        padding=padding,
        dilation_rate=(dilation, dilation),
    )
    for algorithm, tolerance in (("native", 1e-5), ("auto", 3e-5)):
        layer.cell.algorithm = algorithm
        outputs, (h, c) = layer(x)
        assert h.shape == (2, *expected_grid, 3)
        for actual, value in zip((outputs, h, c), expected, strict=True):
            np.testing.assert_allclose(actual, value, rtol=0, atol=tolerance)


def test_repr_names_the_arguments():
    text = repr(ConvLSTM(2, 3, 3, reverse=True))
    assert text.startswith("ConvLSTM(reverse=True, bidirectional=False, merge='concat'")
    assert "ConvLSTMCell(2, 3, kernel_size=(3, 3)" in text


def test_layer_has_the_cell_s_type():
    assert isinstance(ConvLSTM(1, 1).cell, ConvLSTMCell)
    assert ConvLSTM(1, 1).cell.kernel_size == (5, 5)
