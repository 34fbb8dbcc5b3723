"""One time step of the ConvLSTM against the equations of the paper and against Keras's rules."""

import re

from convlstm.layers import ConvLSTM, ConvLSTMCell
from tests.support import reference
from tests.support.reference import close, doubles, normal, randomise

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

KERNELS = (1, 3, 5, (3, 5), (5, 1))
STRIDES = (1, 2, 3, (1, 2), (3, 1))
PADDINGS = ("same", "valid", 0, 2, (1, 0), (0, 3))
DILATIONS = (1, 2, (2, 1), (1, 3))


@st.composite
def cells(draw):
    """Draws the arguments of a cell, the size of an input, and the size of the grid that it leads to."""
    arguments = {
        "in_channels": draw(st.integers(1, 3)),
        "out_channels": draw(st.integers(1, 3)),
        "kernel_size": draw(st.sampled_from(KERNELS)),
        "recurrent_kernel_size": draw(st.sampled_from((None, *KERNELS))),
        "stride": draw(st.sampled_from(STRIDES)),
        "padding": draw(st.sampled_from(PADDINGS)),
        "dilation": draw(st.sampled_from(DILATIONS)),
        "bias": draw(st.booleans()),
    }
    smallest = [min(size for size in range(1, 14) if sizes((size, size), arguments)[n] > 0) for n in (0, 1)]
    frame = tuple(draw(st.integers(size, 13)) for size in smallest)
    grid = sizes(frame, arguments)
    peepholes = draw(st.sampled_from(["none", "channel", "place"]))
    arguments |= {"peepholes": peepholes != "none", "grid_size": grid if peepholes == "place" else None}
    return arguments, frame, grid


def sizes(frame, arguments):
    """Returns height and width after the convolution of the input, counting the places where the kernel fits."""
    lengths = []
    for n, length in enumerate(frame):
        k, s, d = (reference.pair(arguments[name])[n] for name in ("kernel_size", "stride", "dilation"))
        before, after = 0, 0
        if arguments["padding"] == "same":
            before, after = reference.same_pads(length, k, s, d)
        elif arguments["padding"] != "valid":
            before = after = reference.pair(arguments["padding"])[n]
        lengths.append(len(range(0, length + before + after - d * (k - 1), s)))
    return tuple(lengths)


def geometry(arguments):
    return {name: arguments[name] for name in ("stride", "padding", "dilation")}


@given(drawn=cells())
def test_cell_equals_the_five_equations(drawn):
    (arguments, frame, grid), rng = drawn, np.random.default_rng(0)
    cell = randomise(ConvLSTMCell(**arguments), rng)
    x = normal(rng, (2, *frame, arguments["in_channels"]))
    h, c = (normal(rng, (2, *grid, arguments["out_channels"])) for _ in "hc")
    expected = reference.cell(*doubles((x, h, c)), doubles(cell.parameters()), **geometry(arguments))
    for actual, value in zip(cell(x, (h, c)), expected, strict=True):
        np.testing.assert_allclose(actual, value, rtol=0, atol=1e-5)


@settings(max_examples=settings().max_examples // 2)
@given(drawn=cells(), reverse=st.booleans())
def test_gradients_equal_finite_differences(drawn, reverse):
    (arguments, frame, grid), rng = drawn, np.random.default_rng(0)
    O = arguments["out_channels"]
    layer = randomise(ConvLSTM(**arguments, reverse=reverse, algorithm="native"), rng)
    inputs = {
        "x": normal(rng, (2, 3, *frame, arguments["in_channels"])),
        "h": normal(rng, (2, *grid, O)),
        "c": normal(rng, (2, *grid, O)),
    }
    weights = [normal(rng, shape) for shape in ((2, 3, *grid, O), (2, *grid, O), (2, *grid, O))]

    def value(values):
        layer.cell.update({name: a for name, a in values.items() if name not in inputs})
        outputs, (h, c) = layer(values["x"], (values["h"], values["c"]))
        return sum((w * a).sum() for w, a in zip(weights, (outputs, h, c), strict=True))

    def expected(values):
        parts = reference.layer(values["x"], values["h"], values["c"], values, reverse=reverse, **geometry(arguments))
        return sum((np.array(w, np.float64) * a).sum() for w, a in zip(weights, parts, strict=True))

    values = {**inputs, **layer.cell.parameters()}
    gradients, point = doubles(mx.grad(value)(values)), doubles(values)
    for name, gradient in gradients.items():
        direction = rng.normal(size=gradient.shape)
        ahead, behind = (expected({**point, name: point[name] + step * direction}) for step in (1e-5, -1e-5))
        slope = (gradient * direction).sum()
        error = abs(slope - (ahead - behind) / 2e-5)
        # The floor is for small gradients that are sums of large, rounded terms.
        assert error < 1e-5 * max(np.linalg.norm(gradient), 0.1) * np.linalg.norm(direction), name


def test_cell_without_input_equals_the_equations(rng):
    cell = randomise(ConvLSTMCell(0, 3, (3, 5)), rng)
    h, c = normal(rng, (2, 6, 5, 3)), normal(rng, (2, 6, 5, 3))
    expected = reference.cell(None, *doubles((h, c)), doubles(cell.parameters()))
    for actual, value in zip(cell(None, (h, c)), expected, strict=True):
        np.testing.assert_allclose(actual, value, rtol=0, atol=1e-5)
    assert "Wx" not in cell


def test_batch_equals_its_samples(rng):
    cell = randomise(ConvLSTMCell(2, 3, 3, stride=2), rng)
    x, h, c = normal(rng, (3, 7, 6, 2)), normal(rng, (3, 4, 3, 3)), normal(rng, (3, 4, 3, 3))
    whole = cell(x, (h, c))
    for n in range(3):
        for actual, batch in zip(cell(x[n], (h[n], c[n])), whole, strict=True):
            assert actual.shape == (4, 3, 3)
            close(actual, batch[n], 1e-6)


def test_no_state_is_a_state_of_zeros(rng):
    cell = randomise(ConvLSTMCell(2, 3, 3, padding="valid"), rng)
    x = normal(rng, (2, 7, 6, 2))
    zeros = cell.initial_state(2, 5, 4)
    assert [a.shape for a in zeros] == [(2, 5, 4, 3)] * 2
    assert not any(mx.any(a).item() for a in zeros)
    for actual, expected in zip(cell(x), cell(x, zeros), strict=True):
        assert mx.array_equal(actual, expected)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel_size", [3, 5, (1, 7)])
def test_output_size_is_keras_s(kernel_size, stride, dilation, padding):
    cell = ConvLSTMCell(1, 1, kernel_size, stride=stride, dilation=dilation, padding=padding)
    kernels = reference.pair(kernel_size)
    for height, width in ((13, 14), (14, 13), (15, 16), (16, 31), (17, 13)):
        expected = tuple(
            reference.keras_output_length(length, k, padding, stride, dilation)
            for length, k in zip((height, width), kernels, strict=True)
        )
        assert cell.output_size(height, width) == expected
        assert cell(mx.zeros((height, width, 1)))[0].shape == (*expected, 1)


def test_same_padding_puts_the_odd_zero_below_and_on_the_right():
    cell = ConvLSTMCell(1, 1, 3, stride=2, bias=False, peepholes=False)
    corner = mx.zeros((4, 3, 3, 1))
    corner[:, 2, 0] = 1  # the kernel's lower left corner
    cell.Wx = corner
    x = mx.arange(16).reshape(4, 4, 1) / 16
    # Four rows and columns with stride 2: one row of zeros below and one column on the right, none elsewhere.
    z = cell.project(x[None])[0, ..., 0]
    np.testing.assert_allclose(z, np.array([[8, 10], [0, 0]]) / 16, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("stride", (1, 2)),
        ("padding", "valid"),
        ("padding", (0, 1)),
        ("dilation", 2),
        ("kernel_size", (5, 3)),
        ("kernel_size", 5),
    ],
)
def test_geometry_changes_the_projection_of_the_input(change, value, rng):
    arguments = {"kernel_size": 3, "stride": 1, "padding": "same", "dilation": 1, change: value}
    cell = randomise(ConvLSTMCell(2, 1, **arguments, bias=False), rng)
    x = normal(rng, (1, 6, 7, 2))
    expected = reference.convolve(np.array(x, np.float64), np.array(cell.Wx, np.float64), **geometry(arguments))
    close(cell.project(x), expected, 1e-5)


def test_initial_parameters():
    mx.random.seed(1)
    cell = ConvLSTMCell(3, 4, (3, 5), recurrent_kernel_size=7, forget_bias=2.5)
    shapes = {name: a.shape for name, a in cell.parameters().items()}
    assert shapes == {"Wx": (16, 3, 5, 3), "Wh": (16, 7, 7, 4), "bias": (16,), "Wci": (4,), "Wcf": (4,), "Wco": (4,)}
    assert cell.bias.tolist() == [0.0] * 4 + [2.5] * 4 + [0.0] * 8
    for weight, inputs in ((cell.Wx, 45), (cell.Wh, 196)):
        largest = mx.abs(weight).max().item() * inputs**0.5
        assert 0.95 < largest <= 1
    assert not any(mx.any(W).item() for W in cell.peepholes)
    assert ConvLSTMCell(1, 2).bias.tolist() == [0, 0, 1, 1, 0, 0, 0, 0]
    assert ConvLSTMCell(1, 2).Wh.shape == (8, 5, 5, 2)
    assert "bias" not in ConvLSTMCell(1, 2, bias=False)
    assert ConvLSTMCell(1, 2, peepholes=False).peepholes is None
    assert ConvLSTMCell(1, 2, grid_size=(6, 7)).Wco.shape == (6, 7, 2)


def test_forget_bias_keeps_the_cell_state():
    for forget_bias, kept in ((30.0, 1.0), (-30.0, 0.0)):
        cell = ConvLSTMCell(1, 2, 3, forget_bias=forget_bias)
        cell.Wx, cell.Wh = mx.zeros_like(cell.Wx), mx.zeros_like(cell.Wh)
        c = mx.full((4, 4, 2), 3.0)
        _, after = cell(mx.zeros((4, 4, 1)), (mx.zeros((4, 4, 2)), c))
        np.testing.assert_allclose(after, kept * np.array(c), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "keeps"),
    [
        ({}, True),
        ({"padding": 1}, True),
        ({"padding": 2}, False),
        ({"padding": "valid"}, False),
        ({"stride": 2}, False),
        ({"dilation": 2}, False),
    ],
)
def test_keeps_grid(arguments, keeps):
    cell = ConvLSTMCell(1, 1, 3, **arguments)
    assert cell.keeps_grid is keeps
    assert all((cell.output_size(n, n) == (n, n)) for n in (8, 9)) or not keeps


def test_repr_names_the_arguments():
    text = repr(ConvLSTMCell(2, 3, (3, 5), stride=2, padding="valid", dilation=3, bias=False))
    assert text == (
        "ConvLSTMCell(2, 3, kernel_size=(3, 5), stride=(2, 2), padding='valid', dilation=(3, 3), bias=False, "
        "peepholes=True, grid_size=None)"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_channels": -1}, "[ConvLSTMCell] 'in_channels' must be a whole number of at least 0 but got -1."),
        ({"in_channels": 1.5}, "'in_channels' must be a whole number of at least 0 but got 1.5."),
        ({"out_channels": 0}, "[ConvLSTMCell] 'out_channels' must be a whole number of at least 1 but got 0."),
        ({"out_channels": "8"}, "[ConvLSTMCell] 'out_channels' must be a whole number of at least 1 but got '8'."),
        ({"kernel_size": 4}, "[ConvLSTMCell] 'kernel_size' must be odd but got 4: only an odd kernel has a centre"),
        ({"kernel_size": (3, 2)}, "[ConvLSTMCell] 'kernel_size' must be odd but got (3, 2)"),
        ({"kernel_size": 0}, "'kernel_size' must be an int or a pair of ints, at least 1, but got 0."),
        ({"kernel_size": (3, 3, 3)}, "must be an int or a pair of ints, at least 1, but got (3, 3, 3)."),
        ({"kernel_size": "3"}, "must be an int or a pair of ints, at least 1, but got '3'."),
        ({"kernel_size": 3.0}, "must be an int or a pair of ints, at least 1, but got 3.0."),
        ({"recurrent_kernel_size": 2}, "[ConvLSTMCell] 'recurrent_kernel_size' must be odd but got 2"),
        ({"stride": -1}, "[ConvLSTMCell] 'stride' must be an int or a pair of ints, at least 1, but got -1."),
        ({"stride": (1, 0)}, "'stride' must be an int or a pair of ints, at least 1, but got (1, 0)."),
        ({"dilation": 0}, "[ConvLSTMCell] 'dilation' must be an int or a pair of ints, at least 1, but got 0."),
        (
            {"padding": "full"},
            "'padding' must be 'same', 'valid', 'circular', an int or a pair of ints but got 'full'.",
        ),
        ({"padding": -1}, "[ConvLSTMCell] 'padding' must be an int or a pair of ints, at least 0, but got -1."),
        ({"padding": 0.5}, "'padding' must be an int or a pair of ints, at least 0, but got 0.5."),
        ({"grid_size": (0, 4)}, "'grid_size' must be an int or a pair of ints, at least 1, but got (0, 4)."),
        (
            {"grid_size": (4, 5), "peepholes": False},
            "[ConvLSTMCell] 'grid_size' is the size of the peepholes, so with peepholes=False it must be None but got "
            "(4, 5).",
        ),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        ConvLSTMCell(**{"in_channels": 1, "out_channels": 2, **arguments})


@pytest.mark.parametrize(
    ("arguments", "x", "state", "message"),
    [
        ({}, (1, 8, 8, 3), None, "an input of shape NHWC or HWC with C=2 channels but got shape (1, 8, 8, 3)."),
        ({}, (8, 8), None, "an input of shape NHWC or HWC with C=2 channels but got shape (8, 8)."),
        ({}, None, None, "[ConvLSTMCell] expected an input with 2 channels but got None."),
        ({"in_channels": 0}, (1, 8, 8, 2), None, "with in_channels=0, 'x' must be None and a state must be given."),
        ({"in_channels": 0}, None, None, "with in_channels=0, 'x' must be None and a state must be given."),
        (
            {"padding": "valid"},
            (1, 8, 2, 2),
            None,
            "[ConvLSTMCell] an input of 8x2 is too small for kernel_size=(3, 3), dilation=(1, 1), padding='valid': no "
            "output is left.",
        ),
        (
            {"stride": 2},
            (1, 8, 8, 2),
            (1, 8, 8, 4),
            "'state' must be (h, c), each of shape (1, 4, 4, 4), but got shapes [(1, 8, 8, 4), (1, 8, 8, 4)].",
        ),
        ({}, (2, 8, 8, 2), (1, 8, 8, 4), "'state' must be (h, c), each of shape (2, 8, 8, 4)"),
        (
            {"grid_size": (8, 9)},
            (1, 8, 8, 2),
            None,
            "the peepholes were made for a state grid of (8, 9) but this input's is (8, 8).",
        ),
    ],
)
def test_bad_inputs(arguments, x, state, message):
    cell = ConvLSTMCell(**{"in_channels": 2, "out_channels": 4, "kernel_size": 3, **arguments})
    x = None if x is None else mx.zeros(x)
    state = None if state is None else (mx.zeros(state), mx.zeros(state))
    with pytest.raises(ValueError, match=re.escape(message)):
        cell(x, state)


def test_the_two_states_must_have_one_shape():
    cell = ConvLSTMCell(0, 2, 3)
    with pytest.raises(ValueError, match=re.escape("but got shapes [(1, 4, 4, 2), (1, 4, 5, 2)]")):
        cell(None, (mx.zeros((1, 4, 4, 2)), mx.zeros((1, 4, 5, 2))))


def test_a_cell_that_gives_its_candidate(rng):
    cell = ConvLSTMCell(2, 3, 3, output="candidate")
    plain = ConvLSTMCell(2, 3, 3)
    plain.update(cell.parameters())
    x, state = normal(rng, (1, 4, 5, 2)), (normal(rng, (1, 4, 5, 3)), normal(rng, (1, 4, 5, 3)))
    (h, c), (usual, same) = cell(x, state), plain(x, state)
    close(c, same, 1e-5)
    # h = o tanh(g), where the usual h is o tanh(c').
    z = cell.project(x) + mx.conv2d(state[0], cell.Wh, padding=1)
    close(h, usual / mx.tanh(c) * mx.tanh(z[..., 6:9]), 1e-4)
    with pytest.raises(ValueError, match="'output' must be one of cell, candidate but got 'c'"):
        ConvLSTMCell(2, 3, output="c")
